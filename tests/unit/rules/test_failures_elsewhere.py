"""Where other systems decide wrongly: each failure as a test that is named by it. docs/failures-elsewhere.md lists them all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.catalog import Catalog
from streams.rules.decision import Defer, Deliver, Suppress, decide
from streams.rules.given import Given
from streams.rules.limits import HOUR_MS, Limits, Sent, Tally
from streams.rules.person import NEVER_ASKED, ConsentState, Person, Quiet
from streams.rules.reasons import Reason
from streams.rules.terms import CHANNELS
from tests.unit.rules.people import ADDRESSES, SARAH, TYPES, at, channels_of, preferring

NIGHT = Quiet("22:00", "08:00", "America/New_York")
QUIET = replace(SARAH, quiet=NIGHT)
NOON, EVENING = at("2026-07-01T12:00-04:00"), at("2026-07-01T23:00-04:00")
MORNING = at("2026-07-02T08:00-04:00")
CONFIRMATION, REMINDER = TYPES["appointment_confirmation"], TYPES["appointment_reminder_2h"]
OFFER, CREDITS = TYPES["promotional_offer"], TYPES["membership_credits_added"]


def case(terms: Any = CONFIRMATION, person: Person = SARAH, now_ms: int = NOON, **changes: Any) -> Given:
    return Given(terms, person, now_ms, **{"zone": "America/New_York"} | changes)


def wishing(changes: dict[str, Any]) -> Person:
    return preferring(**changes)


# -- precedence and granularity ---------------------------------------------------------------------------------------


@given(st.sampled_from(["clinic", "global", "category", "channel", "opt_in", "consent", "address"]))
def test_no_later_layer_of_preferences_reopens_what_an_earlier_one_closed(closed_by: str) -> None:
    """Novu: code, then dashboard, then global, then workflow; the later one wins."""
    # Everything else says yes as loudly as it can.
    person, more = SARAH, dict[str, Any]()
    match closed_by:
        case "clinic":
            more["disabled_types"] = (CREDITS.name,)
        case "global":
            person = preferring(global_opt_out=True)
        case "category":
            person = wishing({str(CREDITS.preference_category): False})
        case "channel":
            person = wishing({f"{channel}_enabled": False for channel in CHANNELS})
        case "opt_in":
            person = wishing({group: dict.fromkeys(SARAH.preferences[group], False) for _, group, _ in CREDITS.opt_ins})
        case "consent":
            withdrawn = {consent: ConsentState("opted_out", None) for _, consent in CREDITS.consents}
            person = replace(SARAH, consents=withdrawn)
        case _:
            more["suppressed"] = CHANNELS
    assert isinstance(decide(case(CREDITS)), Deliver)
    assert isinstance(decide(case(CREDITS, person, **more)), Suppress)


def test_an_opt_out_of_one_category_on_one_channel_closes_nothing_else() -> None:
    """novu#2500, #5600, #6548: preferences too coarse, or of two kinds that override each other."""
    no_texts = preferring(sms_opt_in={**SARAH.preferences["sms_opt_in"], "membership": False})
    both = channels_of(decide(case(CREDITS)))
    assert "sms" in both
    assert channels_of(decide(case(CREDITS, no_texts))) == [channel for channel in both if channel != "sms"]
    assert channels_of(decide(case(person=no_texts))) == channels_of(decide(case()))
    assert "sms" in channels_of(decide(case(OFFER, no_texts)))


def test_a_wish_for_essentials_only_does_not_hide_a_cancelled_appointment() -> None:
    """Novu: what a workflow marks as read-only discards the subscriber's layers, all or nothing."""
    assert isinstance(decide(case(TYPES["appointment_cancelled"], preferring(global_opt_out=True))), Deliver)
    assert isinstance(decide(case(CREDITS, preferring(global_opt_out=True))), Suppress)


def test_who_was_never_asked_is_not_subscribed_to_marketing() -> None:
    """Parcelvoy: everybody is subscribed until they say no."""
    asked_nothing = Person("patient:2", 1, addresses=ADDRESSES)
    for terms in TYPES.values():
        if terms.marketing_consent:
            assert isinstance(decide(case(terms, asked_nothing)), Suppress), terms.name
    agreed_by_form_only = replace(asked_nothing, preferences=SARAH.preferences)
    told = decide(case(OFFER, agreed_by_form_only))
    assert not {"sms", "email"} & set(channels_of(told))


