"""A receipt that does not come is asked for; what nobody knows is told as that, and is no failure."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from connectors.kafka import make_producer
from schemas.topics import deliver_topic
from tests.integration.sinks.outgoing import Outbox, Outgoing
from tests.integration.sinks.rig import Rig, wait_for

pytestmark = pytest.mark.integration
TOPIC = deliver_topic("sms", "low")


def ask(rig: Rig, outbox: Outbox, outgoing: Outgoing, attempt: int = 1) -> None:
    """As notify does, an hour later."""
    message = outgoing.message
    names = ("delivery_id", "notification_id", "notification_type", "recipient", "clinic_id", "channel", "occurred_at")
    query = {name: message[name] for name in names} | {
        "attempt": attempt,
        "asked_at": datetime.now(UTC),
        "correlation_id": None,
    }
    producer = make_producer(rig.settings)
    value = outbox.records.codec.encode(TOPIC, "luxe.pipeline.ReceiptQuery", query)
    producer.produce(TOPIC, value, message["recipient"].encode())
    assert producer.flush(10) == 0


def sent_in_silence(rig: Rig, outbox: Outbox, patient: str, mode: str = "never") -> Outgoing:
    rig.ensure("sms")
    text = outbox.outgoing("sms", patient)
    rig.provider.misbehave(str(text.content["to"]), kind="receipts", mode=mode)
    outbox.send([text])
    rig.eye.end(text.id)
    return text


def test_what_the_provider_knows_is_told(rig: Rig, outbox: Outbox, patient: str) -> None:
    text = sent_in_silence(rig, outbox, patient, "wrong_signature")
    wait_for(lambda: rig.provider.messages(str(text.content["to"]))[0]["status"] == "delivered")
    ask(rig, outbox, text)
    status = rig.eye.status(text.id, "delivered")
    assert (status["attempt"], status["provider_status"]) == (1, "delivered")


def test_what_nobody_knows_is_overdue_and_no_failure(rig: Rig, outbox: Outbox, patient: str) -> None:
    text = sent_in_silence(rig, outbox, patient)
    ask(rig, outbox, text)
    rig.eye.wait(lambda: any(one["reason"] == "receipt_timeout" for one in rig.eye.statuses[text.id]))
    (overdue,) = [one for one in rig.eye.statuses[text.id] if one["reason"] == "receipt_timeout"]
    assert overdue["status"] == "sent"


def test_an_attempt_that_was_followed_by_another_is_not_asked_for(rig: Rig, outbox: Outbox, patient: str) -> None:
    text = sent_in_silence(rig, outbox, patient)
    before = len(rig.eye.statuses[text.id])
    ask(rig, outbox, text, attempt=7)
    other = sent_in_silence(rig, outbox, patient)
    ask(rig, outbox, other)  # behind it in the log
    rig.eye.wait(lambda: len(rig.eye.statuses[other.id]) > before)
    assert len(rig.eye.statuses[text.id]) == before
