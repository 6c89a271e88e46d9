"""Decisions: each rule alone, the order in which they count, and the lattice that only narrows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from streams.rules import decision
from streams.rules.decision import RULES, Defer, Deliver, Outcome, Suppress, decide
from streams.rules.findings import Finding, wait
from streams.rules.given import Given
from streams.rules.person import NEVER_ASKED, ConsentState, Person
from streams.rules.reasons import Reason
from streams.rules.terms import CHANNELS, Channel, LaterStep, Terms

NOW_MS = 1_700_000_000_000
ADDRESSES: Mapping[Channel, str] = {
    "sms": "+15551234567",
    "email": "a@b.example",
    "push": "token",
    "in_app": "patient:1",
}
SARAH = Person("patient:1", 3, addresses=ADDRESSES)
CONFIRMATION = Terms(
    name="appointment_confirmation",
    category="transactional",
    essential=True,
    of_patients=True,
    channels=("sms", "email"),
    send_first=False,
    later=(LaterStep("in_app", "accepted", 900),),
    all_channels=("sms", "email", "in_app"),
    marketing_consent=False,
    consents=(("sms", "sms_transactional"), ("email", "email_transactional"), ("in_app", "portal_notifications")),
    opt_ins=(("sms", "sms_opt_in", "transactional"), ("email", "email_opt_in", "transactional")),
    preference_category="category_appointments",
    phi_level=1,
    above_ceiling=(),
)
CREDITS = replace(
    CONFIRMATION,
    name="credits_added",
    category="membership",
    essential=False,
    opt_ins=(("sms", "sms_opt_in", "membership"), ("email", "email_opt_in", "membership")),
)
OFFER = replace(
    CONFIRMATION,
    name="birthday_offer",
    category="marketing",
    essential=False,
    later=(),
    all_channels=("sms", "email"),
    marketing_consent=True,
    consents=(("sms", "sms_marketing"), ("email", "email_marketing")),
    opt_ins=(("sms", "sms_opt_in", "marketing"), ("email", "email_opt_in", "marketing")),
    preference_category="category_marketing",
)
WANTS_ALL = {
    **NEVER_ASKED,
    "sms_opt_in": dict.fromkeys(NEVER_ASKED["sms_opt_in"], True),
    "email_opt_in": dict.fromkeys(NEVER_ASKED["email_opt_in"], True),
}
AGREED = {name: ConsentState("opted_in", None) for name in ("sms_marketing", "email_marketing")}


def preferring(**changes: Any) -> Person:
    return replace(SARAH, preferences={**WANTS_ALL, **changes}, consents=AGREED)


def channels_of(outcome: Outcome) -> list[str]:
    return [step.channel for step in outcome.steps] if isinstance(outcome, Deliver) else []


def reason_of(outcome: Outcome) -> Reason | None:
    return None if isinstance(outcome, Deliver) else outcome.reason


def test_what_nothing_stands_against_is_delivered_with_every_rules_verdict() -> None:
    outcome = decide(Given(CONFIRMATION, SARAH, NOW_MS))
    assert channels_of(outcome) == ["sms", "email", "in_app"]
    assert [verdict.rule for verdict in outcome.verdicts] == [*(name for name, _ in RULES), "in_time"]
    assert {verdict.verdict for verdict in outcome.verdicts} <= {"pass", "not_applicable"}


def test_the_order_is_the_architectures() -> None:
    assert [name for name, _ in RULES] == [
        "overtaken",
        "duplicate",
        "consent",
        "suppression",
        "clinic_policy",
        "essential",
        "global_opt_out",
        "do_not_disturb",
        "event_opt_in",
        "channel_enabled",
        "verified",
        "reachable",
        "category_opt_in",
        "category_preference",
        "phi_ceiling",
        "frequency",
        "caps",
        "digest",
        "quiet_hours",
        "rate_limit",
    ]


@pytest.mark.parametrize(
    ("terms", "change", "reason"),
    [
        (CONFIRMATION, {"expires_at_ms": NOW_MS}, Reason.EXPIRED),
        (CONFIRMATION, {"expires_at_ms": NOW_MS + 1}, None),
        (CONFIRMATION, {"overtaken": Reason.CANCELLED}, Reason.CANCELLED),
        (CONFIRMATION, {"blocked": True}, Reason.RECIPIENT_BLOCKED),
        (CONFIRMATION, {"disabled_types": {"appointment_confirmation"}}, Reason.TYPE_DISABLED),
        (CONFIRMATION, {"disabled_channels": CHANNELS}, Reason.CHANNEL_DISABLED_BY_CLINIC),
        (CONFIRMATION, {"person": replace(SARAH, active=False)}, None),
        (CREDITS, {"person": replace(SARAH, active=False)}, Reason.INACTIVE),
        (CREDITS, {"person": preferring(global_opt_out=True)}, Reason.GLOBAL_OPT_OUT),
        (CONFIRMATION, {"person": preferring(global_opt_out=True)}, None),
        (CREDITS, {"person": preferring(category_appointments=False)}, Reason.CATEGORY_OFF),
        (CREDITS, {}, Reason.CATEGORY_OPT_OUT),  # never asked: closed for membership
        (CREDITS, {"person": preferring()}, None),
        (OFFER, {}, Reason.NO_CONSENT),
        (OFFER, {"person": preferring()}, None),
        (OFFER, {"person": replace(preferring(), consents={})}, Reason.NO_CONSENT),
        (OFFER, {"person": Person("patient:9", 0, addresses=ADDRESSES)}, Reason.NO_CONSENT),
        (CONFIRMATION, {"person": Person("patient:9", 0)}, Reason.UNKNOWN_RECIPIENT),
        (CREDITS, {"person": replace(preferring(), addresses={"in_app": "patient:1"})}, Reason.UNREACHABLE),
    ],
)
def test_reasons(terms: Terms, change: dict[str, Any], reason: Reason | None) -> None:
    assert reason_of(decide(Given(**{"terms": terms, "person": SARAH, "now_ms": NOW_MS, **change}))) == reason


@pytest.mark.parametrize(
    ("terms", "change", "channels"),
    [
        (CONFIRMATION, {"suppressed": ("sms",)}, ["email", "in_app"]),
        (CONFIRMATION, {"event_opt_outs": ("email",)}, ["sms", "in_app"]),
        (CONFIRMATION, {"disabled_channels": ("in_app",)}, ["sms", "email"]),
        # Essential passes preferences …
        (CONFIRMATION, {"person": preferring(sms_enabled=False, email_enabled=False)}, ["sms", "email", "in_app"]),
        (CREDITS, {"person": preferring(sms_enabled=False)}, ["email", "in_app"]),
        # … and reaches the portal where nothing else is left; what is not essential is not made up for there.
        (CONFIRMATION, {"suppressed": ("sms", "email")}, ["in_app"]),
        (CREDITS, {"person": preferring(), "suppressed": ("sms", "email")}, []),
        (CONFIRMATION, {"person": preferring(channel_order=["email", "sms"])}, ["email", "sms", "in_app"]),
    ],
)
def test_channels_fall_out(terms: Terms, change: dict[str, Any], channels: list[str]) -> None:
    given = Given(**{"terms": terms, "person": SARAH, "now_ms": NOW_MS, **change})
    assert channels_of(decide(given)) == channels


@pytest.mark.parametrize(
    ("state", "channels"),
    [
        (ConsentState("opted_in", None), ["sms", "email", "in_app"]),
        (ConsentState("pending", None), ["sms", "email", "in_app"]),
        (ConsentState("opted_out", None), ["email", "in_app"]),
        (ConsentState("opted_in", NOW_MS), ["email", "in_app"]),
        (ConsentState("opted_in", NOW_MS + 1), ["sms", "email", "in_app"]),
    ],
)
def test_consent_closes_what_is_essential_too(state: ConsentState, channels: list[str]) -> None:
    person = replace(SARAH, consents={"sms_transactional": state})
    assert channels_of(decide(Given(CONFIRMATION, person, NOW_MS))) == channels


def test_pending_is_no_consent_to_marketing() -> None:
    person = replace(preferring(), consents={"sms_marketing": ConsentState("pending", None)})
    assert reason_of(decide(Given(OFFER, person, NOW_MS))) == Reason.NO_CONSENT


def test_above_the_ceiling_it_is_told_generally_and_to_strangers_only_if_essential() -> None:
    above: dict[str, Any] = {"phi_level": 3, "above_ceiling": ("sms", "email")}
    told = decide(Given(replace(CONFIRMATION, **above), SARAH, NOW_MS))
    assert channels_of(told) == ["sms", "email", "in_app"]
    assert "generic" in {verdict.reason for verdict in told.verdicts}
    stranger = Person("patient:9", 0, addresses=ADDRESSES)
    free = replace(CREDITS, **above, opt_ins=())
    assert reason_of(decide(Given(free, stranger, NOW_MS))) == Reason.ABOVE_CEILING


def test_the_first_veto_gives_the_reason_and_all_are_on_record() -> None:
    outcome = decide(Given(CREDITS, preferring(global_opt_out=True), NOW_MS, NOW_MS - 1, blocked=True))
    assert isinstance(outcome, Suppress)
    assert outcome.reason == Reason.EXPIRED
    assert [verdict.reason for verdict in outcome.verdicts if verdict.verdict == "veto"] == [
        "expired",
        "recipient_blocked",
        "global_opt_out",
    ]


def test_a_later_rule_may_defer_and_a_veto_outweighs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def until(ms: int) -> Finding:
        return wait(Reason.NOT_DUE, ms)

    longer = (*RULES, ("first", lambda _: until(NOW_MS + 5)), ("second", lambda _: until(NOW_MS + 9)))
    monkeypatch.setattr(decision, "RULES", longer)
    outcome = decide(Given(CONFIRMATION, SARAH, NOW_MS))
    assert isinstance(outcome, Defer)
    assert outcome.until_ms == NOW_MS + 9
    assert isinstance(decide(Given(CONFIRMATION, SARAH, NOW_MS, blocked=True)), Suppress)
