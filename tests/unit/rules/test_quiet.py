"""Quiet hours, telephone hours and do-not-disturb: what is held, until when, and what becomes of it if that takes too long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.rules.decision import Defer, Deliver, Suppress, decide
from streams.rules.given import Given
from streams.rules.person import Person, Quiet
from streams.rules.plan import sent_at_once
from streams.rules.quiet import SPREAD_MS
from streams.rules.reasons import Reason
from streams.rules.telephone import hours_of
from streams.rules.terms import Channel, Terms
from tests.unit.rules.people import SARAH, TYPES, at, channels_of, preferring

NIGHT = Quiet("22:00", "08:00", "America/New_York")
RINGING: tuple[Channel, ...] = ("sms", "push")
EVENING, MORNING = at("2026-07-01T23:00-04:00"), at("2026-07-02T08:00-04:00")
CONFIRMATION, REMINDER = TYPES["appointment_confirmation"], TYPES["appointment_reminder_2h"]
CLOSURE = TYPES["emergency_clinic_closure"]
CREDITS, OFFER, REVIEW = (TYPES[name] for name in ("membership_credits_added", "promotional_offer", "review_request"))
QUIET = replace(SARAH, quiet=NIGHT)


def given(terms: Terms = CONFIRMATION, person: Person = QUIET, now_ms: int = EVENING, **changes: Any) -> Given:
    return Given(terms, person, now_ms, **{"zone": "America/New_York"} | changes)


def test_at_night_it_waits_for_the_morning() -> None:
    outcome = decide(given())
    assert isinstance(outcome, Defer)
    assert (outcome.until_ms, outcome.reason) == (MORNING, Reason.QUIET_HOURS)
    assert ("quiet_hours", "sms", "defer", "quiet_hours") in outcome.verdicts
    assert isinstance(decide(given(now_ms=outcome.until_ms)), Deliver)


def test_a_thousand_sleepers_are_not_woken_in_one_second() -> None:
    """Jittered, by the notification's own id: each time the same."""
    found = [decide(given(spread=spread)) for spread in range(0, 1 << 16, 1 << 8)]
    untils = [outcome.until_ms for outcome in found if isinstance(outcome, Defer)]
    assert min(untils) == MORNING
    assert MORNING + SPREAD_MS * 0.99 < max(untils) < MORNING + SPREAD_MS
    assert len(set(untils)) == 256


@pytest.mark.parametrize(
    "now",
    ["2026-07-01T22:00-04:00", "2026-07-02T07:59:59.999-04:00", "2026-03-08T03:00-04:00", "2026-11-01T01:30-05:00"],
)
def test_it_is_quiet(now: str) -> None:
    assert isinstance(decide(given(now_ms=at(now))), Defer)


@pytest.mark.parametrize("now", ["2026-07-01T21:59:59.999-04:00", "2026-07-02T08:00-04:00"])
def test_it_is_not_quiet(now: str) -> None:
    assert isinstance(decide(given(now_ms=at(now))), Deliver)


def test_quiet_hours_are_the_recipients_not_the_clinics_or_the_servers() -> None:
    """novu#2858, listmonk#2681: quiet by the wrong clock. 23:00 in New York is 17:00 in Honolulu."""
    honolulu = replace(QUIET, quiet=NIGHT._replace(zone=None), time_zone="Pacific/Honolulu")
    assert isinstance(decide(given(person=honolulu)), Deliver)
    unknown = replace(QUIET, quiet=NIGHT._replace(zone=None))
    assert isinstance(decide(given(person=unknown)), Defer)
    assert isinstance(decide(given(person=unknown, zone="Pacific/Honolulu")), Deliver)


def test_critical_and_excepted_are_not_held() -> None:
    assert isinstance(decide(given(CLOSURE)), Deliver)
    for words in ({"appointment_reminders"}, {"appointment_reminder_2h"}, {"transactional"}, {"appointments"}):
        excepting = replace(SARAH, quiet=NIGHT._replace(exceptions=frozenset(words)))
        assert isinstance(decide(given(REMINDER, excepting)), Deliver), words
    excepting = replace(SARAH, quiet=NIGHT._replace(exceptions=frozenset({"critical"})))
    assert isinstance(decide(given(REMINDER, excepting)), Defer)


