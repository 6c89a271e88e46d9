"""Everything a decision about one request is made from, looked up: the recipient, the clinic, the gates, the event behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from connectors.sealing import DataKey, KeyRing
from schemas.codec import Decoded
from streams.requests import ERASED, Requests
from streams.rules.given import Given
from streams.rules.person import Person, stranger
from streams.rules.reasons import Reason
from streams.rules.terms import Channel
from streams.tables import Clinic, Clinics, Gates, Recipient, Recipients, address_gates
from streams.waiting import ms_of

# An event's own flags: false closes the channel for what this event sends.
_OPT_INS: tuple[tuple[str, Channel], ...] = (("sms_opt_in", "sms"), ("email_opt_in", "email"))


class Joined(NamedTuple):
    """What was found. An event that cannot be read any more, since its recipient was erased, is ERASED, and they are blocked."""

    given: Given
    event: Decoded
    clinic: Clinic
    key: DataKey


def spread_of(notification_id: str) -> int:
    """0 to 65535, evenly over ids, and always the same for one: ids are hashes."""
    return int(notification_id[-4:], 16)


class Joins:
    """Looks up."""

    def __init__(
        self,
        requests: Requests,
        recipients: Recipients,
        clinics: Clinics,
        gates: Gates,
        sender_classes: Mapping[str, str],
        ring: KeyRing,
    ) -> None:
        self._requests, self._recipients, self._clinics, self._gates = requests, recipients, clinics, gates
        self._sender_classes, self._ring = sender_classes, ring

    def of(self, request: Mapping[str, Any], overtaken: Reason | None, now_ms: int) -> Joined:
        """The join. Raises RequestError, UnreadableError, CodecError; FatalError."""
        terms = self._requests.terms(request)
        known = self._recipients.get(request["recipient"])
        clinic = self._clinics.get(request["clinic_id"])
        event = self._requests.event(request, known, clinic)
        happened = event.value
        person = stranger(request["recipient"], happened) if known is None else known.person
        expires_at = request["expires_at"]
        given = Given(
            terms,
            person,
            now_ms,
            None if expires_at is None else ms_of(expires_at),
            overtaken,
            blocked=event is ERASED or self._gates.closed(f"recipient:{request['recipient']}".encode(), now_ms),
            suppressed=self._suppressed(request, known, person, now_ms),
            disabled_types=clinic.disabled_types,
            disabled_channels=clinic.disabled_channels,
            event_opt_outs=[channel for field, channel in _OPT_INS if happened.get(field) is False],
            zone=clinic.zone,
            clinic_quiet=clinic.quiet,
            spread=spread_of(request["notification_id"]),
        )
        return Joined(given, event, clinic, clinic.key if known is None else known.key)

    def _suppressed(
        self, request: Mapping[str, Any], known: Recipient | None, person: Person, now_ms: int
    ) -> tuple[Channel, ...]:
        sender_class = self._sender_classes[request["notification_type"]]
        gates = address_gates(self._ring, person, sender_class) if known is None else known.gates[sender_class]
        return self._gates.suppressed(gates, now_ms)
