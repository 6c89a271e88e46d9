"""How an attempt's end is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from connectors.providers.outcome import Accepted, ErrorClass, OutcomeUnknown, Refused
from sinks.runtime.gates import Verdict
from sinks.runtime.outcome import Outcome
from sinks.runtime.tuning import Tuning

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_what_the_provider_took() -> None:
    outcome = Outcome.accepted(Accepted("SM1", "queued"), "found")
    assert (outcome.status, outcome.reason, outcome.provider_message_id) == ("sent", "found", "SM1")


@pytest.mark.parametrize(
    ("error_class", "said", "waits"),
    [("transient", None, 30), ("throttled", 700, 700), ("permanent_recipient", 700, None), ("account", None, None)],
)
def test_only_what_passes_is_tried_again_and_not_before_the_provider_says(
    error_class: ErrorClass, said: float | None, waits: float | None
) -> None:
    refused = Refused(error_class, code="1", retry_after_seconds=said)
    outcome = Outcome.refused(refused, NOW, retry_delay_seconds=30)
    assert (outcome.status, outcome.reason, outcome.error_code) == ("failed", error_class, "1")
    assert outcome.retry_at == (None if waits is None else NOW + timedelta(seconds=waits))


def test_doubt_and_gates() -> None:
    assert Outcome.unknown(OutcomeUnknown("TimeoutError")).status == "unknown"
    assert Outcome.gated(Verdict("suppressed", "opted_out")) == Outcome("suppressed", "opted_out")


def test_a_call_must_end_within_its_lease() -> None:
    with pytest.raises(ValueError, match="made twice"):
        Tuning(call_timeout_seconds=30, lease_seconds=30)