def test_where_only_what_rings_is_quiet_the_email_goes_now_and_the_text_waits_for_the_morning() -> None:
    """Quiet hours put off, they never drop: the text stays in the plan."""
    ringing = replace(SARAH, quiet=NIGHT._replace(channels=RINGING))
    outcome = decide(given(person=ringing))
    assert isinstance(outcome, Deliver)
    assert channels_of(outcome) == ["email", "sms", "push", "in_app"]
    assert sent_at_once(outcome.steps) == 1
    assert outcome.steps[0].timeout_seconds == 9 * 3600
    # A reminder goes by text or push only, at first: both are quiet.
    assert isinstance(decide(given(REMINDER, ringing)), Defer)


def test_what_would_expire_in_the_night_comes_silently_or_not_at_all() -> None:
    """The two-hour reminder of an appointment at seven: the portal, since nothing else is allowed to ring."""
    outcome = decide(given(REMINDER, expires_at_ms=MORNING))
    assert channels_of(outcome) == ["in_app"]
    assert ("in_time", "sms", "narrow", "silent_only") in outcome.verdicts
    told = decide(given(REMINDER, expires_at_ms=MORNING, disabled_channels=("in_app",)))
    assert isinstance(told, Suppress)
    assert told.reason == Reason.EXPIRED
    assert isinstance(decide(given(REMINDER, expires_at_ms=MORNING + 1)), Defer)
    assert isinstance(decide(given(OFFER, expires_at_ms=MORNING)), Suppress)


def test_a_release_stays_before_the_expiry_whatever_its_spread() -> None:
    outcome = decide(given(expires_at_ms=MORNING + 1000, spread=65_535))
    assert isinstance(outcome, Defer)
    assert MORNING <= outcome.until_ms < MORNING + 1000


def test_the_clinics_quiet_hours_hold_patients_too() -> None:
    clinic = Quiet("20:00", "09:00", exceptions=frozenset({"appointment_reminders"}))
    outcome = decide(given(clinic_quiet=clinic))
    assert isinstance(outcome, Defer)
    assert (outcome.until_ms, outcome.reason) == (at("2026-07-02T09:00-04:00"), Reason.QUIET_HOURS)
    alone = decide(given(person=SARAH, clinic_quiet=clinic))
    assert isinstance(alone, Defer)
    assert alone.reason == Reason.CLINIC_QUIET_HOURS
    assert isinstance(decide(given(REMINDER, SARAH, clinic_quiet=clinic)), Deliver)
    assert isinstance(decide(given(TYPES["patient_check_in_alert"], SARAH, clinic_quiet=clinic)), Deliver)


def test_hours_that_leave_no_time_put_off_until_it_means_nothing_and_then_come_silently() -> None:
    always = given(clinic_quiet=Quiet("08:00", "22:00"), expires_at_ms=EVENING + 10 * 86_400_000)
    outcome = decide(always)
    assert isinstance(outcome, Defer | Deliver)
    assert channels_of(decide(replace(always, expires_at_ms=MORNING + 3_600_000))) == ["in_app"]


@pytest.mark.parametrize(
    ("number", "zones"),
    [
        ("+12125550123", ("America/New_York",)),
        ("+18085550123", ("Pacific/Honolulu",)),
        ("+12085550123", ("America/Boise", "America/Los_Angeles")),
        ("+17875550123", ("America/Puerto_Rico",)),
        ("+18005550123", ()),
        ("+15555550123", ()),
    ],
)
def test_a_number_of_the_united_states_tells_its_zone(number: str, zones: tuple[str, ...]) -> None:
    assert hours_of(number) == (("21:00", "08:00"), zones)


@pytest.mark.parametrize("number", ["+14165550123", "+18765550123", "+442079460018", "+5255123456"])
def test_other_countries_have_no_such_rule(number: str) -> None:
    assert hours_of(number) is None


