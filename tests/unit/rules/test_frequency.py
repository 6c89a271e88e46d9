"""How often: frequency settings, caps in the recipient's own day, digests, and messages a minute and an hour."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.rules.decision import Defer, Deliver, Suppress, decide
from streams.rules.given import Given
from streams.rules.limits import HOUR_MS, LONGEST_GAP_MS, Limits, Sent, Tally, day_of, next_digest
from streams.rules.person import Quiet
from streams.rules.reasons import Reason
from streams.rules.terms import Terms
from tests.unit.rules.people import SARAH, TYPES, at, preferring

NOW = at("2026-07-01T12:00-04:00")
OFFER, REVIEW, CREDITS = (TYPES[name] for name in ("promotional_offer", "review_request", "membership_credits_added"))
AFTERCARE, FOLLOW_UP = TYPES["follow_up_recommendation"], TYPES["treatment_followup_24hr"]
CONFIRMATION = TYPES["appointment_confirmation"]
MIDNIGHT = at("2026-07-02T00:00-04:00")


def sent(hours_ago: float, kind: Terms = OFFER, messages: int = 1) -> Sent:
    at_ms = NOW - round(hours_ago * HOUR_MS)
    return Sent(at_ms, f"{kind.name} {hours_ago}", kind.category, kind.frequency_class, messages)


def decided(terms: Terms, *earlier: Sent, **changes: Any) -> Deliver | Defer | Suppress:
    given: dict[str, Any] = {"zone": "America/New_York", "person": preferring(frequency_marketing="daily")} | changes
    return decide(Given(terms, now_ms=NOW, tally=Tally(earlier), **given))


@pytest.mark.parametrize(("wanted", "hours"), [("daily", 24), ("weekly", 168), ("monthly", 720)])
def test_marketing_keeps_the_gap_that_the_recipient_chose(wanted: str, hours: int) -> None:
    person = preferring(frequency_marketing=wanted)
    early = decided(OFFER, sent(hours - 0.001), person=person)
    assert isinstance(early, Suppress)
    assert early.reason == Reason.FREQUENCY_GAP
    assert isinstance(decided(OFFER, sent(hours), person=person), Deliver)
    # Other classes and care are no part of it.
    assert isinstance(decided(OFFER, sent(1, CONFIRMATION), sent(1, REVIEW), person=person), Deliver)


@pytest.mark.parametrize(
    ("terms", "wish", "reason"),
    [
        (OFFER, {"frequency_marketing": "never"}, Reason.FREQUENCY_NEVER),
        (REVIEW, {"frequency_reviews": "never"}, Reason.FREQUENCY_NEVER),
        (REVIEW, {"frequency_reviews": "always"}, None),
        (FOLLOW_UP, {"frequency_follow_ups": "none"}, Reason.FREQUENCY_NEVER),
        (replace(FOLLOW_UP, important=False), {"frequency_follow_ups": "important_only"}, Reason.NOT_IMPORTANT),
        (replace(FOLLOW_UP, important=True), {"frequency_follow_ups": "important_only"}, None),
        (replace(FOLLOW_UP, important=False), {"frequency_follow_ups": "all"}, None),
        (CONFIRMATION, {"frequency_marketing": "never", "frequency_follow_ups": "none"}, None),
    ],
)
def test_what_the_recipient_wants_none_of(terms: Terms, wish: dict[str, Any], reason: Reason | None) -> None:
    outcome = decided(terms, person=preferring(**wish))
    assert (outcome.reason if isinstance(outcome, Suppress) else None) == reason


def test_occasional_reviews_are_a_month_apart() -> None:
    person = preferring(frequency_reviews="occasionally")
    assert isinstance(decided(REVIEW, sent(719, REVIEW), person=person), Suppress)
    assert isinstance(decided(REVIEW, sent(720, REVIEW), person=person), Deliver)


@pytest.mark.parametrize(
    ("cap", "expected"),
    [("drop", Reason.DAILY_CAP), ("defer", MIDNIGHT), ("digest", at("2026-07-02T09:00-04:00"))],
)
def test_one_too_many_today_is_dropped_put_off_or_collected(cap: str, expected: object) -> None:
    outcome = decided(replace(CREDITS, cap=cap), sent(1), limits=Limits(daily=1))
    match outcome:
        case Suppress():
            assert outcome.reason == expected
        case Defer():
            assert (outcome.until_ms, outcome.reason, outcome.collects) == (
                expected,
                Reason.DAILY_CAP,
                cap == "digest",
            )
        case _:
            raise AssertionError(outcome)


def test_the_day_is_the_recipients() -> None:
    """13 hours ago was yesterday in New York, and still is today in Kiritimati, where it is two hours later."""
    limits = Limits(daily=1)
    assert isinstance(decided(CREDITS, sent(13), limits=limits), Deliver)
    assert isinstance(decided(CREDITS, sent(11), limits=limits), Defer)
    honolulu = replace(SARAH, time_zone="Pacific/Honolulu")  # six in the morning there
    assert isinstance(decided(CREDITS, sent(7), limits=limits, person=honolulu), Deliver)
    assert isinstance(decided(CREDITS, sent(5), limits=limits, person=honolulu), Defer)


def test_what_is_essential_counts_and_is_not_held() -> None:
    assert isinstance(decided(CONFIRMATION, sent(1), sent(2), limits=Limits(1, per_minute=1, per_hour=1)), Deliver)
    assert isinstance(decided(CREDITS, sent(1, CONFIRMATION), limits=Limits(1)), Defer)


def test_what_is_critical_counts_and_is_not_held_either() -> None:
    """A call for help is no essential notification, and must not wait for tomorrow because of what staff were told today."""
    help_needed = TYPES["provider_assistance_needed"]
    limits = Limits(1, per_minute=1, per_hour=1, digest_categories=("real_time",))
    assert help_needed.critical
    assert not help_needed.essential
    assert isinstance(decided(help_needed, sent(0, CONFIRMATION), limits=limits), Deliver)
    assert isinstance(decided(CREDITS, sent(1, help_needed), limits=Limits(1)), Defer)


@pytest.mark.parametrize("name", ["patient_check_in_alert", "provider_appointment_cancelled", "staff_policy_change"])
def test_staff_are_not_held_by_the_caps_of_patients(name: str) -> None:
    """Who checks twenty patients in a day is told of the twenty-first today, not tomorrow when it means nothing."""
    terms = TYPES[name]
    limits = Limits(1, by_category={terms.category: 1})
    assert isinstance(decided(terms, sent(1, terms), sent(2, terms), limits=limits), Deliver)
    assert not limits.counts(terms)
    # A flood of messages is stopped all the same.
    assert isinstance(decided(terms, sent(0.5 / 60, terms), limits=Limits(per_minute=1)), Defer)


def test_a_category_has_its_own_cap() -> None:
    limits = Limits(by_category={"membership": 1})
    capped = decided(replace(CREDITS, cap="drop"), sent(1, CREDITS), limits=limits)
    assert isinstance(capped, Suppress)
    assert capped.reason == Reason.CATEGORY_CAP
    assert isinstance(decided(CREDITS, sent(1, CONFIRMATION), limits=limits), Deliver)


def test_a_cap_that_puts_off_beyond_the_expiry_says_so() -> None:
    """mautic#6261, #10416, #6729: what a cap puts off must not stay queued for ever."""
    outcome = decided(replace(CREDITS, cap="defer"), sent(1), limits=Limits(1), expires_at_ms=MIDNIGHT)
    assert isinstance(outcome, Suppress)
    assert outcome.reason == Reason.DAILY_CAP


