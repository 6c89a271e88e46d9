"""The catalogue's moments and conditions, compiled for one event type: no look-up of names or schemas on the hot path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

from streams.catalog_model import Condition, Moment
from streams.rules.event_fields import EventField
from streams.rules.local_time import LocalTime, shifted_by_business_days
from streams.rules.timing import Duration, shifted, wall_to_utc

# What an event may add by a number of days: ten years, beyond which no plan of a clinic's goes.
MOST_DAYS = 3660

EventValue = Mapping[str, Any]
Anchor = tuple[str, ...]
Anchors = dict[Anchor, datetime | None]
"""Instants found already for the event at hand: several types hang on the same appointment's start, and days before it."""

MomentOf = Callable[[EventValue, LocalTime, Anchors], datetime | None]
Holds = Callable[[EventValue], bool]
_AnchorOf = Callable[[EventValue, LocalTime], datetime | None]

_MIDNIGHT = time()
# Minutes of a day, twice over for writers of "9:00": bounded by what validation lets through.
_clock = lru_cache(maxsize=4096)(time.fromisoformat)


def compile_moment(moment: Moment, fields: Mapping[str, EventField]) -> MomentOf:
    """A function from (event, local time, anchors) to the moment in UTC; None where the event leaves a field empty."""
    duration, direction = moment.shift
    anchor_of = _anchor(moment.of, fields)
    # Two anchors with the same fields are the same instant.
    anchor = moment.of if moment.plus_days is None else (*moment.of, "+", moment.plus_days)
    if moment.plus_days is not None:
        anchor_of = _plus_days(anchor_of, moment.plus_days)
    shift = _shift(duration, direction, moment.days == "business")

    def anchored(event: EventValue, local: LocalTime, anchors: Anchors) -> datetime | None:
        if anchor in anchors:
            return anchors[anchor]
        instant = anchors[anchor] = anchor_of(event, local)
        return instant

    if shift is None:
        return anchored
    moved = (*anchor, str(duration), str(direction), moment.days)

    def moment_of(event: EventValue, local: LocalTime, anchors: Anchors) -> datetime | None:
        if moved in anchors:
            return anchors[moved]
        instant = anchored(event, local, anchors)
        moment = anchors[moved] = None if instant is None else shift(instant, local)
        return moment

    return moment_of


def _shift(duration: Duration, direction: int, business: bool) -> Callable[[datetime, LocalTime], datetime] | None:
    """How an instant is moved; None: not at all."""
    if business:
        return lambda instant, local: shifted_by_business_days(instant, duration, direction, local)
    if duration.days:
        return lambda instant, local: shifted(instant, duration, direction, local.where)
    seconds = timedelta(seconds=direction * duration.seconds)
    return (lambda instant, _: instant + seconds) if seconds else None


def _plus_days(anchor_of: _AnchorOf, name: str) -> _AnchorOf:
    def later(event: EventValue, local: LocalTime) -> datetime | None:
        instant, days = anchor_of(event, local), event[name]
        if instant is None or days is None:
            return None
        return shifted(instant, Duration(min(max(int(days), 0), MOST_DAYS)), 1, local.where)

    return later


def _anchor(anchor: Anchor, fields: Mapping[str, EventField]) -> _AnchorOf:
    name = anchor[0]
    if fields[name].kind == "instant":

        def instant_of(event: EventValue, _: LocalTime) -> datetime | None:
            found: datetime | None = event[name]
            return found

        return instant_of
    clock_name = anchor[1] if len(anchor) == 2 else None

    def wall_of(event: EventValue, local: LocalTime) -> datetime | None:
        day: date | None = event[name]
        if day is None:
            return None
        if clock_name is None:
            return wall_to_utc(day, _MIDNIGHT, local.where)
        clock: str | None = event[clock_name]
        return None if clock is None else wall_to_utc(day, _clock(clock), local.where)

    return wall_of


def compile_conditions(when: Mapping[str, Condition]) -> Holds | None:
    """A function that says whether all conditions hold of an event; None where there are none."""
    tests = tuple((name, _test(condition)) for name, condition in when.items())
    if not tests:
        return None
    return lambda event: all(holds(event[name]) for name, holds in tests)


def _test(condition: Condition) -> Callable[[Any], bool]:
    tests: list[Callable[[Any], bool]] = []
    if condition.equals:
        wanted = frozenset(condition.equals)
        tests.append(lambda value: value in wanted)
    if condition.given is not None:
        given = condition.given
        tests.append(lambda value: bool(value) is given)
    if condition.at_least is not None:
        low = condition.at_least
        tests.append(lambda value: (value or 0) >= low)
    if condition.at_most is not None:
        high = condition.at_most
        tests.append(lambda value: (value or 0) <= high)
    return lambda value: all(holds(value) for holds in tests)