@pytest.mark.parametrize(
    ("number", "zone", "now", "held"),
    [
        ("+12125550123", None, "2026-07-01T20:59:59.999-04:00", False),
        ("+12125550123", None, "2026-07-01T21:00-04:00", True),
        ("+12125550123", None, "2026-07-02T07:59:59.999-04:00", True),
        ("+12125550123", None, "2026-07-02T08:00-04:00", False),
        ("+18085550123", None, "2026-07-02T08:00-04:00", True),  # two in the morning in Honolulu
        ("+12125550123", "Pacific/Honolulu", "2026-07-02T08:00-04:00", True),  # she moved and kept her number
        ("+12085550123", None, "2026-07-02T10:59-04:00", True),  # 8:59 in Boise, 7:59 on the coast
        ("+12085550123", None, "2026-07-02T11:00-04:00", False),
        ("+18005550123", None, "2026-07-01T21:00-04:00", True),  # tells none: the clinic's
        ("+442079460018", None, "2026-07-01T23:00-04:00", False),
    ],
)
def test_telephone_hours_hold_texts_that_are_not_essential(number: str, zone: str | None, now: str, held: bool) -> None:
    """Twilio refuses them with 30610."""
    person = replace(SARAH, addresses={**SARAH.addresses, "sms": number}, time_zone=zone)
    follow_up = TYPES["treatment_followup_24hr"]
    outcome = decide(given(follow_up, person, at(now)))
    assert isinstance(outcome, Defer) is held
    if isinstance(outcome, Defer):
        assert outcome.reason == Reason.TELEPHONE_HOURS
    assert isinstance(decide(given(CONFIRMATION, person, at(now))), Deliver)
    # Another of the channels that it may begin with is free: it need not wait.
    assert channels_of(decide(given(REVIEW, person, at(now))))[0] == ("email" if held else "sms")


def test_a_message_says_until_when_it_may_still_be_sent() -> None:
    noon = at("2026-07-01T12:00-04:00")
    outcome = decide(given(now_ms=noon))
    assert isinstance(outcome, Deliver)
    assert outcome.not_after_ms["sms"] == outcome.not_after_ms["email"] == at("2026-07-01T22:00-04:00")
    text = decide(given(TYPES["treatment_followup_24hr"], now_ms=noon))
    assert isinstance(text, Deliver)
    assert text.not_after_ms["sms"] == at("2026-07-01T21:00-04:00")
    free = decide(given(person=SARAH))
    assert isinstance(free, Deliver)
    assert free.not_after_ms == {}


LATER = EVENING + 3_600_000


@pytest.mark.parametrize(
    ("terms", "until", "expires", "expected"),
    [
        (CLOSURE, None, None, "deliver"),
        (CLOSURE, LATER, None, "deliver"),
        (CONFIRMATION, LATER, None, LATER),
        (CREDITS, LATER, None, LATER),
        (CONFIRMATION, EVENING, None, "deliver"),  # over
        (CONFIRMATION, None, None, ["email", "in_app"]),
        (REMINDER, None, None, ["email", "in_app"]),
        (CREDITS, None, None, Reason.DO_NOT_DISTURB),
        # Its end comes too late: as if it had none.
        (CONFIRMATION, LATER, LATER, ["email", "in_app"]),
        (CREDITS, LATER, LATER, Reason.EXPIRED),
    ],
)
def test_do_not_disturb(terms: Terms, until: int | None, expires: int | None, expected: Any) -> None:
    person = replace(preferring(do_not_disturb=True), undisturbed_until_ms=until)
    outcome = decide(given(terms, person, expires_at_ms=expires))
    match outcome:
        case Defer():
            assert (outcome.until_ms, outcome.reason) == (expected, Reason.DO_NOT_DISTURB)
        case Suppress():
            assert outcome.reason == expected
        case Deliver():
            assert expected == "deliver" or channels_of(outcome) == expected


def test_do_not_disturb_that_ends_in_the_night_waits_for_the_morning() -> None:
    person = replace(preferring(QUIET, do_not_disturb=True), undisturbed_until_ms=LATER)
    outcome = decide(given(person=person, now_ms=EVENING - 4 * 3_600_000))
    assert isinstance(outcome, Defer)
    assert outcome.until_ms == MORNING


def test_only_verified_addresses_are_used() -> None:
    """The patient's typing error is somebody else's telephone."""
    outcome = decide(given(person=replace(SARAH, unverified=frozenset({"sms"}))))
    assert channels_of(outcome) == ["email", "push", "in_app"]
    assert ("verified", "sms", "narrow", "unverified") in outcome.verdicts
    both = replace(SARAH, unverified=frozenset({"sms", "email"}))
    refused = decide(given(OFFER, replace(both, addresses={c: a for c, a in both.addresses.items() if c != "push"})))
    assert isinstance(refused, Suppress)
    assert refused.reason == Reason.UNVERIFIED
    code = replace(CONFIRMATION, answers=True)
    assert channels_of(decide(given(code, both)))[:2] == ["sms", "email"]
