"""What a channel's process counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sinks.runtime import call_ends
from sinks.runtime.counted import RECENT_SECONDS, Counted, Recent
from sinks.runtime.outcome import Outcome
from tests.unit.metrics.test_counting import samples, text_of


@dataclass
class Standing:
    """What an admission says of itself while texts of one sender wait."""

    counted: call_ends.Counted

    def standing(self) -> dict[str, Any]:
        states = {"account": "closed", "care sender": "half_open"}
        return {"waiting": 4, "breakers": [{"subject": name, "state": state} for name, state in states.items()]}


def standing() -> Standing:
    return Standing(call_ends.Counted(Counter({"down": 2}), probes=3, postponed=5))


NOW = 1_800_000_000.0


@given(st.lists(st.tuples(st.floats(0, 2_000), st.booleans()), max_size=300))
def test_recent_forgets_what_is_older_than_its_window(moments: list[tuple[float, bool]]) -> None:
    recent = Recent()
    for at, error in sorted(moments):
        recent.add(NOW + at, error=error)
    end = NOW + max((at for at, _ in moments), default=0)
    calls, errors = recent.since(end)
    surely = [error for at, error in moments if NOW + at > end - RECENT_SECONDS + 10]
    at_most = [error for at, error in moments if NOW + at > end - RECENT_SECONDS - 10]
    assert len(surely) <= calls <= len(at_most)
    assert sum(surely) <= errors <= sum(at_most)


def test_a_number_that_does_not_exist_is_no_fault_of_the_provider() -> None:
    counted = Counted("sms", clock=lambda: NOW)
    counted.called("high", "accepted", 0.1)
    counted.called("high", "refused", 0.1, "permanent_recipient")
    counted.called("high", "refused", 0.1, "opted_out")
    counted.called("high", "refused", 0.1, "transient")
    counted.called("high", "unknown", 30.0)
    found = samples(text_of(*counted.sources([], lambda: None, standing())))
    labels = (("channel", "sms"), ("lane", "high"))
    assert found["luxe_provider_recent_calls", labels] == 5
    assert found["luxe_provider_recent_errors", labels] == 2
    assert found["luxe_provider_last_success_timestamp_seconds", labels] == NOW
    assert found["luxe_provider_recent_calls", (("channel", "sms"), ("lane", "critical"))] == 0


def test_ends_are_counted_by_lane_status_and_class() -> None:
    counted = Counted("email")
    counted.ended("low", Outcome("sent"))
    counted.ended("low", Outcome("failed", error_class="throttled", retry_at=datetime.now(UTC)))
    counted.ended("low", Outcome("failed", error_class="permanent_recipient"))
    counted.buried("null_key")
    counted.wrote("begin", 40)
    found = samples(text_of(*counted.sources([], lambda: 0.25, standing())))

    def ended(status: str, error_class: str) -> float:
        labels = (("channel", "email"), ("error_class", error_class), ("lane", "low"), ("status", status))
        return found["luxe_deliveries_total", labels]

    assert (ended("sent", ""), ended("failed", "throttled"), ended("failed", "permanent_recipient")) == (1, 1, 1)
    assert [key for key in found if key[0] == "luxe_delivery_retries_total"] == [
        ("luxe_delivery_retries_total", (("channel", "email"), ("error_class", "throttled"), ("lane", "low")))
    ]
    assert found["luxe_dead_letters_total", (("code", "null_key"), ("stage", "email"))] == 1
    assert found["luxe_ledger_batch_rows_sum", (("channel", "email"), ("step", "begin"))] == 40
    assert found["luxe_gates_age_seconds", (("channel", "email"),)] == 0.25


def test_breakers_are_told_state_by_state() -> None:
    found = samples(text_of(*Counted("sms").sources([], lambda: None, standing())))

    def state(subject: str) -> dict[str, float]:
        return {
            dict(labels)["state"]: value
            for (name, labels), value in found.items()
            if name == "luxe_breaker_state" and dict(labels)["subject"] == subject
        }

    assert state("account") == {"closed": 1, "open": 0, "half_open": 0}
    assert state("care sender") == {"closed": 0, "open": 0, "half_open": 1}
    assert found["luxe_deliveries_held", (("channel", "sms"),)] == 4
    assert found["luxe_breaker_pauses_total", (("cause", "down"), ("channel", "sms"))] == 2
    assert found["luxe_breaker_probes_total", (("channel", "sms"),)] == 3
    assert found["luxe_deliveries_postponed_total", (("channel", "sms"),)] == 5
