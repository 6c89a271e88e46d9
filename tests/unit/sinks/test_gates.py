"""What the look-up just before a call forbids, and what it does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sinks.runtime.gates import Gate, Gates, Verdict

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HASH = "a1" * 16


def message(**changes: Any) -> dict[str, Any]:
    return {
        "channel": "sms",
        "sender_class": "care",
        "recipient": "patient:7",
        "notification_id": "n-1",
        "delivery_id": "d-1",
        "clinic_id": "c-1",
        "aggregate_type": "appointment",
        "aggregate_id": "a-1",
        "aggregate_version": 4,
        "visit": "",
        "visit_version": -1,
        "consent_scope": "sms_treatment",
        "preferences": [],
        "expires_at": None,
        "send_not_after": None,
    } | changes


def verdict(key: str, gate: Gate, **changes: Any) -> Verdict | None:
    gates = Gates()
    gates.put(key, gate)
    return gates.verdict(message(**changes), HASH, NOW)


def shut(
    reason: str, version: int | None = None, expires_at: datetime | None = None, created_at: datetime = NOW
) -> Gate:
    return Gate(reason, version, expires_at, created_at)


def test_without_a_gate_the_message_goes_out() -> None:
    assert Gates().verdict(message(), HASH, NOW) is None


@pytest.mark.parametrize(
    ("key", "reason", "expected"),
    [
        (f"address:sms:care:{HASH}", "opted_out", Verdict("suppressed", "opted_out")),
        (f"address:sms:*:{HASH}", "hard_bounce", Verdict("suppressed", "hard_bounce")),
        ("recipient:patient:7", "erased", Verdict("suppressed", "erased")),
        ("consent:patient:7:sms_treatment", "opted_out", Verdict("suppressed", "consent_withdrawn")),
        ("notification:n-1", "cancelled", Verdict("cancelled", "cancelled")),
        ("delivery:d-1", "arrived", Verdict("cancelled", "arrived")),
    ],
)
def test_each_kind_of_gate_stops_the_message(key: str, reason: str, expected: Verdict) -> None:
    assert verdict(key, shut(reason)) == expected


@pytest.mark.parametrize(
    "key",
    [
        f"address:sms:marketing:{HASH}",  # STOP to marketing never blocks care
        f"address:email:care:{HASH}",
        f"address:sms:care:{'b2' * 16}",
        "recipient:patient:8",
        "consent:patient:7:marketing",
        "notification:n-2",
        "aggregate:c-2:appointment:a-1",
        "aggregate:c-1:payment:a-1",
    ],
)
def test_another_s_gate_does_not(key: str) -> None:
    assert verdict(key, shut("manual")) is None


@pytest.mark.parametrize(
    ("reason", "gate_version", "stopped"),
    [
        ("cancelled", 5, True),
        ("cancelled", 4, True),
        ("cancelled", 3, False),  # what was decided after the cancellation lives
        ("superseded", 5, True),
        ("superseded", 4, False),  # this very version is the newest
        ("cancelled", None, True),
    ],
)
def test_an_aggregate_s_gate_goes_by_version(reason: str, gate_version: int | None, stopped: bool) -> None:
    found = verdict("aggregate:c-1:appointment:a-1", shut(reason, gate_version))
    assert found == (Verdict("cancelled", reason) if stopped else None)


@pytest.mark.parametrize(
    ("reason", "gate_version", "stood_from", "stopped"),
    [
        ("cancelled", 2, -1, True),  # called off at 3; of nothing before is anything known
        ("cancelled", 2, 3, True),  # moved and called off as the same version: it is off
        ("cancelled", 2, 4, False),  # restored since
        ("cancelled", 0, -1, True),
        ("superseded", 9, -1, False),  # moved: its forms are still to be filled in
        ("cancelled", None, 9, True),
    ],
)
def test_what_is_for_a_visit_is_not_sent_once_it_is_off(
    reason: str, gate_version: int | None, stood_from: int, stopped: bool
) -> None:
    form = {"aggregate_type": "forms", "aggregate_id": "f-1", "visit": "a-1", "visit_version": stood_from}
    found = verdict("aggregate:c-1:appointment:a-1", shut(reason, gate_version), **form)
    assert found == (Verdict("cancelled", "cancelled") if stopped else None)
    elsewhere = {"aggregate:c-2:appointment:a-1", "aggregate:c-1:appointment:a-2", "aggregate:c-1:appointment:"}
    assert not any(verdict(key, shut(reason, gate_version), **form) for key in elsewhere)


def test_a_gate_is_open_again_from_its_expiry_on() -> None:
    key = "notification:n-1"
    assert verdict(key, shut("manual", expires_at=NOW + timedelta(seconds=1))) is not None
    assert verdict(key, shut("manual", expires_at=NOW)) is None


def test_a_lifted_gate_is_open_and_lifting_an_open_one_is_no_error() -> None:
    gates = Gates()
    gates.put("notification:n-1", shut("manual"))
    gates.lift("notification:n-1")
    gates.lift("notification:n-1")
    assert gates.verdict(message(), HASH, NOW) is None


@pytest.mark.parametrize("field", ["expires_at", "send_not_after"])
def test_nothing_is_sent_late(field: str) -> None:
    late = Gates().verdict(message(**{field: NOW}), HASH, NOW)
    assert late == Verdict("expired", field)
    assert Gates().verdict(message(**{field: NOW + timedelta(milliseconds=1)}), HASH, NOW) is None


def test_a_preference_that_was_withdrawn_stops_what_needs_it_and_nothing_else() -> None:
    key = "preference:patient:7:sms_opt_in.marketing"
    needed = ["global_opt_out", "sms_enabled", "sms_opt_in.marketing"]
    assert verdict(key, shut("opted_out"), preferences=needed) == Verdict("suppressed", "opted_out")
    assert verdict(key, shut("opted_out"), preferences=["sms_enabled"]) is None
    assert verdict(key, shut("opted_out"), preferences=needed, recipient="patient:8") is None


def test_a_message_without_a_consent_scope_needs_no_consent() -> None:
    assert verdict("consent:patient:7:", shut("opted_out"), consent_scope="") is None


def test_what_forbids_nothing_any_more_is_forgotten() -> None:
    gates = Gates()
    long_ago = NOW - timedelta(days=36)
    gates.put("notification:expired", shut("manual", expires_at=NOW))
    gates.put("aggregate:c-1:appointment:old", shut("cancelled", 1, created_at=long_ago))
    gates.put("aggregate:c-1:appointment:new", shut("cancelled", 1))
    gates.put(f"address:sms:*:{HASH}", shut("hard_bounce", created_at=long_ago))  # for ever
    assert gates.prune(NOW) == 2
    assert len(gates) == 2
