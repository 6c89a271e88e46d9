"""Providers' words in ours."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from connectors.webhooks.receipts import Receipt, ReceiptError, from_sendgrid, from_twilio

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FORM = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": "+14155550100", "From": "+15005550006"}
EVENT = {
    "event": "delivered",
    "email": "ana@mail.example",
    "timestamp": 1772366400,
    "sg_event_id": "e-1",
    "sg_message_id": "m-1.filter01.2.3",
    "delivery_id": "d-1",
}


def twilio(**changes: str) -> Receipt | None:
    return from_twilio(FORM | changes, delivery_id="d-1", idempotency_token="t-1", now=NOW)


def sendgrid(**changes: Any) -> Receipt | None:
    return from_sendgrid(EVENT | changes)


@pytest.mark.parametrize("word", ["queued", "sending", "accepted", "scheduled", "receiving"])
def test_twilio_s_words_that_say_nothing_new(word: str) -> None:
    assert twilio(MessageStatus=word) is None


def test_a_twilio_callback() -> None:
    receipt = twilio(MessageStatus="undelivered", ErrorCode="30005")
    assert receipt is not None
    assert (receipt.status, receipt.provider_status) == ("undelivered", "undelivered")
    assert (receipt.error_class, receipt.error_code) == ("permanent_recipient", "30005")
    assert (receipt.provider_message_id, receipt.provider_event_id, receipt.delivery_id) == ("SM1", "t-1", "d-1")


def test_without_a_token_the_same_callback_is_still_the_same_event() -> None:
    twice = [from_twilio(FORM, delivery_id=None, idempotency_token=None, now=NOW) for _ in range(2)]
    assert twice[0] is not None
    assert twice[0].provider_event_id == "SM1:delivered"
    assert twice[0] == twice[1]


@pytest.mark.parametrize("fields", [{"MessageSid": ""}, {"MessageStatus": ""}, {"MessageSid": "x" * 501}])
def test_a_form_without_its_fields_is_refused_without_its_values(fields: dict[str, str]) -> None:
    with pytest.raises(ReceiptError, match="where 1 to 500 characters are expected"):
        twilio(**fields)


def test_a_sendgrid_event() -> None:
    receipt = sendgrid()
    assert receipt is not None
    assert (receipt.status, receipt.provider_message_id, receipt.provider_event_id) == ("delivered", "m-1", "e-1")
    assert receipt.status_at == datetime.fromtimestamp(1772366400, UTC)
    assert receipt.delivery_id == "d-1"


@pytest.mark.parametrize(
    ("changes", "status", "error_class"),
    [
        ({"event": "processed"}, "sent", None),
        ({"event": "bounce", "type": "bounce"}, "bounced", "permanent_recipient"),
        ({"event": "bounce", "type": "blocked"}, "undelivered", "transient"),
        ({"event": "dropped", "reason": "Unsubscribed Address"}, "failed", "opted_out"),
        ({"event": "dropped", "reason": "Spam Content (if Spam Checker app enabled)"}, "failed", "content_filtered"),
        ({"event": "dropped", "reason": "Something new"}, "failed", "unknown"),
        ({"event": "open"}, "read", None),
        ({"event": "spamreport"}, "complained", "opted_out"),
        ({"event": "group_unsubscribe"}, "unsubscribed", "opted_out"),
    ],
)
def test_sendgrid_s_words(changes: dict[str, Any], status: str, error_class: str | None) -> None:
    receipt = sendgrid(**changes)
    assert receipt is not None
    assert (receipt.status, receipt.error_class) == (status, error_class)


def test_a_deferral_is_no_news() -> None:
    assert sendgrid(event="deferred") is None


@pytest.mark.parametrize(
    "event",
    [
        None,
        1,
        [],
        {},
        EVENT | {"event": "other"},
        EVENT | {"timestamp": "1"},
        EVENT | {"timestamp": 2**40},
        EVENT | {"email": 5},
    ],
)
def test_an_event_out_of_form_is_refused(event: Any) -> None:
    with pytest.raises(ReceiptError) as refused:
        from_sendgrid(event)
    assert "ana@mail.example" not in str(refused.value)


def test_a_receipt_survives_parking_and_prints_without_its_address() -> None:
    receipt = sendgrid(event="bounce", type="bounce")
    assert receipt is not None
    assert Receipt.from_json(orjson.loads(orjson.dumps(receipt.as_json()))) == receipt
    assert "ana" not in repr(receipt)
