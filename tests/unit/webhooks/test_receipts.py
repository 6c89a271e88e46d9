"""Providers' words in ours."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.webhooks.batches import entries, misfit
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
    return from_twilio(FORM | changes, delivery_id="d-1", now=NOW)


def sendgrid(**changes: Any) -> Receipt | None:
    return from_sendgrid(EVENT | changes, now=NOW)


@pytest.mark.parametrize("word", ["queued", "sending", "accepted", "scheduled", "receiving"])
def test_twilio_s_words_that_say_nothing_new(word: str) -> None:
    assert twilio(MessageStatus=word) is None


def test_a_twilio_callback() -> None:
    receipt = twilio(MessageStatus="undelivered", ErrorCode="30005")
    assert receipt is not None
    assert (receipt.status, receipt.provider_status) == ("undelivered", "undelivered")
    assert (receipt.error_class, receipt.error_code) == ("permanent_recipient", "30005")
    assert (receipt.provider_message_id, receipt.provider_event_id, receipt.delivery_id) == (
        "SM1",
        "SM1:undelivered",
        "d-1",
    )


def test_the_same_callback_is_the_same_event_whatever_its_unsigned_headers_say() -> None:
    twice = [from_twilio(FORM, delivery_id=None, now=NOW) for _ in range(2)]
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
        ({"event": "bounce", "type": "blocked", "status": "4.7.1"}, "undelivered", "transient"),
        ({"event": "bounce", "type": "blocked", "status": "5.1.1"}, "undelivered", "transient"),
        ({"event": "bounce", "type": "blocked", "status": "5.7.1"}, "undelivered", "content_filtered"),
        ({"event": "bounce", "type": "blocked", "status": "5.7.26"}, "undelivered", "account"),
        ({"event": "bounce", "type": "bounce", "status": "5.1.1"}, "bounced", "permanent_recipient"),
        ({"event": "bounce", "type": "bounce", "status": "5.2.2"}, "undelivered", "transient"),
        ({"event": "bounce", "type": "bounce", "status": "5.7.1"}, "undelivered", "content_filtered"),
        ({"event": "bounce", "type": "bounce", "status": "5.7.26"}, "undelivered", "account"),
        ({"event": "bounce", "type": "bounce", "status": "5.0.0"}, "bounced", "permanent_recipient"),
        ({"event": "bounce", "type": "bounce", "status": "mailbox full"}, "bounced", "permanent_recipient"),
        ({"event": "bounce", "type": "bounce", "status": 522}, "bounced", "permanent_recipient"),
        ({"event": "dropped", "reason": "Unsubscribed Address"}, "failed", "opted_out"),
        ({"event": "dropped", "reason": "Spam Content (if Spam Checker app enabled)"}, "failed", "content_filtered"),
        ({"event": "dropped", "reason": "Something new"}, "failed", "unknown"),
        ({"event": "open"}, "read", None),
        ({"event": "spamreport"}, "complained", "opted_out"),
        ({"event": "group_unsubscribe"}, "unsubscribed", "opted_out"),
        ({"event": "group_resubscribe"}, "resubscribed", None),
    ],
)
def test_sendgrid_s_words(changes: dict[str, Any], status: str, error_class: str | None) -> None:
    receipt = sendgrid(**changes)
    assert receipt is not None
    assert (receipt.status, receipt.error_class) == (status, error_class)


def test_a_picture_that_a_mail_program_loaded_ahead_was_read_by_nobody() -> None:
    receipt = sendgrid(event="open", sg_machine_open=True)
    assert receipt is not None
    assert (receipt.status, receipt.provider_status) == ("sent", "machine_open")
    by_a_person = sendgrid(event="open", sg_machine_open=False)
    assert by_a_person is not None
    assert (by_a_person.status, by_a_person.provider_status) == ("read", "open")


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
        EVENT | {"timestamp": True},
        EVENT | {"email": 5},
        EVENT | {"sg_event_id": "e\x00"},
        EVENT | {"sg_message_id": "m\ud800"},
        EVENT | {"email": "ana@mail.example\n"},
    ],
)
def test_an_event_out_of_form_is_refused(event: Any) -> None:
    with pytest.raises(ReceiptError) as refused:
        from_sendgrid(event, now=NOW)
    assert "ana@mail.example" not in str(refused.value)


def test_a_receipt_survives_parking_and_prints_without_its_address() -> None:
    receipt = sendgrid(event="bounce", type="bounce")
    assert receipt is not None
    assert Receipt.from_json(orjson.loads(orjson.dumps(receipt.as_json()))) == receipt
    assert "ana" not in repr(receipt)


def test_an_event_of_the_future_counts_as_of_now() -> None:
    receipt = sendgrid(timestamp=int(NOW.timestamp()) + 10**8)
    assert receipt is not None
    assert receipt.status_at == NOW


@pytest.mark.parametrize("ours", ["d\x00", "x" * 65, "", 7, None, {"a": 1}, "d 1"])
def test_an_id_that_cannot_be_ours_is_no_id(ours: Any) -> None:
    receipt = sendgrid(delivery_id=ours)
    assert receipt is not None
    assert receipt.delivery_id is None


@pytest.mark.parametrize("code", ["x", "1234567", "30005\x00", "３", " "])
def test_an_error_code_is_a_number(code: str) -> None:
    with pytest.raises(ReceiptError, match="ErrorCode"):
        twilio(MessageStatus="failed", ErrorCode=code)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        name: JSON | st.text(st.characters(categories=["L", "Cs", "Cc", "N"]), max_size=30)
        for name in (*EVENT, "type", "reason", "status")
    },
)


@given(st.lists(FIELDS.map(lambda changes: EVENT | changes) | JSON, max_size=6))
def test_any_entry_is_a_receipt_no_news_or_a_misfit_and_never_anything_else(batch: list[Any]) -> None:
    """What is taken can be stored: in Postgres as text, in Kafka as UTF-8. What is not is kept byte for byte the same."""
    read = entries(json.dumps(batch).encode())
    assert len(read) == len(batch)
    for number, entry in enumerate(read):
        try:
            receipt, refused = from_sendgrid(entry, now=NOW), None
        except ReceiptError as error:
            receipt, refused = None, error
        if refused is not None:
            kept = misfit("sendgrid", number, entry, refused)
            assert kept.raw == misfit("sendgrid", 0, json.loads(kept.raw), refused).raw
            assert str(refused).isprintable()
        if receipt is None:
            continue
        for text in (
            receipt.provider_message_id,
            receipt.provider_event_id,
            receipt.delivery_id or "",
            receipt.address,
        ):
            assert "\x00" not in text.encode().decode()
        assert receipt.status_at <= NOW
        orjson.dumps(receipt.as_json())


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"null", b"[", b"[{]", b"\xff", b"[" * 5000 + b"]" * 5000, b'"x"', b"[1] [2]", b"\x00"]
)
def test_a_body_that_is_no_array_is_no_batch(body: bytes) -> None:
    with pytest.raises(ReceiptError, match="no JSON array"):
        entries(body)


@pytest.mark.parametrize("entry", [rb'"\ud800"', b"NaN", b"-Infinity", b"1e999", b'{"a": 1, "a": 2}', b"1" * 400])
def test_an_entry_that_one_reader_refuses_does_not_take_the_others_with_it(entry: bytes) -> None:
    found = entries(b"[" + orjson.dumps(EVENT) + b"," + entry + b"]")
    assert len(found) == 2
    assert from_sendgrid(found[0], now=NOW) is not None


@pytest.mark.parametrize(
    ("said", "attempt"), [("1", 1), ("12", 12), ("0", None), ("-1", None), ("1e3", None), ("99999", None), (None, None)]
)
def test_the_attempt_comes_back_as_it_was_sent_along(said: str | None, attempt: int | None) -> None:
    text = from_twilio(FORM, delivery_id="d-1", attempt=said, now=NOW)
    assert text is not None
    assert text.attempt == attempt
    email = sendgrid(attempt=said)
    assert email is not None
    assert email.attempt == attempt
    assert Receipt.from_json(orjson.loads(orjson.dumps(email.as_json()))) == email


def test_a_receipt_parked_before_it_told_its_attempt_is_read() -> None:
    email = sendgrid()
    assert email is not None
    kept = email.as_json()
    del kept["attempt"]
    assert Receipt.from_json(kept) == email