def test_who_was_never_asked_still_gets_what_is_essential() -> None:
    """Dittofeed: a group of the opt-in kind, and no answer yet, blocks everything in it."""
    asked_nothing = Person("patient:2", 1, addresses=ADDRESSES)
    for terms in TYPES.values():
        if terms.essential and terms.of_patients:
            assert isinstance(decide(case(terms, asked_nothing)), Deliver), terms.name


def test_no_preference_overrides_a_withdrawn_consent_or_a_blocked_address() -> None:
    """The recommended order: what is essential passes preferences, never a withdrawal or a suppression."""
    withdrawn = replace(SARAH, consents={"sms_transactional": ConsentState("opted_out", None)})
    assert "sms" not in channels_of(decide(case(person=withdrawn)))
    assert "sms" not in channels_of(decide(case(suppressed=("sms",))))


# -- quiet hours and zones --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terms", [CONFIRMATION, CREDITS, OFFER])
def test_quiet_hours_put_off_and_do_not_skip(terms: Any) -> None:
    """Novu PR#9126 shipped them as a skip; the specification's `canSendNotification` denies."""
    outcome = decide(case(terms, QUIET, EVENING))
    assert isinstance(outcome, Defer)
    assert outcome.until_ms == MORNING
    assert isinstance(decide(case(terms, QUIET, outcome.until_ms)), Deliver)


def test_on_waking_everything_is_decided_again_not_only_the_hour() -> None:
    """Laudspeaker puts back into the queue what it decided before; rapidpro#5492."""
    assert isinstance(decide(case(CREDITS, QUIET, EVENING)), Defer)
    meanwhile = replace(preferring(global_opt_out=True), quiet=NIGHT)
    woken = decide(case(CREDITS, meanwhile, MORNING))
    assert isinstance(woken, Suppress)
    assert woken.reason == Reason.GLOBAL_OPT_OUT


def test_a_move_to_another_zone_while_it_waits_puts_it_off_again() -> None:
    """novu#8308, #2808: the zone is the one that was known when it was scheduled."""
    here = replace(SARAH, quiet=NIGHT._replace(zone=None), time_zone="America/New_York")
    outcome = decide(case(person=here, now_ms=EVENING))
    assert isinstance(outcome, Defer)
    moved = replace(here, time_zone="Pacific/Honolulu")  # eight in New York is two in the morning there
    again = decide(case(person=moved, now_ms=outcome.until_ms))
    assert isinstance(again, Defer)
    assert again.until_ms == at("2026-07-02T08:00-10:00")


def test_somebody_whose_zone_nobody_knows_is_quiet_by_the_clinics_clock_not_by_utc() -> None:
    """listmonk#2681, novu#2858: the server's clock. 23:00 in New York is 3 o'clock UTC; 19:00 there is 23:00 UTC."""
    unknown = replace(SARAH, quiet=NIGHT._replace(zone=None), time_zone=None)
    assert isinstance(decide(case(person=unknown, now_ms=at("2026-07-01T19:00-04:00"))), Deliver)
    assert isinstance(decide(case(person=unknown, now_ms=EVENING)), Defer)


def test_what_would_come_after_its_appointment_is_not_sent_in_the_morning() -> None:
    """A two-hour reminder, a thirty-minute offer of a slot: waiting for the morning would tell of what is over."""
    reminder = decide(case(REMINDER, QUIET, EVENING, expires_at_ms=EVENING + HOUR_MS))
    assert channels_of(reminder) == ["in_app"]
    assert isinstance(decide(case(OFFER, QUIET, EVENING, expires_at_ms=EVENING + HOUR_MS)), Suppress)


def test_do_not_disturb_is_not_only_a_longer_night() -> None:
    """novu#2858: without do-not-disturb people switch everything off. It lets only what is critical through."""
    person = preferring(do_not_disturb=True)
    assert isinstance(decide(case(TYPES["emergency_clinic_closure"], person)), Deliver)
    assert channels_of(decide(case(person=person))) == ["email", "in_app"]
    assert isinstance(decide(case(CREDITS, person)), Suppress)


