"""What events told of a patient, folded into one small record: last visit, what is booked. Pure.

The fold does not care in which order events come, nor how often: of each thing the newest is kept, by (version, time, event id),
and of visits the latest. So what is projected again after a crash, or read again from the start, changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import orjson

# What is kept longest of something that is over: longer than events stay in Kafka, so that none of them read again revives it.
KEEP_DAYS = 150
# Of one patient: far more than anybody has; the newest are kept.
MOST_FACTS = 200
_FORM = 1


class Order(NamedTuple):
    """Which of two events about one thing is the newer."""

    version: int
    occurred_ms: int
    event_id: str


class Fact(NamedTuple):
    """The newest known of one thing. ``on``: the day it hangs on. ``value``: what a selection needs of it."""

    order: Order
    clinic_id: str
    on: date
    value: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Standing:
    """A patient's standing. ``facts``: by kind and id, such as ``appointment:A-1``. Prints without anything."""

    visited_at: datetime | None = None
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def __repr__(self) -> str:
        return "<Standing>"

    def is_booked_on_or_after(self, day: date) -> bool:
        """Whether an appointment lies ahead."""
        return any(
            key.startswith("appointment:") and fact.value["booked"] and fact.on >= day
            for key, fact in self.facts.items()
        )

    def encoded(self) -> bytes:
        """As it is sealed."""
        visited_ms = None if self.visited_at is None else round(self.visited_at.timestamp() * 1000)
        facts = {
            key: (*fact.order, fact.clinic_id, fact.on.isoformat(), fact.value)
            for key, fact in sorted(self.facts.items())
        }
        return orjson.dumps((_FORM, visited_ms, facts))

    @classmethod
    def decoded(cls, data: bytes) -> Standing:
        """As it was sealed."""
        _form, visited_ms, facts = orjson.loads(data)
        return cls(
            None if visited_ms is None else datetime.fromtimestamp(visited_ms / 1000, UTC),
            {
                key: Fact(Order(version, occurred_ms, event_id), clinic_id, date.fromisoformat(on), value)
                for key, (version, occurred_ms, event_id, clinic_id, on, value) in facts.items()
            },
        )


NOTHING = Standing()

# Event types that say when an appointment is, and the fields of its day.
_BOOKED = {
    "appointment.created": "appointment_date",
    "appointment.confirmed": "appointment_date",
    "appointment.restored": "appointment_date",
    "appointment.rescheduled": "new_date",
}
_VISITED = {"appointment.completed": "completed_at", "appointment.checked_in": "checked_in_at"}
_GONE = {"appointment.cancelled": "appointment_date", "appointment.no_show": "scheduled_date"}

EVENT_TYPES = frozenset({*_BOOKED, *_VISITED, *_GONE})


def folded(standing: Standing, event: Mapping[str, Any], today: date) -> Standing:
    """The standing with one more event of ``EVENT_TYPES``. ``today``: what is long over then is dropped."""
    kind = event["event_type"]
    if kind in _VISITED:
        visited_at: datetime = event[_VISITED[kind]]
        if standing.visited_at is None or visited_at > standing.visited_at:
            standing = replace(standing, visited_at=visited_at)
        return _with(standing, event, "appointment", visited_at.date(), {"booked": False}, today)
    if kind in _BOOKED:
        return _with(standing, event, "appointment", event[_BOOKED[kind]], {"booked": True}, today)
    return _with(standing, event, "appointment", event[_GONE[kind]], {"booked": False}, today)


def _with(
    standing: Standing, event: Mapping[str, Any], kind: str, on: date, value: Mapping[str, Any], today: date
) -> Standing:
    key = f"{kind}:{event[f'{kind}_id']}"
    order = Order(event["aggregate_version"], round(event["occurred_at"].timestamp() * 1000), event["event_id"])
    known = standing.facts.get(key)
    facts = dict(standing.facts)
    if known is None or order > known.order:
        facts[key] = Fact(order, event["clinic_id"], on, value)
    kept = {key: fact for key, fact in facts.items() if today - fact.on <= timedelta(days=KEEP_DAYS)}
    if len(kept) > MOST_FACTS:
        kept = dict(sorted(kept.items(), key=lambda item: (item[1].on, item[0]))[-MOST_FACTS:])
    return replace(standing, facts=kept)
