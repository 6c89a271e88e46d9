"""Which rule meets which request."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.loopback.faults import MAX_RULES, NO_FAULT, FaultBook, FaultsRefused, Status, TwilioError


def book(*rules: dict[str, Any]) -> FaultBook:
    made = FaultBook()
    made.add(orjson.dumps(list(rules)))
    return made


def test_without_rules_nothing_happens() -> None:
    assert FaultBook().judge("sms", "+1555") is NO_FAULT


def test_channel_and_address_must_match_exactly() -> None:
    faults = book({"effect": {"kind": "reset_before"}, "channel": "sms", "to": "+1555"})
    assert faults.judge("sms", "+1555").reset_before
    assert faults.judge("sms", "+15555") is NO_FAULT
    assert faults.judge("email", "+1555") is NO_FAULT


def test_an_effect_of_one_channel_never_meets_another() -> None:
    faults = book({"effect": {"kind": "twilio_error", "code": 21610}})
    assert faults.judge("email", "a@b.example") is NO_FAULT
    assert isinstance(faults.judge("sms", "+1555").refusal, TwilioError)


@pytest.mark.parametrize(
    ("event", "status", "taken"),
    [
        ("bounce", "5.2.2", True),
        ("blocked", "4.7.1", True),
        ("bounce", "2.0.0", False),
        ("bounce", "5.2", False),
        ("open", "5.2.2", False),
    ],
)
def test_only_a_server_that_refused_has_a_status(event: str, status: str, taken: bool) -> None:
    effect = {"kind": "email_event", "event": event, "status": status}
    if not taken:
        with pytest.raises(FaultsRefused):
            book({"effect": effect})
        return
    (told,) = book({"effect": effect}).judge("email", "a@b.example").email_events
    assert (told.event, told.status) == (event, status)


def test_a_refusal_to_tell_of_a_text_meets_no_sending() -> None:
    faults = book({"effect": {"kind": "look_up", "status": 429, "retry_after_seconds": 3}, "to": "+1555", "count": 1})
    assert faults.judge("sms", "+1555") is NO_FAULT
    assert faults.judge_look_up("+1556") is None
    refusal = faults.judge_look_up("+1555")
    assert refusal is not None
    assert (refusal.status, refusal.retry_after_seconds) == (429, 3)
    assert faults.judge_look_up("+1555") is None


def test_latencies_add_up_and_the_first_refusal_counts() -> None:
    faults = book(
        {"effect": {"kind": "latency", "ms": 100}},
        {"effect": {"kind": "latency", "ms": 50, "jitter_ms": 10}},
        {"effect": {"kind": "status", "status": 429}},
        {"effect": {"kind": "status", "status": 500}},
    )
    verdict = faults.judge("sms", "+1555")
    assert 150 <= verdict.latency_ms < 160
    assert isinstance(verdict.refusal, Status)
    assert verdict.refusal.status == 429


@given(st.floats(0.05, 0.95), st.integers(0, 1000))
def test_a_share_is_drawn_the_same_again_and_is_about_that_share(probability: float, seed: int) -> None:
    rule = {"effect": {"kind": "reset_before"}, "probability": probability, "seed": seed}
    first, second = book(rule), book(rule)
    drawn = [first.judge("sms", "+1555").reset_before for _ in range(400)]
    assert drawn == [second.judge("sms", "+1555").reset_before for _ in range(400)]
    assert abs(sum(drawn) / 400 - probability) < 0.15  # six standard deviations


def test_counters_are_listed_and_rules_cleared_one_by_one() -> None:
    faults = book({"effect": {"kind": "reset_after"}, "nth": 2}, {"effect": {"kind": "reset_before"}, "count": 1})
    for _ in range(3):
        faults.judge("push", "t")
    listed = faults.listed()
    assert [(rule["matched"], rule["applied"]) for rule in listed] == [(3, 1), (3, 1)]
    assert faults.clear(1) == 1
    assert faults.clear(1) == 0
    assert faults.clear() == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"nonsense", "body"),
        (b'"text"', "body"),
        (b"{}", "0.effect"),
        (b'{"effect":{"kind":"explode"}}', "0.effect"),
        (b'{"effect":{"kind":"status","status":200}}', "0.effect.status.status"),
        (b'{"effect":{"kind":"hang","seconds":100000}}', "0.effect.hang.seconds"),
        (b'{"effect":{"kind":"reset_before"},"probability":2}', "0.probability"),
        (b'{"effect":{"kind":"reset_before"},"to":""}', "0.to"),
    ],
)
def test_a_wrong_rule_names_its_field_and_never_its_value(body: bytes, field: str) -> None:
    faults = FaultBook()
    with pytest.raises(FaultsRefused) as refused:
        faults.add(body)
    assert [problem["field"] for problem in refused.value.problems] == [field]
    assert faults.listed() == []


def test_one_wrong_rule_keeps_all_out_and_the_number_is_bounded() -> None:
    faults = FaultBook()
    with pytest.raises(FaultsRefused):
        faults.add(b'[{"effect":{"kind":"reset_before"}},{"effect":{"kind":"no"}}]')
    assert faults.listed() == []
    faults.add(orjson.dumps([{"effect": {"kind": "reset_before"}, "to": "x"}] * MAX_RULES))
    with pytest.raises(FaultsRefused, match="1 problems"):
        faults.add(b'{"effect":{"kind":"reset_before"}}')
