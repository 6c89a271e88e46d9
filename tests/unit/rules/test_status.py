"""Receipts: any order, any repetition, the same end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.definitions import definition
from streams.rules.status import StepState, final_of, merged, new_step
from streams.rules.terms import CHANNELS

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_FIELDS: list[dict[str, Any]] = definition("luxe.pipeline.DeliveryStatus")["fields"]
STATUSES = next(field["type"]["symbols"] for field in _FIELDS if field["name"] == "status")

receipts = st.lists(st.tuples(st.integers(1, 3), st.sampled_from(STATUSES), st.integers(0, 3)), max_size=8)


def after(channel: str, history: list[tuple[int, str, int]]) -> StepState:
    def note(step: StepState, receipt: tuple[int, str, int]) -> StepState:
        attempt, status, second = receipt
        return merged(step, attempt, status, NOW + timedelta(seconds=second))

    return reduce(note, history, new_step(0, channel, "d"))


@given(st.sampled_from(CHANNELS), receipts, st.randoms(use_true_random=False))
def test_any_order_and_any_repetition_end_the_same(
    channel: str, history: list[tuple[int, str, int]], random: Any
) -> None:
    shuffled = [*history, *history[:3]]
    random.shuffle(shuffled)
    assert after(channel, shuffled) == after(channel, history)


@pytest.mark.parametrize(
    ("channel", "history", "status"),
    [
        ("sms", [(1, "sent", 1), (1, "delivered", 2)], "delivered"),
        ("sms", [(1, "delivered", 2), (1, "sent", 3)], "delivered"),
        # A text's first terminal status stands …
        ("sms", [(1, "undelivered", 1), (1, "delivered", 2)], "undelivered"),
        ("sms", [(1, "delivered", 1), (1, "undelivered", 2)], "delivered"),
        # … an email may bounce after it was delivered.
        ("email", [(1, "delivered", 1), (1, "bounced", 2)], "bounced"),
        ("email", [(1, "bounced", 1), (1, "delivered", 2)], "bounced"),
        ("email", [(1, "clicked", 1), (1, "delivered", 2)], "clicked"),
        # A later attempt begins anew.
        ("sms", [(1, "failed", 1), (2, "queued", 2)], "queued"),
        ("sms", [(2, "queued", 2), (1, "failed", 3)], "queued"),
        ("sms", [(1, "unknown", 1), (1, "sent", 2)], "sent"),
    ],
)
def test_which_status_stands(channel: str, history: list[tuple[int, str, int]], status: str) -> None:
    assert after(channel, history)["status"] == status


@pytest.mark.parametrize(
    ("statuses", "final"),
    [
        ([], ""),
        (["sent", "failed"], ""),
        (["delivered", "failed"], "delivered"),
        (["failed", "suppressed"], "failed"),
        (["bounced"], "failed"),
        (["suppressed", "expired"], "expired"),
        (["cancelled"], "cancelled"),
        (["failed", ""], ""),  # a step is still to be taken
        (["read"], "delivered"),
    ],
)
def test_what_a_notification_came_to(statuses: list[str], final: str) -> None:
    steps = [new_step(number, "email", "d") | {"status": status} for number, status in enumerate(statuses)]
    assert final_of(steps) == final
