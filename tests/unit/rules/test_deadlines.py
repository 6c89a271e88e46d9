"""News of an hour comes before that hour: quiet hours do not hold it past the time at which somebody acts on it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import EVENT_TYPES
from streams.catalog import Catalog
from streams.rules.deadlines import Deadline, compile_deadlines, missed
from streams.rules.decision import Defer, Deliver, Outcome, Suppress, decide
from streams.rules.given import Given
from streams.rules.local_time import ALWAYS_OPEN_IN_UTC, local_time
from streams.rules.person import Person, Quiet
from streams.rules.quiet import SPREAD_MS
from streams.rules.reasons import Reason
from tests.unit.rules.events import event
from tests.unit.rules.people import SARAH, TYPES, at, channels_of, preferring
from tests.unit.rules.test_lattice import closed_by, givens

NEW_YORK = "America/New_York"
HOUR_MS = 3_600_000
NIGHT = Quiet("22:00", "08:00", NEW_YORK)
QUIET = replace(SARAH, quiet=NIGHT)
MOVED, RESTORED = "appointment_rescheduled", "appointment_restored"
CATALOG = Catalog.load()


def told(kind: str, happened: dict[str, Any], now: str, person: Person = QUIET, zone: str = NEW_YORK) -> Outcome:
    """What becomes of the notice of an event at a clinic of that zone."""
    deadlines_of = compile_deadlines(CATALOG.types[kind], EVENT_TYPES[happened["event_type"]].record)
    deadlines = deadlines_of(happened, local_time(happened, ALWAYS_OPEN_IN_UTC._replace(zone=zone)))
    return decide(Given(TYPES[kind], person, at(now), at(now) + 400 * HOUR_MS, zone=zone, deadlines=deadlines))


def moved(old: str, new: str = "2026-12-01 10:00", zone: str | None = None) -> dict[str, Any]:
    """An appointment moved between two local times of the clinic."""
    (old_day, old_time), (new_day, new_time) = old.split(), new.split()
    return event(
        "appointment.rescheduled",
        old_date=date.fromisoformat(old_day),
        old_time=old_time,
        new_date=date.fromisoformat(new_day),
        new_time=new_time,
        time_zone=zone,
    )


def at_once(outcome: Outcome) -> bool:
    """By text and by email, now. Else it waits for the morning."""
    if isinstance(outcome, Deliver):
        assert channels_of(outcome)[:2] == ["sms", "email"]
        return True
    assert isinstance(outcome, Defer)
    assert outcome.reason in (Reason.QUIET_HOURS, Reason.CLINIC_QUIET_HOURS)
    return False


@pytest.mark.parametrize(
    ("now", "old", "new", "hurries"),
    [
        # The evening before: until eight, ten minutes of spread, an hour to get there.
        ("2026-07-01T22:00-04:00", "2026-07-02 08:00", "2026-08-01 10:00", True),
        ("2026-07-01T22:10-04:00", "2026-07-02 09:09", "2026-08-01 10:00", True),
        ("2026-07-01T22:10-04:00", "2026-07-02 09:10", "2026-08-01 10:00", False),
        ("2026-07-01T22:10-04:00", "2026-07-02 14:00", "2026-08-01 10:00", False),
        # Brought forward: it is the new hour that would be missed.
        ("2026-07-01T22:10-04:00", "2026-07-09 14:00", "2026-07-02 08:30", True),
        ("2026-07-01T22:10-04:00", "2026-07-09 14:00", "2026-07-02 11:00", False),
        # In the small hours, and when the hour has come already less than an hour off.
        ("2026-07-02T03:00-04:00", "2026-07-02 06:30", "2026-08-01 10:00", True),
        ("2026-07-02T07:50-04:00", "2026-07-02 08:05", "2026-08-01 10:00", True),
        # The old hour is over: nobody drives to it any more.
        ("2026-07-01T23:00-04:00", "2026-07-01 23:00", "2026-08-01 10:00", False),
        ("2026-07-01T23:00-04:00", "2026-07-01 16:00", "2026-08-01 10:00", False),
        # Clocks go forward: the night is an hour shorter, and eight o'clock is eight o'clock.
        ("2026-03-07T22:30-05:00", "2026-03-08 09:09", "2026-04-01 10:00", True),
        ("2026-03-07T22:30-05:00", "2026-03-08 09:10", "2026-04-01 10:00", False),
        ("2026-03-07T22:30-05:00", "2026-03-08 02:30", "2026-04-01 10:00", True),  # an hour that there is not: three
        # And back: the night is an hour longer.
        ("2026-10-31T22:30-04:00", "2026-11-01 09:09", "2026-12-01 10:00", True),
        ("2026-10-31T22:30-04:00", "2026-11-01 09:10", "2026-12-01 10:00", False),
        ("2026-11-01T01:30-04:00", "2026-11-01 01:30", "2026-12-01 10:00", False),  # that hour is now, the first time
    ],
)
def test_a_move_told_in_the_night(now: str, old: str, new: str, hurries: bool) -> None:
    assert at_once(told(MOVED, moved(old, new), now)) is hurries


@pytest.mark.parametrize(
    ("clinic", "of_the_event", "old", "hurries"),
    [
        ("America/Los_Angeles", None, "2026-07-02 06:00", True),  # nine in New York, where she sleeps
        ("America/Los_Angeles", None, "2026-07-02 07:00", False),  # ten
        ("America/New_York", "America/Los_Angeles", "2026-07-02 06:00", True),
        ("America/Los_Angeles", "America/New_York", "2026-07-02 09:00", True),
        ("America/Los_Angeles", "America/New_York", "2026-07-02 10:00", False),
        ("Europe/Dublin", None, "2026-07-02 13:00", True),  # eight
        ("Asia/Kathmandu", None, "2026-07-02 08:00", False),  # was ten minutes ago
        ("Asia/Kathmandu", None, "2026-07-02 18:00", True),  # a quarter past eight
    ],
)
def test_the_hour_is_the_clinics_and_the_night_hers(
    clinic: str, of_the_event: str | None, old: str, hurries: bool
) -> None:
    outcome = told(MOVED, moved(old, zone=of_the_event), "2026-07-01T22:25-04:00", zone=clinic)
    assert at_once(outcome) is hurries


@pytest.mark.parametrize(
    ("back_at", "hurries"), [("2026-07-02 08:30", True), ("2026-07-02 11:00", False), ("2026-07-05 08:30", False)]
)
def test_what_stands_again_is_known_before_it_begins(back_at: str, hurries: bool) -> None:
    day, clock = back_at.split()
    back = event(
        "appointment.restored", appointment_date=date.fromisoformat(day), appointment_time=clock, time_zone=None
    )
    assert at_once(told(RESTORED, back, "2026-07-01T22:25-04:00")) is hurries


def test_it_may_be_sent_until_there_is_no_hurry_any_more() -> None:
    """Past the old hour it is decided again, and waits for the morning like any other."""
    old = moved("2026-07-02 06:30")
    outcome = told(MOVED, old, "2026-07-01T22:25-04:00")
    assert isinstance(outcome, Deliver)
    assert set(outcome.not_after_ms.values()) == {at("2026-07-02T06:30-04:00")}
    assert ("quiet_hours", None, "pass", "in_time_for") in outcome.verdicts
    assert not at_once(told(MOVED, old, "2026-07-02T06:30-04:00"))
    # Before the night it is as ever: then it is decided again, and goes.
    evening = told(MOVED, old, "2026-07-01T21:59-04:00")
    assert isinstance(evening, Deliver)
    assert set(evening.not_after_ms.values()) == {at("2026-07-01T22:00-04:00")}


def test_where_only_what_rings_is_quiet_the_text_goes_with_the_email() -> None:
    ringing = replace(SARAH, quiet=NIGHT._replace(channels=("sms", "push")))
    assert at_once(told(MOVED, moved("2026-07-02 08:30"), "2026-07-01T23:00-04:00", ringing))


def test_two_nights_on_end_count_as_one() -> None:
    """Hers until eight, the clinic's until ten: it would be free at ten."""
    outcome = decide(
        Given(
            TYPES[MOVED],
            QUIET,
            at("2026-07-01T23:00-04:00"),
            zone=NEW_YORK,
            clinic_quiet=Quiet("21:00", "10:00"),
            deadlines=(Deadline(at("2026-07-02T10:30-04:00"), HOUR_MS),),
        )
    )
    assert at_once(outcome)