def test_too_late_for_its_digest_it_comes_in_the_portal_alone() -> None:
    outcome = decided(replace(CREDITS, cap="digest"), sent(1), limits=Limits(1), expires_at_ms=MIDNIGHT)
    assert isinstance(outcome, Deliver)
    assert [step.channel for step in outcome.steps] == ["in_app"]


def test_what_the_clinic_bundles_is_collected_and_not_again_when_its_digest_is_due() -> None:
    limits = Limits(digest_categories=("membership",))
    outcome = decided(CREDITS, limits=limits)
    assert isinstance(outcome, Defer)
    assert (outcome.reason, outcome.collects) == (Reason.DIGEST, True)
    assert isinstance(decided(CREDITS, limits=limits, digest_due=True), Deliver)
    assert isinstance(decided(CONFIRMATION, limits=Limits(digest_categories=("transactional",))), Deliver)


def test_what_the_recipient_wants_told_together_is_collected_for_their_own_hour() -> None:
    wish = preferring(digest_categories=["financial"], digest_hour=18)
    outcome = decided(CREDITS, person=wish)
    assert isinstance(outcome, Defer)
    expected = (at("2026-07-01T18:00-04:00"), Reason.DIGEST, True)
    assert (outcome.until_ms, outcome.reason, outcome.collects) == expected
    assert isinstance(decided(CREDITS, person=wish, digest_due=True), Deliver)
    # By the wall clock where they are; by the clinic's hour where they named none.
    west = replace(wish, time_zone="America/Los_Angeles")
    away = decided(CREDITS, person=west)
    assert isinstance(away, Defer)
    assert away.until_ms == at("2026-07-01T18:00-07:00")
    no_hour = decided(CREDITS, person=preferring(digest_categories=["financial"]), limits=Limits(digest_hour=7))
    assert isinstance(no_hour, Defer)
    assert no_hour.until_ms == at("2026-07-02T07:00-04:00")


