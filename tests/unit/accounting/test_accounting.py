"""Every requested notification is counted once, whatever order its records come in."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.accounting import Account
from schemas.codec import Decoded

AT = datetime(2026, 1, 1, tzinfo=UTC)


def record(name: str, **value: Any) -> Decoded:
    return Decoded(1, f"luxe.pipeline.{name}", {"notification_id": "n", "correlation_id": "c"} | value)


REQUEST = record("NotificationRequest", kind="notify")
DELIVER = record("Decision", outcome="deliver", sequence=1, reason="deliver")
DEFER = record("Decision", outcome="defer", sequence=0, reason="not_due")
SMS = record("ChannelMessage", delivery_id="d", channel="sms")
EMAIL = record("ChannelMessage", delivery_id="e", channel="email")


RETRY = record("Decision", outcome="defer", sequence=2, reason="retry")
AGAIN = record("Decision", outcome="deliver", sequence=3, reason="tried_again")
NEXT = record("Decision", outcome="deliver", sequence=2, reason="next_channel")
NIGHT = record("Decision", outcome="defer", sequence=2, reason="quiet_hours")
CLOSED = record("Decision", outcome="suppress", sequence=2, reason="channel_off")


def status(
    status: str, delivery: str = "d", channel: str = "sms", seconds: int = 0, reason: str = "", attempt: int = 1
) -> Decoded:
    at = AT + timedelta(seconds=seconds)
    return record(
        "DeliveryStatus",
        delivery_id=delivery,
        channel=channel,
        status=status,
        status_at=at,
        reason=reason,
        attempt=attempt,
        error_class=None,
    )


@pytest.mark.parametrize(
    ("records", "state"),
    [
        ([REQUEST], ("undecided", "")),
        ([REQUEST, DEFER], ("waiting", "not_due")),
        ([REQUEST, DEFER, DELIVER, SMS], ("waiting", "not_taken")),
        ([REQUEST, DELIVER, SMS, status("queued")], ("waiting", "queued")),
        ([REQUEST, DELIVER, SMS, status("sent")], ("sent", "")),
        ([REQUEST, DELIVER, status("queued", "p", "push"), status("sent", "p", "push")], ("sent", "no_receipts")),
        ([REQUEST, DELIVER, status("sending", "p", "push")], ("waiting", "sending")),
        ([REQUEST, DELIVER, CLOSED, SMS, status("queued")], ("waiting", "queued")),
        ([REQUEST, DELIVER, SMS, EMAIL, status("failed"), status("queued", "e", "email")], ("waiting", "queued")),
        ([REQUEST, DELIVER, SMS, EMAIL, status("unknown"), status("sending", "e", "email")], ("waiting", "sending")),
        ([REQUEST, DELIVER, SMS, status("queued"), status("sent", "p", "push")], ("sent", "")),
        ([REQUEST, DELIVER, SMS, status("sent"), status("delivered", seconds=1)], ("delivered", "")),
        ([REQUEST, DELIVER, SMS, status("failed", reason="permanent_recipient")], ("failed", "permanent_recipient")),
        ([REQUEST, DELIVER, SMS, EMAIL, status("failed"), status("delivered", "e", "email")], ("delivered", "")),
        ([REQUEST, DELIVER, SMS, EMAIL, status("failed", reason="x"), status("sent", "e", "email")], ("sent", "")),
        (
            [REQUEST, DELIVER, EMAIL, status("delivered", "e", "email"), status("bounced", "e", "email", 5)],
            ("failed", ""),
        ),
        ([REQUEST, DELIVER, SMS, status("delivered"), status("undelivered", seconds=5)], ("delivered", "")),
        ([REQUEST, DELIVER, SMS, status("unknown", reason="no_answer")], ("unknown", "no_answer")),
        # Tried again: of an earlier attempt nothing counts any more.
        ([REQUEST, DELIVER, SMS, status("failed", reason="transient"), RETRY], ("waiting", "retry")),
        ([REQUEST, DELIVER, RETRY, AGAIN, status("failed"), status("sent", attempt=2)], ("sent", "")),
        ([REQUEST, DELIVER, RETRY, AGAIN, status("failed"), status("delivered", attempt=2)], ("delivered", "")),
        (
            [REQUEST, DELIVER, AGAIN, status("failed", reason="x"), status("failed", reason="y", attempt=2)],
            ("failed", "y"),
        ),
        # The next channel.
        ([REQUEST, DELIVER, NEXT, SMS, EMAIL, status("failed"), status("sent", "e", "email")], ("sent", "")),
        # It was put off by quiet hours, and then the channel before it was heard of, late.
        ([REQUEST, DELIVER, NIGHT, SMS, status("sent")], ("waiting", "quiet_hours")),
        ([REQUEST, DELIVER, NIGHT, SMS, status("sent"), status("delivered", seconds=9)], ("delivered", "")),
        ([REQUEST, DELIVER, NIGHT, SMS, status("unknown"), status("read", seconds=9)], ("delivered", "")),
        ([REQUEST, DELIVER, CLOSED, SMS, status("sent")], ("sent", "")),
        ([REQUEST, DELIVER, CLOSED, SMS, status("failed")], ("suppressed", "channel_off")),
        ([REQUEST, DELIVER, CLOSED, SMS, status("delivered")], ("delivered", "")),
        (
            [REQUEST, DELIVER, SMS, status("failed", reason="x"), record("DeadLetter", error_code="plan_exhausted")],
            ("failed", "x"),
        ),
        (
            [REQUEST, DELIVER, SMS, status("sent"), status("sent", reason="receipt_timeout")],
            ("sent", "receipt_timeout"),
        ),
        ([REQUEST, DELIVER, SMS, status("sent"), status("read", seconds=3)], ("delivered", "")),
        (
            [REQUEST, DELIVER, EMAIL, status("sent", "e", "email"), status("complained", "e", "email", 9)],
            ("delivered", ""),
        ),
        ([REQUEST, DELIVER, EMAIL, status("unsubscribed", "e", "email", 9)], ("delivered", "")),
        (
            [REQUEST, DELIVER, EMAIL, status("complained", "e", "email", 9), status("bounced", "e", "email", 10)],
            ("failed", ""),
        ),
        ([REQUEST, DELIVER, SMS, status("unknown"), status("sent")], ("sent", "")),
        ([REQUEST, DELIVER, SMS, status("unknown"), status("delivered", seconds=9)], ("delivered", "")),
        ([REQUEST, DELIVER, SMS, status("suppressed", reason="opted_out")], ("suppressed", "opted_out")),
        (
            [REQUEST, record("Decision", outcome="suppress", sequence=0, reason="global_opt_out")],
            ("suppressed", "global_opt_out"),
        ),
        ([REQUEST, record("DeadLetter", error_code="template_error")], ("dead_letter", "template_error")),
    ],
)
def test_states_in_any_order(records: list[Decoded], state: tuple[str, str]) -> None:
    for order in permutations(records):
        account = Account()
        for each in order:
            account.take(each)
        assert account.states() == {state: 1}


@given(
    st.lists(
        st.sampled_from([REQUEST, DEFER, DELIVER, SMS, EMAIL, status("sent"), status("delivered"), status("failed")]),
        max_size=20,
    )
)
def test_a_record_seen_twice_changes_nothing(records: list[Decoded]) -> None:
    once, twice = Account(), Account()
    for each in records:
        once.take(each)
        twice.take(each)
        twice.take(each)
    assert once.states() == twice.states()
    assert once.accepted == twice.accepted
    assert once.requests == twice.requests


def test_others_are_not_counted() -> None:
    account = Account("another")
    account.take(REQUEST)
    assert account.requests == 0


def test_dead_letters_that_name_nobody_are_counted_from_a_moment_on() -> None:
    unnamed = {"notification_id": None, "correlation_id": None, "error_code": "unknown_magic_byte"}
    account = Account("c", unnamed_since=AT)
    account.take(record("DeadLetter", **unnamed, recorded_at=AT))
    account.take(record("DeadLetter", **unnamed, recorded_at=AT - timedelta(seconds=1)))
    account.take(record("DeadLetter", **(unnamed | {"correlation_id": "other"}), recorded_at=AT))
    assert account.event_dead_letters == {"unknown_magic_byte": 1}
