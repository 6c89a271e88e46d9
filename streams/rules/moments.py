"""The catalogue's moments and conditions, compiled for one event type: no look-up of names or schemas on the hot path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from streams.catalog_model import Condition, Moment, Timing
from streams.rules.event_fields import EventField
from streams.rules.timing import clamped, shifted, wall_to_utc

EventValue = Mapping[str, Any]
Anchor = tuple[str, ...]
Anchors = dict[Anchor, datetime | None]
"""Instants found already for the event at hand: several types hang on the same appointment's start."""

MomentOf = Callable[[EventValue, ZoneInfo, Anchors], datetime | None]
Holds = Callable[[EventValue], bool]

_MIDNIGHT = time()
# Minutes of a day, twice over for writers of "9:00": bounded by what validation lets through.
_clock = lru_cache(maxsize=4096)(time.fromisoformat)


def compile_moment(moment: Moment, fields: Mapping[str, EventField]) -> MomentOf:
    """A function from (event, zone, anchors) to the moment in UTC; None where the event leaves a field empty."""
    anchor = moment.of
    duration, direction = moment.shift
    seconds = timedelta(seconds=direction * duration.seconds)
    anchor_of = _anchor(anchor, fields)
    days = duration.days

    def moment_of(event: EventValue, where: ZoneInfo, anchors: Anchors) -> datetime | None:
        if anchor in anchors:
            instant = anchors[anchor]
        else:
            instant = anchors[anchor] = anchor_of(event, where)
        if instant is None or not (days or duration.seconds):
            return instant
        return shifted(instant, duration, direction, where) if days else instant + seconds

    if not isinstance(moment, Timing) or (moment.not_before is None and moment.not_after is None):
        return moment_of
    earliest, latest = moment.not_before, moment.not_after

    def within_hours(event: EventValue, where: ZoneInfo, anchors: Anchors) -> datetime | None:
        instant = moment_of(event, where, anchors)
        return None if instant is None else clamped(instant, earliest, latest, where)

    return within_hours


def _anchor(anchor: Anchor, fields: Mapping[str, EventField]) -> Callable[[EventValue, ZoneInfo], datetime | None]:
    name = anchor[0]
    if fields[name].kind == "instant":

        def instant_of(event: EventValue, _: ZoneInfo) -> datetime | None:
            found: datetime | None = event[name]
            return found

        return instant_of
    clock_name = anchor[1] if len(anchor) == 2 else None

    def wall_of(event: EventValue, where: ZoneInfo) -> datetime | None:
        day: date | None = event[name]
        if day is None:
            return None
        if clock_name is None:
            return wall_to_utc(day, _MIDNIGHT, where)
        clock: str | None = event[clock_name]
        return None if clock is None else wall_to_utc(day, _clock(clock), where)

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
