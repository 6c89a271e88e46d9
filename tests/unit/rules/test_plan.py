"""Delivery plans, from the catalogue's rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.catalog import Catalog
from streams.rules.plan import PlannedStep, can_be_sent, plan_of, sent_at_once
from streams.rules.terms import CHANNELS, Channel, Terms

TYPES = {name: Terms.of(kind) for name, kind in Catalog.load().types.items()}


def test_critical_goes_from_channel_to_channel_after_thirty_seconds() -> None:
    steps = plan_of(TYPES["waitlist_opening"], CHANNELS, ())
    assert [step.channel for step in steps][:3] == ["sms", "push", "email"]
    assert [step.timeout_seconds for step in steps][:2] == [30, 30]
    assert sent_at_once(steps) == 1


def test_a_confirmation_goes_out_on_both_channels_at_once() -> None:
    steps = plan_of(TYPES["appointment_confirmation"], CHANNELS, ())
    assert [step.channel for step in steps][:2] == ["sms", "email"]
    assert sent_at_once(steps) == 2
    assert steps[-1].channel == "in_app"
    assert all(step.success == "delivered" and step.timeout_seconds > 0 for step in steps[:2])


def test_only_the_first_open_channel_where_the_catalogue_says_so() -> None:
    terms = TYPES["appointment_reminder_24h"]
    assert terms.send_first
    assert sent_at_once(plan_of(terms, CHANNELS, ())) == 1
    assert plan_of(terms, CHANNELS, ("push", "sms"))[0].channel == "push"


def test_essential_begins_with_a_later_step_where_nothing_else_is_open() -> None:
    assert plan_of(TYPES["waitlist_opening"], ("email", "in_app"), ())[0].channel == "email"


def test_marketing_never_crosses_to_another_channel() -> None:
    for terms in TYPES.values():
        if terms.category == "marketing":
            assert not can_be_sent(terms, set(CHANNELS) - set(terms.channels))


def test_staff_alerts_go_to_app_and_phone_and_then_to_text() -> None:
    terms = next(terms for terms in TYPES.values() if not terms.of_patients and terms.later)
    steps = plan_of(terms, CHANNELS, ())
    assert {step.channel for step in steps[: sent_at_once(steps)]} == {"in_app", "push"}
    assert (steps[0].success, steps[0].timeout_seconds, steps[-1].channel) == ("seen", 30, "sms")


@pytest.mark.parametrize("terms", TYPES.values(), ids=TYPES.keys())
@given(st.frozensets(st.sampled_from(CHANNELS)), st.permutations(CHANNELS))
def test_a_plan_uses_open_channels_once_each(
    terms: Terms, open_channels: frozenset[Channel], order: list[Channel]
) -> None:
    steps: tuple[PlannedStep, ...] = plan_of(terms, open_channels, order)
    channels = [step.channel for step in steps]
    assert bool(steps) == can_be_sent(terms, open_channels)
    assert len(set(channels)) == len(channels)
    assert set(channels) <= open_channels & set(terms.all_channels)
    assert not steps or (not steps[0].parallel and set(open_channels) & set(terms.all_channels) == set(channels))