def test_a_wish_for_digests_only_narrows() -> None:
    """Other categories, essentials and marketing come as they did; and the clinic's own digests stay digests."""
    wish = preferring(
        digest_categories=["treatments", "appointments", "financial", "marketing"], frequency_marketing="daily"
    )
    for terms in (CONFIRMATION, OFFER):
        assert isinstance(decided(terms, person=wish), Deliver)
    assert isinstance(decided(CREDITS, person=preferring(digest_categories=["treatments"])), Deliver)
    by_clinic = Limits(digest_categories=("membership",))
    for person in (preferring(), preferring(digest_categories=["treatments"], digest_hour=18)):
        outcome = decided(CREDITS, person=person, limits=by_clinic)
        assert isinstance(outcome, Defer)
        assert outcome.collects


def test_a_digest_whose_hour_lies_in_the_clinics_quiet_hours_comes_after_them() -> None:
    wish = preferring(digest_categories=["financial"], digest_hour=23)
    outcome = decided(CREDITS, person=wish, clinic_quiet=Quiet("21:00", "08:00"))
    assert isinstance(outcome, Defer)
    assert (outcome.until_ms, outcome.collects) == (at("2026-07-02T08:00-04:00"), True)


def test_too_late_for_the_digest_they_wished_it_comes_in_the_portal_alone() -> None:
    wish = preferring(digest_categories=["financial"], digest_hour=18)
    outcome = decided(CREDITS, person=wish, expires_at_ms=NOW + HOUR_MS)
    assert isinstance(outcome, Deliver)
    assert [step.channel for step in outcome.steps] == ["in_app"]


def test_what_a_cap_puts_off_until_the_hour_of_its_digest_is_collected_for_that_digest() -> None:
    """Not woken at that hour by its cap, and only then put off for the next day's digest."""
    limits = Limits(daily=1, digest_hour=0, digest_categories=("membership",))
    outcome = decided(replace(CREDITS, cap="defer"), sent(1), limits=limits)
    assert isinstance(outcome, Defer)
    assert (outcome.until_ms, outcome.collects) == (MIDNIGHT, True)


def test_messages_a_minute_and_an_hour_wait_for_their_turn() -> None:
    minute = decided(CREDITS, sent(0.5 / 60), limits=Limits(per_minute=1))
    assert isinstance(minute, Defer)
    assert (minute.until_ms, minute.reason) == (NOW + 30_000, Reason.RATE_LIMIT)
    hour = decided(CREDITS, sent(0.75, messages=2), sent(0.5), limits=Limits(per_hour=2))
    assert isinstance(hour, Defer)
    assert hour.until_ms == NOW + HOUR_MS // 4
    assert isinstance(decided(CREDITS, sent(1, messages=5), limits=Limits(per_hour=2)), Deliver)


def test_a_tally_forgets_what_counts_no_more_and_counts_each_once() -> None:
    tally = Tally((sent(721), sent(719), sent(49, CONFIRMATION), sent(47, CONFIRMATION)))
    assert [round((NOW - one.at_ms) / HOUR_MS) for one in tally.recent(NOW).sent] == [719, 47]
    assert LONGEST_GAP_MS == 720 * HOUR_MS
    one = sent(1)
    assert tally.with_(one).with_(one).sent.count(one) == 1
    assert tally.with_(one).without(one.notification) == tally
    assert "promotional" not in repr(tally)


def test_days_of_twenty_three_and_twenty_five_hours() -> None:
    spring, autumn = at("2026-03-08T12:00-04:00"), at("2026-11-01T12:00-05:00")
    lengths = [end - start for start, end in (day_of("America/New_York", spring), day_of("America/New_York", autumn))]
    assert lengths == [23 * HOUR_MS, 25 * HOUR_MS]
    assert next_digest("America/New_York", 9, at("2026-03-07T09:00-05:00")) == at("2026-03-08T09:00-04:00")