@pytest.mark.parametrize(
    ("until", "expected"),
    [("2026-07-02T00:00-04:00", Defer), ("2026-07-02T07:30-04:00", ["email", "in_app"]), (None, ["email", "in_app"])],
)
def test_who_is_not_to_be_disturbed_past_that_hour_is_told_where_nothing_rings(
    until: str | None, expected: Any
) -> None:
    """As where do-not-disturb has no end, or ends past the expiry."""
    person = replace(
        preferring(do_not_disturb=True), undisturbed_until_ms=None if until is None else at(until), time_zone=NEW_YORK
    )
    outcome = told(MOVED, moved("2026-07-02 08:00"), "2026-07-01T20:00-04:00", person)
    if expected is Defer:
        assert isinstance(outcome, Defer)
    else:
        assert channels_of(outcome) == expected


def test_who_has_nothing_that_does_not_ring_waits_all_the_same() -> None:
    person = replace(
        preferring(do_not_disturb=True),
        undisturbed_until_ms=at("2026-07-02T07:30-04:00"),
        addresses={"sms": "+12125550123"},
    )
    outcome = told(MOVED, moved("2026-07-02 08:00"), "2026-07-01T20:00-04:00", person)
    assert isinstance(outcome, Defer)
    assert outcome.reason == Reason.DO_NOT_DISTURB


