"""Durations and wall clocks over changes of summer time."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.rules.timing import Duration, DurationError, UnknownZoneError, clamped, shifted, wall_to_utc, zone

NEW_YORK = zone("America/New_York")
ZONES = [
    zone(name)
    for name in ("America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "America/St_Johns")
]


@pytest.mark.parametrize(
    ("text", "days", "seconds"),
    [("PT30M", 0, 1800), ("PT24H", 0, 86400), ("P1D", 1, 0), ("P2W", 14, 0), ("P1DT12H", 1, 43200), ("PT0S", 0, 0)],
)
def test_durations_are_read(text: str, days: int, seconds: int) -> None:
    assert Duration.parse(text) == Duration(days, seconds)


@pytest.mark.parametrize("text", ["", "P", "PT", "P1M", "P1Y", "1D", "PT1D", "-P1D", "P1H", "24h"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(DurationError, match="PT24H"):
        Duration.parse(text)


@given(st.integers(0, 9999), st.integers(0, 86_400))
def test_a_duration_is_read_as_it_is_written(days: int, seconds: int) -> None:
    assert Duration.parse(str(Duration(days, seconds))) == Duration(days, seconds)


def test_a_day_before_is_the_same_hour_and_24_hours_before_is_not() -> None:
    # Clocks went forward in New York on 2026-03-08 at 02:00.
    monday = wall_to_utc(date(2026, 3, 8), time(14), NEW_YORK)
    day_before = shifted(monday, Duration.parse("P1D"), -1, NEW_YORK).astimezone(NEW_YORK)
    hours_before = shifted(monday, Duration.parse("PT24H"), -1, NEW_YORK).astimezone(NEW_YORK)
    assert (day_before.date(), day_before.time()) == (date(2026, 3, 7), time(14))
    assert (hours_before.date(), hours_before.time()) == (date(2026, 3, 7), time(13))


def test_a_time_in_the_gap_is_the_first_instant_after_it() -> None:
    found = wall_to_utc(date(2026, 3, 8), time(2, 30), NEW_YORK)
    assert found == datetime(2026, 3, 8, 7, tzinfo=UTC)


def test_a_gap_of_half_an_hour() -> None:
    lord_howe = zone("Australia/Lord_Howe")
    assert wall_to_utc(date(2026, 10, 4), time(2, 15), lord_howe).astimezone(lord_howe).time() == time(2, 30)


def test_a_time_that_comes_twice_is_the_first() -> None:
    assert wall_to_utc(date(2026, 11, 1), time(1, 30), NEW_YORK) == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.times(), st.sampled_from(ZONES))
def test_the_clock_shows_what_was_asked_or_the_gap_has_just_ended(day: date, clock: time, where: object) -> None:
    assert isinstance(where, type(NEW_YORK))
    instant = wall_to_utc(day, clock, where)
    shown = instant.astimezone(where).replace(tzinfo=None)
    asked = datetime.combine(day, clock)
    if shown != asked:
        minute_before = (instant - timedelta(minutes=1)).astimezone(where)
        assert shown > asked
        assert minute_before.utcoffset() != instant.astimezone(where).utcoffset()


def test_hours_of_the_day_keep_the_day() -> None:
    early = wall_to_utc(date(2026, 6, 1), time(6), NEW_YORK)
    late = wall_to_utc(date(2026, 6, 1), time(23), NEW_YORK)
    noon = wall_to_utc(date(2026, 6, 1), time(12), NEW_YORK)
    hours = (time(10), time(18))
    assert clamped(early, *hours, NEW_YORK).astimezone(NEW_YORK).time() == time(10)
    assert clamped(late, *hours, NEW_YORK).astimezone(NEW_YORK).time() == time(18)
    assert clamped(noon, *hours, NEW_YORK) == noon


def test_an_unknown_zone_is_told_without_its_name() -> None:
    with pytest.raises(UnknownZoneError) as refused:
        zone("Mars/Olympus")
    assert "Mars" not in str(refused.value)
