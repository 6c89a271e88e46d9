"""Quiet hours on the wall clock of a zone: which periods there are, and the next one after an instant.

A period begins on one of its weekdays and is half-open: at its end it is over. Its ends are wall times, so they keep their hour
over a change of summer time: in the gap they move to the first instant after it, in the overlap the first of the two counts.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple

from streams.rules.timing import wall_to_utc, zone

# Distinct (hours, weekdays, zone) of a clinic's patients: hours are chosen on the half hour, so a few hundred there are.
HOURS_CACHED = 4096
# A weekday comes round in seven days; two more for the day before and a period that a gap swallowed.
_DAYS_AHEAD = 9
NEVER_MS = 1 << 62


class Period(NamedTuple):
    """[start, end) in ms since the epoch."""

    start_ms: int
    end_ms: int


class Hours:
    """Recurring hours. A period that was found answers everything from the former one's end to its own end.

    The last two are kept: what is due days ahead asks about then, and all else in between about now.
    """

    __slots__ = ("_before", "_before_since_ms", "_end", "_found", "_since_ms", "_start", "_weekdays", "_zone")

    def __init__(self, start: time, end: time, weekdays: frozenset[int], zone_name: str) -> None:
        self._start, self._end, self._weekdays = start, end, weekdays
        self._zone = zone(zone_name)
        self._since_ms, self._found = 0, Period(0, 0)
        self._before_since_ms, self._before = 0, Period(0, 0)

    def period(self, now_ms: int) -> Period:
        """The period that holds ``now_ms``, else the next one; it always ends after ``now_ms``."""
        if self._since_ms <= now_ms < self._found.end_ms:
            return self._found
        if self._before_since_ms <= now_ms < self._before.end_ms:
            return self._before
        now = datetime.fromtimestamp(now_ms // 1000, UTC)
        # Over midnight a period that began yesterday may still hold; a zone whose clock is a day away changes nothing of it.
        first = now.astimezone(self._zone).date() - timedelta(days=1)
        since_ms = now_ms
        for number in range(_DAYS_AHEAD + 1):
            day = first + timedelta(days=number)
            if self._weekdays and day.isoweekday() not in self._weekdays:
                continue
            last = day if self._end > self._start else day + timedelta(days=1)
            start_ms = _ms(wall_to_utc(day, self._start, self._zone))
            end_ms = _ms(wall_to_utc(last, self._end, self._zone))
            if start_ms >= end_ms:
                continue  # both ends in the gap: it does not take place that day
            if end_ms > now_ms:
                self._before_since_ms, self._before = self._since_ms, self._found
                self._since_ms, self._found = since_ms, Period(start_ms, end_ms)
                return self._found
        return Period(NEVER_MS, NEVER_MS)

    def quiet_until(self, now_ms: int) -> int | None:
        """The end of the period that holds ``now_ms``; None: it is not quiet."""
        start_ms, end_ms = self.period(now_ms)
        return end_ms if start_ms <= now_ms else None


@lru_cache(maxsize=HOURS_CACHED)
def hours(start: str, end: str, weekdays: tuple[int, ...], zone_name: str) -> Hours | None:
    """Hours from their text (``HH:MM``); no weekday means all of them. None where start and end are one: that is no time at all.

    Raises ValueError for what is no time of day, UnknownZoneError.
    """
    begins, ends = time.fromisoformat(start), time.fromisoformat(end)
    return None if begins == ends else Hours(begins, ends, frozenset(weekdays), zone_name)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
