"""An occasion as the event that tells of it, under an id that is the same whenever it is made."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any

from connectors.postgres.outbox import OutboxRow
from connectors.postgres.outbox_sealing import sealed_row
from connectors.postgres.records import Records
from connectors.segments.definitions import Segment
from connectors.segments.occasions import Occasion
from connectors.segments.runs import Clinic
from schemas.events import EVENT_TYPES
from schemas.validation import violations

# Who says it; the projection leaves out what we said ourselves.
SOURCE = "luxe-segments"
PATIENT_PREFIX = "patient:"


@dataclass(frozen=True, slots=True)
class Told:
    """An event about to be told. Prints without whom it is about."""

    event_id: str
    recipient: str
    row: OutboxRow = field(repr=False)

    def __repr__(self) -> str:
        return f"Told({self.event_id})"


class Telling:
    """Makes events. The key of their ids is the installation's, so that nobody guesses a period from an id."""

    def __init__(self, records: Records) -> None:
        self._codec = records.codec
        self._ring = records.ring
        self._key = records.ring.naming_key("segments")

    def event_id(self, segment: str, recipient: str, period: str) -> str:
        """The id of what is told once to this subject in this period: a UUID in the form of version 8."""
        digest = hmac.new(self._key, "\0".join((segment, recipient, period)).encode(), hashlib.sha256).digest()
        number = int.from_bytes(digest[:16], "big")
        number = number & ~(0xF << 76) | 0x8 << 76
        return str(uuid.UUID(int=number & ~(0x3 << 62) | 0x2 << 62))

    def told(self, segment: Segment, clinic: Clinic, recipient: str, occasion: Occasion, now: datetime) -> Told | None:
        """The event, ready for the outbox; None where it would break its own contract. Raises CodecError, RegistryError.

        ``now`` is when it is said to have occurred.
        """
        contract = EVENT_TYPES[segment.event]
        patient_id = recipient.removeprefix(PATIENT_PREFIX)
        event_id = self.event_id(segment.name, recipient, occasion.period)
        version = occasion.aggregate_version
        extra: dict[str, Any] = {}
        if segment.event in _WITH_BOOKING:
            extra["booking_url"] = clinic.booking_url
        if segment.event == "consent.due":
            extra |= {"consent_request_id": event_id, "consent_url": clinic.portal_url}
        event: Mapping[str, Any] = {
            "event_id": event_id,
            "event_type": segment.event,
            "occurred_at": now.replace(microsecond=now.microsecond // 1000 * 1000),
            "schema_version": "1.0",
            "source": SOURCE,
            "correlation_id": None,
            "clinic_id": clinic.clinic_id,
            "aggregate_id": occasion.aggregate_id or extra.get("consent_request_id", patient_id),
            # By the day, not by the clock: one that was set back must not make the next event an older one.
            "aggregate_version": day_version(occasion.due_on) if version is None else version,
            "metadata": {"segment": segment.name},
            "patient_id": patient_id,
            "time_zone": clinic.zone.key,
            **occasion.fields,
            **extra,
        }
        if violations(contract.record, event):
            return None
        value = self._codec.encode(contract.topic, contract.record, event)
        row = sealed_row(self._ring, contract.topic, str(event["aggregate_id"]).encode(), value)
        return Told(event_id, recipient, row)


_WITH_BOOKING = frozenset({"patient.inactive", "membership.credits_expiring"})


def day_version(day: date) -> int:
    """A day as an aggregate's version: milliseconds of its beginning, as producers without versions send times."""
    return round(datetime.combine(day, time(), UTC).timestamp() * 1000)
