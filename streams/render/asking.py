"""What a text or an in-app message asks its reader to confirm, for whoever takes the answer: sealed, never shown. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time
from typing import Any

from streams.render.variables import Facts
from streams.rules.event_fields import event_fields, names_of
from streams.rules.timing import wall_to_utc, zone

RECORD = "luxe.pipeline.AskedAppointment"
_TOLD = ("service", "provider", "provider_id", "duration", "time_zone")

Make = Callable[[Facts], "dict[str, Any] | None"]


def bound_to(record: str) -> Make | None:
    """A function that makes the AskedAppointment of such an event; None: the event has no day and time of an appointment.

    It makes None where this one event leaves them empty.
    """
    fields = event_fields(record)
    day_field = next((name for name in names_of("appointment_date") if name in fields), None)
    clock_field = next((name for name in names_of("appointment_time") if name in fields), None)
    if day_field is None or clock_field is None:
        return None
    told = tuple(name for name in _TOLD if name in fields)

    def made(facts: Facts) -> dict[str, Any] | None:
        event = facts.event
        day, clock = event[day_field], event[clock_field]
        if day is None or clock is None:
            return None
        where = zone(event.get("time_zone") or facts.clinic["time_zone"])
        return {
            "appointment_date": day,
            "appointment_time": clock,
            "starts_at": wall_to_utc(day, time.fromisoformat(clock), where),
            **dict.fromkeys(_TOLD),
            **{name: event[name] for name in told},
        }

    return made
