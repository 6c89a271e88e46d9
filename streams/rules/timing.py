"""When something is due: ISO 8601 durations around an event's own times, in the zone where they were said.

A duration's date part (``P1D``, ``P2W``) moves the wall clock: one day before 14:00 is 14:00, also over a change of summer time.
Its time part (``PT24H``) moves elapsed time. So "the same time, the day before" and "24 hours before" can both be said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_DURATION = re.compile(
    r"P(?:(?P<weeks>\d{1,3})W)?(?:(?P<days>\d{1,4})D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d{1,5})H)?(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,7})S)?)?"
)
# A zone's name comes from producers: bounded, and far above the ~600 names there are.
ZONES_CACHED = 1024
# Appointments begin on the quarter hour: two months of a few zones' days fit, and an event asks for four or five of them.
WALLS_CACHED = 32_768


class DurationError(ValueError):
    """Not an ISO 8601 duration that we accept; the message names the mend."""


class UnknownZoneError(ValueError):
    """The zone is not in the IANA database; the message names no value, since a producer wrote it."""

    code = "unknown_zone"


@dataclass(frozen=True, slots=True)
class Duration:
    """An ISO 8601 duration of weeks, days, hours, minutes, seconds. No months or years: nothing here needs them."""

    days: int = 0
    seconds: int = 0

    @classmethod
    def parse(cls, text: str) -> Duration:
        """``P1D``, ``PT30M``, ``P1DT12H``, ``P2W``. Raises DurationError."""
        found = _DURATION.fullmatch(text)
        if found is None or text in {"P", "PT"}:
            raise DurationError(f"{text!r} is not a duration: write PT30M, PT24H (elapsed), P1D or P2W (wall clock)")
        part = {name: int(value or 0) for name, value in found.groupdict().items()}
        return cls(
            days=part["weeks"] * 7 + part["days"],
            seconds=part["hours"] * 3600 + part["minutes"] * 60 + part["seconds"],
        )

    @property
    def total_seconds(self) -> int:
        """Length with every day taken as 24 hours: for windows and comparisons, not for calendars."""
        return self.days * 86_400 + self.seconds

    def __str__(self) -> str:
        hours, rest = divmod(self.seconds, 3600)
        minutes, seconds = divmod(rest, 60)
        clock = "".join(f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if n)
        if not self.days and not clock:
            return "PT0S"
        return "P" + (f"{self.days}D" if self.days else "") + (f"T{clock}" if clock else "")


@lru_cache(maxsize=ZONES_CACHED)
def zone(name: str) -> ZoneInfo:
    """The IANA zone of that name. Raises UnknownZoneError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnknownZoneError("the time zone is not an IANA name (for example America/New_York)") from error


def known_zone(name: str | None) -> str | None:
    """The zone, if it is one; a name that is none is as good as no name."""
    if name is None:
        return None
    try:
        zone(name)
    except UnknownZoneError:
        return None
    return name


@lru_cache(maxsize=WALLS_CACHED)
def wall_to_utc(day: date, clock: time, where: ZoneInfo) -> datetime:
    """The instant (UTC) at which clocks in ``where`` show that day and time.

    In the gap of a change to summer time: the first instant after the gap. In the overlap in autumn: the first of the two.
    """
    wall = datetime.combine(day, clock)
    instant = wall.replace(tzinfo=where, fold=0).astimezone(UTC)
    if instant.astimezone(where).replace(tzinfo=None) == wall:
        return instant
    # In a gap fold=0 reads the clock with the offset before it, which lands after the gap by as much as the clock stood in it;
    # with the offset after the gap it lands as much before it. The gap's end is where the two offsets meet.
    before = wall.replace(tzinfo=where, fold=0).utcoffset()
    after = wall.replace(tzinfo=where, fold=1).utcoffset()
    if before is None or after is None:
        return instant
    return _gap_end(instant - (after - before), instant, where)


def on_other_clocks(instant: datetime, here: ZoneInfo, there: ZoneInfo) -> datetime:
    """The instant (UTC) at which clocks ``there`` show what those ``here`` show at ``instant``."""
    wall = instant.astimezone(here)
    return wall_to_utc(wall.date(), wall.time(), there)


def _gap_end(low: datetime, high: datetime, where: ZoneInfo) -> datetime:
    """The first instant of the new offset between two instants (whole minutes: every zone changes on one)."""
    new_offset = high.astimezone(where).utcoffset()
    low_minute, high_minute = 0, int((high - low).total_seconds() // 60)
    while low_minute < high_minute:
        middle = (low_minute + high_minute) // 2
        if (low + timedelta(minutes=middle)).astimezone(where).utcoffset() == new_offset:
            high_minute = middle
        else:
            low_minute = middle + 1
    return low + timedelta(minutes=low_minute)


def shifted(instant: datetime, by: Duration, direction: int, where: ZoneInfo) -> datetime:
    """``instant`` moved by a duration, later (1) or earlier (-1): days on the wall clock of ``where``, then elapsed time."""
    if by.days:
        wall = instant.astimezone(where)
        instant = wall_to_utc(wall.date() + timedelta(days=direction * by.days), wall.time(), where)
    return instant + timedelta(seconds=direction * by.seconds) if by.seconds else instant


def clamped(instant: datetime, earliest: time | None, latest: time | None, where: ZoneInfo) -> datetime:
    """``instant`` moved into the day's hours [earliest, latest] of ``where``: too early waits, too late goes back to the hour.

    Going back keeps the day: what was to come three days before must not come two days before because of the hour.
    """
    wall = instant.astimezone(where)
    if earliest is not None and wall.time() < earliest:
        return wall_to_utc(wall.date(), earliest, where)
    if latest is not None and wall.time() > latest:
        return wall_to_utc(wall.date(), latest, where)
    return instant