def test_an_event_without_its_old_hour_has_that_deadline_not() -> None:
    bare = moved("2026-07-02 08:00") | {"new_time": None}
    deadlines_of = compile_deadlines(CATALOG.types[MOVED], EVENT_TYPES["appointment.rescheduled"].record)
    found = deadlines_of(bare, local_time(bare, ALWAYS_OPEN_IN_UTC))
    assert [one.at_ms for one in found] == [at("2026-07-02T08:00Z")]


deadlines = st.lists(
    st.builds(Deadline, st.integers(-2, 40).map(lambda hours: 1_700_000_000_000 + hours * HOUR_MS), st.just(HOUR_MS)),
    min_size=1,
    max_size=2,
).map(tuple)


@settings(max_examples=250)
@given(givens(), deadlines)
def test_haste_lifts_quiet_hours_and_nothing_else(whole: Given, due: tuple[Deadline, ...]) -> None:
    case = replace(whole, terms=replace(whole.terms, essential=True), deadlines=due)
    hasty, calm = decide(case), decide(replace(case, deadlines=()))
    allowed = set(case.terms.all_channels) - closed_by(calm)
    assert set(channels_of(hasty)) <= allowed
    if isinstance(calm, Suppress) and calm.verdicts[-1].verdict == "not_applicable":
        assert isinstance(hasty, Suppress)  # vetoed: the time says nothing about that
        assert hasty.reason == calm.reason
    if isinstance(hasty, Defer):
        rings = case.person.preferences["do_not_disturb"] or case.limits.per_minute or case.limits.per_hour
        assert rings or missed(due, case.now_ms, hasty.until_ms) is None
    if all(one.at_ms <= case.now_ms for one in due):
        assert hasty == calm
    if isinstance(hasty, Deliver):
        assert all(until > case.now_ms for until in hasty.not_after_ms.values())


@given(st.integers(0, 48 * 60), st.sampled_from([NEW_YORK, "Australia/Lord_Howe", "America/St_Johns", "UTC"]))
def test_no_hour_ahead_is_told_of_too_late(minutes: int, zone: str) -> None:
    """By her clocks and the clinic's of any zone, on the nights that clocks change too."""
    for begins in ("2026-03-07T22:30-05:00", "2026-04-04T22:30+11:00", "2026-10-31T23:59-04:00"):
        now_ms = at(begins)
        old_ms = now_ms + minutes * 60_000
        old = datetime.fromtimestamp(old_ms / 1000, ZoneInfo(zone))
        asleep = replace(SARAH, quiet=NIGHT._replace(zone=zone))
        outcome = told(MOVED, moved(f"{old:%Y-%m-%d %H:%M}"), begins, asleep, zone)
        if isinstance(outcome, Defer) and not old.fold:
            assert outcome.until_ms + HOUR_MS <= old_ms or old_ms <= now_ms
            assert outcome.until_ms - now_ms <= 24 * HOUR_MS + SPREAD_MS
