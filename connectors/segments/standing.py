"""What events told of a patient, folded into one small record: last visit, what is booked, running out or owed. Pure.

The fold does not care in which order events come, nor how often: of each thing the newest is kept, by (version, time, event id),
and of visits the latest. So what is projected again after a crash, or read again from the start, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from connectors.segments.facts import belongs_to, facts_of, visited_at

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
        return any(fact.value["booked"] and fact.on >= day for _, fact in self.of_kind("appointment"))

    def of_kind(self, kind: str) -> Iterator[tuple[str, Fact]]:
        """(id, fact) of each thing of a kind, by id."""
        for key, fact in sorted(self.facts.items()):
            if key.startswith(f"{kind}:"):
                yield key.partition(":")[2], fact

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


def folded(standing: Standing, event: Mapping[str, Any], today: date) -> Standing:
    """The standing with one more event of ``EVENT_TYPES``. ``today``: what is long over then is dropped."""
    visited = visited_at(event)
    if visited is not None and (standing.visited_at is None or visited > standing.visited_at):
        standing = replace(standing, visited_at=visited)
    order = Order(event["aggregate_version"], round(event["occurred_at"].timestamp() * 1000), event["event_id"])
    facts = dict(standing.facts)
    for told in facts_of(event):
        known = facts.get(told.key)
        if known is None or order > known.order:
            facts[told.key] = Fact(order, event["clinic_id"], told.on, told.value)
    return replace(standing, facts=_kept(facts, today))


def _kept(facts: Mapping[str, Fact], today: date) -> dict[str, Fact]:
    recent = {key: fact for key, fact in facts.items() if today - fact.on <= timedelta(days=KEEP_DAYS)}
    if len(recent) > MOST_FACTS:
        recent = dict(sorted(recent.items(), key=lambda item: (item[1].on, item[0]))[-MOST_FACTS:])
    # That something is paid must be known for as long as that it was due.
    return recent | {key: fact for key, fact in facts.items() if key not in recent and belongs_to(key, recent)}
