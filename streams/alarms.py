"""Alarms of notify: what was to reach somebody and could not be brought home by any channel."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from connectors.alerts import EVENT_TYPE, RECORD, TOPIC, system_alert
from schemas.codec import Codec
from streams.runtime import Event

# What an administrator need not get up for: nobody waits for it, and of a campaign's thousands some always fail.
_UNWATCHED = frozenset({"marketing", "engagement"})


class Alarms:
    """Raises alarms; each once a clinic, type and hour, so that an outage is one alarm, not one for each patient."""

    def __init__(self, codec: Codec) -> None:
        self._encode = codec.encoder(TOPIC, RECORD)
        # What was raised lately need not be written again; should it be, its ids say that it is the same.
        self._raised = lru_cache(maxsize=1024)(self._made)

    @staticmethod
    def concerns(request: Mapping[str, Any]) -> bool:
        """Is it worth a person's time that nothing of this request arrived? An alarm about alarms is not."""
        return request["category"] not in _UNWATCHED and request["event_type"] != EVENT_TYPE

    def plan_exhausted(self, event: Event, request: Mapping[str, Any], now: datetime) -> None:
        """No channel of its plan reached the recipient."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        key, value = self._raised(request["clinic_id"], request["notification_type"], hour)
        event.produce(TOPIC, key, value)

    def _made(self, clinic_id: str, notification_type: str, now: datetime) -> tuple[bytes, bytes]:
        alert = system_alert(
            clinic_id,
            component="notify",
            code="plan_exhausted",
            summary=f"A notification of type {notification_type} failed on every channel. `luxe dead-letters list` names it; "
            "call who needs to know, and correct their numbers and addresses.",
            subject=notification_type,
            now=now,
        )
        return alert["aggregate_id"].encode(), self._encode(alert)
