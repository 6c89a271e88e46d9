"""When what failed is tried again: by class, lane and count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.providers import outcome
from connectors.webhooks import desk
from streams.rules import retrying
from streams.rules.retrying import ATTEMPTS, LONGEST_MS, SOFT_BOUNCE_MS, backoff_ms, retry_ms

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)


def status(word: str, error_class: str | None, retry_at: datetime | None = None) -> dict[str, Any]:
    return {"status": word, "error_class": error_class, "retry_at": retry_at, "reason": error_class or ""}


def test_what_passes_is_what_the_sinks_say_passes() -> None:
    assert retrying.PASSING == outcome.PASSING


@pytest.mark.parametrize(
    ("failures", "at_most_ms"), [(1, 1000), (2, 4000), (3, 16_000), (4, 64_000), (5, 256_000), (9, 300_000)]
)
def test_it_waits_longer_each_time_up_to_five_minutes(failures: int, at_most_ms: int) -> None:
    assert backoff_ms(failures, 65_535) <= at_most_ms
    assert backoff_ms(failures, 0) == at_most_ms // 2


@given(st.integers(1, 10_000), st.integers(0, 65_535))
def test_it_never_waits_less_than_half_a_second_nor_longer_than_five_minutes(failures: int, spread: int) -> None:
    assert 500 <= backoff_ms(failures, spread) <= LONGEST_MS
    assert backoff_ms(failures, spread) <= backoff_ms(failures + 1, spread)


@pytest.mark.parametrize(
    ("word", "error_class", "lane", "failures", "again"),
    [
        *(("failed", "transient", lane, count - 1, True) for lane, count in ATTEMPTS.items()),
        *(("failed", "transient", lane, count, False) for lane, count in ATTEMPTS.items()),
        ("failed", "throttled", "low", 1, True),
        ("failed", "unknown", "critical", 1, True),
        ("failed", "unknown", "critical", 2, False),
        *(("failed", name, "critical", 1, False) for name in ("permanent_recipient", "opted_out", "content_filtered")),
        ("failed", "account", "critical", 1, False),
        *((word, "media", "low", failures, failures < 2) for word in ("failed", "undelivered") for failures in (1, 2)),
        ("failed", None, "critical", 1, False),
        ("undelivered", "transient", "low", 2, True),
        ("undelivered", "transient", "critical", 3, False),
        ("undelivered", "unknown", "low", 1, True),
        ("undelivered", "unknown", "critical", 2, False),
        ("undelivered", "permanent_recipient", "critical", 1, False),
        ("bounced", "transient", "critical", 1, False),
        ("unknown", None, "critical", 1, False),
        ("sent", None, "critical", 1, False),
        ("suppressed", None, "critical", 1, False),
    ],
)
def test_by_class_lane_and_count(word: str, error_class: str | None, lane: str, failures: int, again: bool) -> None:
    assert (retry_ms(status(word, error_class), lane, failures, NOW_MS, 7, is_last=True) is not None) == again


@pytest.mark.parametrize(
    ("attempt", "lane", "is_last", "again"),
    [
        (1, "low", True, True),
        (23, "high", True, True),
        (24, "high", True, False),
        (1, "low", False, False),
        (1, "critical", True, False),
    ],
)
def test_a_refused_senders_message_waits_where_nothing_else_is_left(
    attempt: int, lane: str, is_last: bool, again: bool
) -> None:
    refused = status("undelivered", "account") | {"reason": desk.SENDER_REFUSED, "attempt": attempt}
    due = retry_ms(refused, lane, 3, NOW_MS, 7, is_last=is_last)
    assert (due is not None and NOW_MS + SOFT_BOUNCE_MS * 0.98 <= due <= NOW_MS + SOFT_BOUNCE_MS) == again


def test_the_providers_own_word_is_waited_for() -> None:
    later = NOW + timedelta(minutes=11)
    assert retry_ms(status("failed", "throttled", later), "low", 1, NOW_MS, 7, is_last=True) == NOW_MS + 660_000
    before = NOW - timedelta(minutes=11)
    assert (retry_ms(status("failed", "throttled", before), "low", 1, NOW_MS, 7, is_last=True) or 0) > NOW_MS
