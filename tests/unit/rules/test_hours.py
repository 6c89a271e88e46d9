"""Quiet hours on the wall clock: half-open, over midnight, weekdays, every change of offset of thirty zones in twenty years."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.rules.hours import Hours, hours
from streams.rules.timing import zone

MINUTE_MS = 60_000
# Whole and half hours of offset, a change of half an hour (Lord Howe), a day skipped (Apia), changes at midnight (Havana, Cairo,
# Beirut), Ramadan's (Casablanca), none at all, and negative summer time (Dublin).
ZONES = (
    "America/New_York", "America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles", "America/Anchorage",
    "Pacific/Honolulu", "America/St_Johns", "America/Halifax", "America/Havana", "America/Sao_Paulo", "America/Caracas",
    "America/Santiago", "America/Asuncion", "Europe/London", "Europe/Dublin", "Europe/Madrid", "Europe/Istanbul",
    "Europe/Moscow", "Africa/Cairo", "Africa/Casablanca", "Asia/Beirut", "Asia/Gaza", "Asia/Kathmandu", "Asia/Kolkata",
    "Asia/Pyongyang", "Australia/Adelaide", "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Chatham",
)  # fmt: skip
FROM, TO = datetime(2007, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


def ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def changes(name: str) -> list[datetime]:
    """The instants at which a zone's offset changes, to the minute."""
    where, found = ZoneInfo(name), []
    at = FROM
    while at < TO:
        after = at + timedelta(days=1)
        if at.astimezone(where).utcoffset() != after.astimezone(where).utcoffset():
            low, high = at, after
            while high - low > timedelta(minutes=1):
                middle = low + (high - low) // 2
                middle -= timedelta(seconds=middle.second, microseconds=middle.microsecond)
                same = middle.astimezone(where).utcoffset() == low.astimezone(where).utcoffset()
                low, high = (middle, high) if same else (low, middle)
            found.append(high)
        at = after
    return found


@cache
def first_instant(day: date, clock: time, where: ZoneInfo) -> datetime:
    """Naively: the first minute at which the wall shows this time or has passed it; hour by hour to near it."""
    wanted = datetime.combine(day, clock)
    at = datetime.combine(day, clock, UTC) - timedelta(hours=16)
    while at.astimezone(where).replace(tzinfo=None) < wanted:
        at += timedelta(hours=1)
    at -= timedelta(hours=3)
    while at.astimezone(where).replace(tzinfo=None) < wanted:
        at += timedelta(minutes=1)
    return at


def naive_until(start: str, end: str, where: ZoneInfo, now: datetime) -> datetime | None:
    """The end of the period that holds ``now``: yesterday's, today's, or tomorrow's, which began before the clock went back."""
    begins, ends = time.fromisoformat(start), time.fromisoformat(end)
    today = now.astimezone(where).date()
    found = []
    for day in (today - timedelta(days=1), today, today + timedelta(days=1)):
        last = day if ends > begins else day + timedelta(days=1)
        opens, closes = first_instant(day, begins, where), first_instant(last, ends, where)
        if opens <= now < closes:
            found.append(closes)
    return min(found, default=None)


@pytest.mark.parametrize("name", ZONES)
def test_every_change_of_offset_and_the_minutes_around_it(name: str) -> None:
    where = zone(name)
    for change in changes(name):
        wall = change.astimezone(where)
        before = (change - timedelta(minutes=1)).astimezone(where)
        for begins, ends in {
            ("22:00", "08:00"),
            (f"{before:%H:%M}", f"{wall + timedelta(hours=3):%H:%M}"),
            ("21:00", f"{before:%H:%M}"),
            (f"{(wall - timedelta(minutes=30)):%H:%M}", f"{(wall + timedelta(minutes=30)):%H:%M}"),
        }:
            if begins == ends:
                continue
            made = Hours(time.fromisoformat(begins), time.fromisoformat(ends), frozenset(), name)
            for minutes in (-90, -60, -31, -30, -1, 0, 1, 29, 30, 59, 60, 61, 90):
                now = change + timedelta(minutes=minutes)
                expected = naive_until(begins, ends, where, now)
                found = made.quiet_until(ms(now))
                assert found == (None if expected is None else ms(expected)), (name, begins, ends, now)
                if found is not None:
                    # Over at its end, unless the wall clock begins the next period there.
                    assert found > ms(now)


@given(
    st.sampled_from(ZONES),
    st.times().map(lambda at: at.replace(second=0, microsecond=0)),
    st.times().map(lambda at: at.replace(second=0, microsecond=0)),
    st.lists(st.integers(ms(FROM), ms(TO)), min_size=1, max_size=6),
)
def test_what_was_asked_before_changes_no_answer(name: str, begins: time, ends: time, asked: list[int]) -> None:
    if begins == ends:
        return
    kept = Hours(begins, ends, frozenset(), name)
    for now in asked:
        assert kept.period(now) == Hours(begins, ends, frozenset(), name).period(now)


@pytest.mark.parametrize(
    ("at", "quiet"),
    [
        ("2026-11-23T22:59", False),
        ("2026-11-23T23:00", True),
        ("2026-11-24T01:59", True),
        ("2026-11-24T02:00", False),
        # Novu takes Tuesday 23:30 for open, and Monday 00:30, when only Monday's hours are.
        ("2026-11-24T23:30", False),
        ("2026-11-23T00:30", False),
    ],
)
def test_hours_over_midnight_belong_to_the_weekday_they_begin_on(at: str, quiet: bool) -> None:
    monday = hours("23:00", "02:00", (1,), "UTC")
    assert monday is not None
    assert (monday.quiet_until(ms(datetime.fromisoformat(at).replace(tzinfo=UTC))) is not None) is quiet


def test_the_exact_start_minute_is_quiet_and_the_exact_end_is_not() -> None:
    """Laudspeaker is not quiet at the exact start minute."""
    night = hours("22:00", "08:00", (), "America/New_York")
    assert night is not None
    start = ms(datetime(2026, 7, 1, 22, tzinfo=ZoneInfo("America/New_York")))
    assert night.quiet_until(start - 1) is None
    assert night.quiet_until(start) == start + 10 * 60 * MINUTE_MS
    assert night.quiet_until(start + 10 * 60 * MINUTE_MS) is None


def test_hours_in_the_gap_of_spring_do_not_fail() -> None:
    """Notifo throws where a time of day does not exist."""
    lost = hours("02:10", "02:50", (), "America/New_York")
    assert lost is not None
    night_of_the_change = ms(datetime(2026, 3, 8, 6, 30, tzinfo=UTC))
    assert lost.period(night_of_the_change).start_ms == ms(datetime(2026, 3, 9, 6, 10, tzinfo=UTC))


def test_the_zone_is_one_with_summer_time_not_an_offset() -> None:
    """Laudspeaker keeps a fixed offset from UTC."""
    night = hours("22:00", "08:00", (), "America/New_York")
    assert night is not None
    assert night.quiet_until(ms(datetime(2026, 1, 2, 12, 30, tzinfo=UTC))) is not None
    assert night.quiet_until(ms(datetime(2026, 7, 2, 12, 30, tzinfo=UTC))) is None


def test_hours_without_length_are_none() -> None:
    assert hours("22:00", "22:00", (), "UTC") is None
