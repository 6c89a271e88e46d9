"""Where an event's wall clock is read, and which days its clinic is open: business days.

A business day is a weekday on which the clinic is open and no holiday of its: both are in its policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from streams.rules.adjusting import NO_ADJUSTMENTS, Adjustments, adjustments_of
from streams.rules.timing import Duration, wall_to_utc, zone

EVERY_WEEKDAY = frozenset(range(1, 8))
_DAY = timedelta(days=1)


class OpenDays:
    """A clinic's open days. ``weekdays``: ISO, 1 is Monday; none at all counts as every one, so that a count comes to an end."""

    __slots__ = ("_holidays", "_weekdays")

    def __init__(self, weekdays: Iterable[int], holidays: Iterable[date]) -> None:
        self._weekdays = EVERY_WEEKDAY.intersection(weekdays) or EVERY_WEEKDAY
        self._holidays = frozenset(holidays)

    def is_open(self, day: date) -> bool:
        """Whether it is a business day."""
        return day.isoweekday() in self._weekdays and day not in self._holidays

    def counted(self, day: date, count: int, direction: int) -> date:
        """The ``count``-th business day after (1) or before (-1) a day; of 0: the day itself, else the nearest that way."""
        step = direction * _DAY
        if count == 0:
            while not self.is_open(day):
                day += step
            return day
        while count:
            day += step
            count -= self.is_open(day)
        return day


class LocalTime(NamedTuple):
    """``where``: the event's zone, else the clinic's. ``adjustments``: what the clinic moved of the catalogue's times."""

    where: ZoneInfo
    open_days: OpenDays
    adjustments: Adjustments = NO_ADJUSTMENTS


class ClinicTime(NamedTuple):
    """What a clinic's policy says of time. ``zone``: IANA, for events that have none of their own."""

    zone: str
    open_days: OpenDays
    adjustments: Adjustments = NO_ADJUSTMENTS


def local_time(event: Mapping[str, Any], clinic: ClinicTime) -> LocalTime:
    """How an event's days and times of day are read. Raises UnknownZoneError."""
    return LocalTime(zone(event.get("time_zone") or clinic.zone), clinic.open_days, clinic.adjustments)


def clinic_time(policy: Mapping[str, Any]) -> ClinicTime:
    """From a ClinicPolicy."""
    open_days = OpenDays(policy["open_weekdays"], policy["holidays"])
    return ClinicTime(policy["time_zone"], open_days, adjustments_of(policy["timings"]))


ALWAYS_OPEN_IN_UTC = ClinicTime("UTC", OpenDays(EVERY_WEEKDAY, ()))
"""For events all of whose times are instants."""


def shifted_by_business_days(instant: datetime, by: Duration, direction: int, local: LocalTime) -> datetime:
    """As ``timing.shifted``, but the duration's days are the clinic's business days."""
    wall = instant.astimezone(local.where)
    day = local.open_days.counted(wall.date(), by.days, direction)
    return wall_to_utc(day, wall.time(), local.where) + timedelta(seconds=direction * by.seconds)
