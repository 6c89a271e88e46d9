"""Alarms of notify: what was to reach somebody and could not be brought home by any channel."""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from connectors.alerts import AGAIN_AFTER, EVENT_TYPE, RECORD, TOPIC, system_alert
from schemas.codec import Codec
from streams.runtime import Event

# What an administrator need not get up for: nobody waits for it, and of a campaign's thousands some always fail.
_UNWATCHED = frozenset({"marketing", "engagement"})


_RAISED = b"a"
_PERIOD = struct.Struct(">q")


class Alarms:
    """Raises alarms; each once a clinic, type and hour, so that an outage is one alarm, not one for each patient.

    Row: ``a`` + alert's id → the hour in which it was raised last: as many rows as clinics and types of theirs that failed.
    """

    def __init__(self, codec: Codec, companions: Collection[str]) -> None:
        """``companions``: types that only accompany another's notice."""
        self._encode = codec.encoder(TOPIC, RECORD)
        self._companions = companions

    def concerns(self, request: Mapping[str, Any]) -> bool:
        """Is it worth a person's time that nothing of this request arrived? An alarm about alarms is not."""
        unwatched = request["category"] in _UNWATCHED or request["notification_type"] in self._companions
        return not unwatched and request["event_type"] != EVENT_TYPE

    def plan_exhausted(self, event: Event, request: Mapping[str, Any], partition: int, now: datetime) -> None:
        """No channel of its plan reached the recipient. Every partition sees its own recipients, and tells for itself."""
        notification_type = request["notification_type"]
        alert = system_alert(
            request["clinic_id"],
            component="notify",
            code="plan_exhausted",
            summary=f"A notification of type {notification_type} failed on every channel. `luxe dead-letters list` names it; "
            "call who needs to know, and correct their numbers and addresses.",
            subject=notification_type,
            now=now,
            seen_by=str(partition),
        )
        row = _RAISED + alert["alert_id"].encode()
        period = _PERIOD.pack(int(now.timestamp() // AGAIN_AFTER.total_seconds()))
        if event.get(row) != period:
            event.put(row, period)
            event.produce(TOPIC, alert["aggregate_id"].encode(), self._encode(alert))