# -- caps -------------------------------------------------------------------------------------------------------------


def full(hours_ago: float = 1, messages: int = 1) -> Tally:
    return Tally((Sent(NOON - round(hours_ago * HOUR_MS), "n", CREDITS.category, "none", messages),))


def test_a_cap_does_not_throw_away_what_it_may_put_off() -> None:
    """Novu's throttle step drops what is too much. Here a type says drop, defer or digest."""
    outcomes = {
        cap: decide(case(replace(CREDITS, cap=cap), tally=full(), limits=Limits(daily=1)))
        for cap in ("drop", "defer", "digest")
    }
    assert isinstance(outcomes["drop"], Suppress)
    assert isinstance(outcomes["defer"], Defer)
    assert isinstance(outcomes["digest"], Defer)
    assert not any(kind.cap == "drop" for kind in Catalog.load().types.values() if kind.essential)


def test_a_full_cap_opens_again_the_next_day_by_itself() -> None:
    """mautic#6261, #10416, #6729: rows at their limit stay queued for ever."""
    capped = replace(CREDITS, cap="defer")
    outcome = decide(case(capped, tally=full(), limits=Limits(daily=1)))
    assert isinstance(outcome, Defer)
    woken = decide(case(capped, now_ms=outcome.until_ms, tally=full(), limits=Limits(daily=1)))
    assert isinstance(woken, Deliver)


def test_a_limit_is_one_recipients_not_the_whole_broadcasts() -> None:
    """Dittofeed limits broadcasts only; its rate limit of a journey is not implemented."""
    limits = Limits(per_minute=1)
    mine = full(0.001)
    held = decide(case(CREDITS, tally=mine, limits=limits))
    assert isinstance(held, Defer)
    assert held.reason == Reason.RATE_LIMIT
    assert isinstance(decide(case(CREDITS, replace(SARAH, recipient="patient:2"), limits=limits)), Deliver)


# -- channels and fallback --------------------------------------------------------------------------------------------


def test_no_patients_plan_takes_sent_for_success() -> None:
    """The specification returns success on `sent`, so that an undelivered text never falls back to another channel."""
    for terms in TYPES.values():
        outcome = decide(case(terms))
        if not isinstance(outcome, Deliver) or not terms.of_patients:
            continue
        for step, following in zip(outcome.steps, outcome.steps[1:], strict=False):
            assert following.parallel or step.success in ("delivered", "seen"), terms.name


def test_a_refused_channel_is_not_made_up_for_by_another() -> None:
    """A refusal must not be laundered: who says no to marketing by text is not emailed it by fallback."""
    for terms in TYPES.values():
        if terms.category != "marketing":
            continue
        consents = {name: ConsentState("opted_out", None) for channel, name in terms.consents if channel == "sms"}
        refused = replace(SARAH, consents={**SARAH.consents, **consents})
        told = channels_of(decide(case(terms, refused)))
        assert "sms" not in told
        assert set(told) <= set(terms.channels)


def test_an_address_that_nobody_verified_gets_nothing_however_it_was_preferred() -> None:
    """A typing error is somebody else's telephone."""
    person = replace(preferring(channel_order=["sms", "email"]), unverified=frozenset({"sms"}))
    assert "sms" not in channels_of(decide(case(person=person)))


# -- the record -------------------------------------------------------------------------------------------------------


def test_no_refusal_is_without_an_enumerated_reason_and_the_rule_that_gave_it() -> None:
    """novu#5123, #9400; VA#1319, #2092, #2054: "failed", and nobody can say why."""
    for change in (
        {"blocked": True},
        {"suppressed": CHANNELS},
        {"overtaken": Reason.CANCELLED},
        {"is_duplicate": True},
        {"disabled_types": (CREDITS.name,)},
        {"person": preferring(global_opt_out=True)},
        {"person": Person("patient:3", 1, preferences=NEVER_ASKED)},
    ):
        outcome = decide(case(**{"terms": CREDITS} | change))
        assert isinstance(outcome, Suppress)
        assert isinstance(outcome.reason, Reason)
        assert outcome.reason.meaning
        assert [one.rule for one in outcome.verdicts if one.reason == outcome.reason.value]
