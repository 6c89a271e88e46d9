"""What a no changes: it narrows, and nothing ever narrows less for having been said twice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.unsubscribing import wishes
from connectors.unsubscribing.wishes import OPT_INS, PROVIDER_SOURCES, SCOPES, START_SOURCE, STOP_SOURCE, Said, Scope

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SAID = Said("patient:1", "unsubscribe link", NOW)
STOP = Said("number:abc", STOP_SOURCE, NOW)
START = Said("number:abc", START_SOURCE, NOW + timedelta(days=1))


def everything_on() -> dict[str, Any]:
    consents = ("sms_transactional", "sms_marketing", "email_transactional", "email_marketing", "push_notifications")
    return {
        "preferences": {
            "global_opt_out": False,
            "sms_enabled": True,
            "email_enabled": True,
            "push_enabled": True,
            **{f"{channel}_opt_in": dict.fromkeys(names, True) for channel, names in OPT_INS.items()},
        },
        "consents": [given_consent(name) for name in consents],
    }


def given_consent(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "consent_type": name,
        "status": "opted_in",
        "consent_date": NOW - timedelta(days=9),
        "method": "written",
        "source": "form",
        "expires_at": None,
        "text_version": "1",
        **fields,
    }


def open_doors(content: Mapping[str, Any]) -> set[str]:
    """Everything that still says yes."""
    preferences = content["preferences"]
    doors = {name for name in ("sms_enabled", "email_enabled", "push_enabled") if preferences[name]}
    doors |= {f"{c}.{name}" for c in OPT_INS for name, on in preferences[f"{c}_opt_in"].items() if on}
    doors |= set() if preferences["global_opt_out"] else {"not essential"}
    return doors | {one["consent_type"] for one in content["consents"] if one["status"] == "opted_in"}


def closed_by(channel: str, scope: Scope, category: str) -> set[str]:
    before = everything_on()
    return open_doors(before) - open_doors(wishes.unsubscribed(before, channel, scope, category, SAID))


def test_a_category_is_closed_on_its_channel_alone() -> None:
    assert closed_by("email", "category", "marketing") == {"email.marketing", "email_marketing"}
    assert closed_by("email", "category", "reviews") == {"email.reviews"}
    assert closed_by("sms", "category", "marketing") == {"sms.marketing", "sms_marketing"}


def test_a_channel_is_closed_by_consent_so_that_essentials_stay_out_too() -> None:
    assert closed_by("email", "channel", "marketing") == {"email_enabled", "email_transactional", "email_marketing"}


def test_everything_leaves_what_is_essential() -> None:
    assert closed_by("email", "everything", "clinical") == {
        "not essential", "sms.marketing", "email.marketing", "sms_marketing", "email_marketing",
    }  # fmt: skip


def test_who_when_and_how_are_kept() -> None:
    after = wishes.unsubscribed(everything_on(), "email", "category", "marketing", SAID)
    [consent] = [one for one in after["consents"] if one["consent_type"] == "email_marketing"]
    assert (consent["status"], consent["consent_date"], consent["source"]) == ("opted_out", NOW, "unsubscribe link")
    assert (after["preferences"]["updated_by"], after["preferences"]["updated_at"]) == ("patient:1", NOW)


def test_the_first_no_is_the_one_that_counts() -> None:
    once = wishes.unsubscribed(everything_on(), "email", "category", "marketing", SAID)
    later = Said("patient:1", "one-click unsubscribe", NOW + timedelta(days=3))
    assert wishes.unsubscribed(once, "email", "category", "marketing", later) == once


def test_somebody_never_asked_can_say_no() -> None:
    after = wishes.unsubscribed({"preferences": None, "consents": []}, "sms", "category", "clinical", SAID)
    assert after["preferences"]["sms_opt_in"] == {"clinical": False}


@pytest.mark.parametrize(
    ("channel", "category"), [("in_app", "marketing"), ("email", "appointments"), ("email", "transactional"), ("", "")]
)
def test_what_nobody_can_say_no_to_is_refused(channel: str, category: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        wishes.unsubscribed(everything_on(), channel, "category", category, SAID)


steps = st.tuples(st.sampled_from(["sms", "email"]), st.sampled_from(SCOPES), st.sampled_from(OPT_INS["sms"]))


@given(st.lists(steps, max_size=6))
def test_no_series_of_noes_ever_opens_anything_and_what_was_given_is_left_alone(
    noes: list[tuple[str, Scope, str]],
) -> None:
    start = everything_on()
    content: Mapping[str, Any] = start
    for channel, scope, category in noes:
        after = wishes.unsubscribed(content, channel, scope, category, SAID)
        assert open_doors(after) <= open_doors(content)
        assert wishes.unsubscribed(after, channel, scope, category, SAID) == after
        content = after
    assert start == everything_on()


def test_a_stop_closes_marketing_by_text_and_nothing_else() -> None:
    before = everything_on()
    after = wishes.stopped(before, STOP)
    assert open_doors(before) - open_doors(after) == {"sms.marketing", "sms_marketing"}


def test_a_start_gives_back_what_the_stop_took() -> None:
    before = everything_on()
    after = wishes.started(wishes.stopped(before, STOP), "opted_in", START)
    assert open_doors(after) == open_doors(before)
    [consent] = [one for one in after["consents"] if one["consent_type"] == "sms_marketing"]
    assert consent["source"] == START_SOURCE


@pytest.mark.parametrize("before", [None, "pending", "opted_out"])
def test_a_start_is_no_agreement_of_somebody_who_never_agreed(before: str | None) -> None:
    stopped = wishes.stopped({"preferences": None, "consents": []}, STOP)
    after = wishes.started(stopped, before, START)
    assert [one["status"] for one in after["consents"]] == ["pending"]
    assert after["preferences"]["sms_opt_in"]["marketing"] is False


def test_a_start_does_not_take_back_a_no_said_elsewhere() -> None:
    on_the_page = wishes.unsubscribed(everything_on(), "sms", "category", "marketing", SAID)
    after = wishes.started(wishes.stopped(on_the_page, STOP), "opted_in", START)
    assert open_doors(after) == open_doors(on_the_page)


@pytest.mark.parametrize(
    ("said_to", "channel", "comes_back"),
    [
        (("twilio", "21610"), "sms", True),
        (("sendgrid", "group_unsubscribe"), "email", True),
        (("sendgrid", "unsubscribe"), "email", False),
    ],
)
def test_what_was_said_to_a_provider_comes_back_where_it_says_so(
    said_to: tuple[str, str], channel: str, comes_back: bool
) -> None:
    before = everything_on()
    no = Said("address:abc", PROVIDER_SOURCES[said_to], NOW)
    after = wishes.without_marketing(before, channel, no)
    assert open_doors(before) - open_doors(after) == {f"{channel}.marketing", f"{channel}_marketing"}
    assert wishes.without_marketing(after, channel, no) == after
    again = wishes.started(after, "opted_in", START, channel)
    assert open_doors(again) == open_doors(before if comes_back else after)
    assert wishes.agreed_since(again, channel, NOW) == comes_back


def test_a_start_out_of_nowhere_changes_nothing() -> None:
    assert wishes.started(everything_on(), "opted_in", START) == everything_on()
    assert wishes.started({"preferences": None, "consents": []}, None, START) == {"preferences": None, "consents": []}


def test_agreeing_again_renews_a_consent_that_ran_out() -> None:
    old = given_consent("email_marketing", expires_at=NOW - timedelta(days=1))
    content = {**everything_on(), "consents": [old]}
    fresh = wishes.agreed("email_marketing", SAID)
    after = wishes.with_preferences(content, content["preferences"], [fresh], SAID)
    assert [one["expires_at"] for one in after["consents"]] == [None]
    still = {**content, "consents": [given_consent("email_marketing")]}
    assert wishes.with_preferences(still, content["preferences"], [fresh], SAID) == still
