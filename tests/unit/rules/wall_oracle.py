"""A slow and simple second opinion on wall clocks: it counts minutes, and asks nothing of streams.rules."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)


def shown(instant: datetime, where: ZoneInfo) -> datetime:
    """What a clock there shows, to the minute."""
    return instant.astimezone(where).replace(tzinfo=None, second=0, microsecond=0)


def first_minute_at_or_past(wall: datetime, where: ZoneInfo) -> datetime:
    """The first minute (UTC) at which clocks there show that wall time, or have jumped past it. Scans minute by minute."""
    instant = wall.replace(tzinfo=UTC) - timedelta(hours=15)
    # No zone is more than 14 hours ahead; coarse steps first, while the clock is surely behind.
    while shown(instant + timedelta(hours=4), where) < wall:
        instant += timedelta(hours=1)
    while shown(instant, where) < wall:
        instant += MINUTE
    return instant


def changes(where: ZoneInfo, first: date, last: date) -> Iterator[datetime]:
    """The first minute (UTC) of every new offset of a zone between two days."""
    instant, end = datetime.combine(first, time(), UTC), datetime.combine(last, time(), UTC)
    step = timedelta(hours=6)
    while instant < end:
        offset = instant.astimezone(where).utcoffset()
        if (instant + step).astimezone(where).utcoffset() != offset:
            found = instant
            while found.astimezone(where).utcoffset() == offset:
                found += MINUTE
            yield found
        instant += step
