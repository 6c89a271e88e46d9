"""A receipt that does not come is asked for; what nobody knows is told as that, and is no failure."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import requests

from connectors.kafka import make_producer
from connectors.readiness import read_standing
from schemas.topics import deliver_topic
from sinks.runtime.tuning import Tuning
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
    assert producer.flush(60) == 0


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


def test_a_refusal_to_tell_is_asked_again_and_what_waits_for_it_pauses_as_for_messages(
    rig: Rig, outbox: Outbox, patient: str
) -> None:
    text = sent_in_silence(rig, outbox, patient, "wrong_signature")
    number = str(text.content["to"])
    wait_for(lambda: rig.provider.messages(number)[0]["status"] == "delivered")
    rig.provider.misbehave(number, kind="look_up", status=429, retry_after_seconds=5, rule_count=1)
    rig.provider.misbehave(number, kind="look_up", status=503, rule_count=1)
    ask(rig, outbox, text)
    wait_for(lambda: "throttled" in causes(rig))
    assert rig.eye.status(text.id, "delivered")["attempt"] == 1
    wait_for(lambda: not causes(rig))


def test_an_account_that_may_not_read_is_asked_a_few_times_and_goes_on_sending(
    rig: Rig, outbox: Outbox, patient: str
) -> None:
    text = sent_in_silence(rig, outbox, patient, "wrong_signature")
    rig.provider.misbehave(str(text.content["to"]), kind="look_up", status=403)
    ask(rig, outbox, text)
    rig.eye.wait(lambda: any(one["reason"] == "receipt_timeout" for one in rig.eye.statuses[text.id]))
    assert refusals(rig) == Tuning().receipt_asks
    assert causes(rig) == []
    other = outbox.outgoing("sms", patient)
    outbox.send([other])
    assert rig.eye.end(other.id)["status"] == "sent"


def causes(rig: Rig) -> list[str]:
    """Why who is paused."""
    standing = read_standing(rig.settings.state_dir, "sms") or {"breakers": []}
    return [breaker["cause"] for breaker in standing["breakers"] if breaker["state"] != "closed"]


def refusals(rig: Rig) -> int:
    """How often the provider's rules met a question."""
    rules = requests.get(f"{rig.provider.url}/faults", timeout=10).json()
    return sum(rule["applied"] for rule in rules["faults"] if rule["effect"]["kind"] == "look_up")
