"""How an attempt's end is told."""

from __future__ import annotations

from dataclasses import astuple
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@given(
    st.builds(
        Outcome,
        st.sampled_from(["sent", "failed", "unknown", "suppressed", "cancelled", "expired"]),
        st.sampled_from(["", "send_not_after", "throttled"]),
        st.none() | st.just("SM1"),
        *[st.none() | st.text(st.characters(exclude_categories=()), max_size=20)] * 3,
        st.none() | st.datetimes(timezones=st.just(UTC)),
    )
)
def test_the_ledger_keeps_an_end_whole(outcome: Outcome) -> None:
    kept = outcome.encoded()
    assert kept.isascii()
    assert kept.isprintable()  # whatever a provider may have said, Postgres takes it
    again = Outcome.decoded(kept, outcome.provider_message_id)
    # What is empty and what is not there are one to whoever reads a status.
    assert [value or None for value in astuple(again)] == [value or None for value in astuple(outcome)]


@pytest.mark.parametrize(("channel", "call"), [("sms", 30), ("email", 60), ("push", 10), ("in_app", 10)])
def test_a_call_ends_within_its_lease(channel: str, call: float) -> None:
    tuning = Tuning()
    assert (tuning.longest_call_seconds(channel), tuning.lease_seconds(channel)) == (call, call + 10)
    assert Tuning(sms_call_seconds=50, email_call_seconds=90).lease_seconds("email") == 100


def test_probes_may_not_come_sooner_and_sooner() -> None:
    with pytest.raises(ValueError, match="LONGEST_PROBE"):
        Tuning(breaker_first_probe_seconds=5, breaker_longest_probe_seconds=4)
