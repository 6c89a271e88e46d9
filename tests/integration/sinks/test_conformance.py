"""What every channel's sink must do, whatever its provider: one suite, on the real broker, database and processes."""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from confluent_kafka import Message

from connectors.kafka import make_producer
from connectors.postgres import short_links, text_questions
from connectors.postgres.pool import open_pool
from connectors.sealing import open_sealed
from connectors.short_links.codes import ShortLinks
from schemas.topics import AGGREGATE_GATES, GATES, deliver_topic
from tests.integration.sinks.outgoing import CLINIC, Outbox, Outgoing
from tests.integration.sinks.rig import Rig, wait_for

pytestmark = pytest.mark.integration

# What is in Kafka is in force within a second (p99, architecture §4); twice that, for slow machines.
IN_FORCE_SECONDS = 2.0


@dataclass(frozen=True)
class Refusal:
    """A misbehaviour of the provider and what the sink must make of it."""

    effect: Mapping[str, Any]
    error_class: str
    code: str
    pauses: bool = False  # it would meet every message: they wait, and none fails


@dataclass(frozen=True)
class Case:
    """One channel."""

    channel: str
    provider: str
    refusals: tuple[Refusal, ...]
    findable: bool  # whether the provider can be asked for a message whose answer was lost
    receipts: bool = True  # whether it says later what became of a message
    delivers: bool = False  # whether its taking a message is the message's delivery
    misbehaves: bool = True  # whether it can be told to: the loopback provider's channels

    def __str__(self) -> str:
        return self.channel


def http(status: int, error_class: str, code: int | None = None, *, pauses: bool = False) -> Refusal:
    return Refusal({"kind": "status", "status": status}, error_class, str(code or status), pauses)


def twilio(code: int, error_class: str, *, pauses: bool = False) -> Refusal:
    return Refusal({"kind": "twilio_error", "code": code}, error_class, str(code), pauses)


def rpc(status: int, error_class: str, code: str, *, pauses: bool = False) -> Refusal:
    return Refusal({"kind": "status", "status": status}, error_class, code, pauses)


def fcm(code: str, error_class: str) -> Refusal:
    return Refusal({"kind": "fcm_error", "code": code}, error_class, code)


CASES = (
    Case(
        "sms",
        "twilio",
        (
            http(500, "transient", 20500),
            http(503, "transient", 20503),
            http(429, "throttled", 20429),
            twilio(21211, "permanent_recipient"),
            twilio(21614, "permanent_recipient"),
            twilio(21610, "opted_out"),
            twilio(21617, "content_filtered"),
            twilio(21620, "media"),
            http(401, "account", 20003, pauses=True),
            twilio(21606, "account", pauses=True),
            twilio(21408, "account"),
            twilio(29999, "unknown"),
        ),
        findable=True,
    ),
    Case(
        "email",
        "sendgrid",
        (
            http(500, "transient"),
            http(503, "transient"),
            http(429, "throttled"),
            http(400, "content_filtered"),
            http(401, "account", pauses=True),
            http(403, "account", pauses=True),
            http(418, "unknown"),
        ),
        findable=False,
    ),
    Case(
        "push",
        "fcm",
        (
            rpc(500, "transient", "INTERNAL"),
            rpc(503, "transient", "UNAVAILABLE"),
            rpc(429, "throttled", "RESOURCE_EXHAUSTED"),
            fcm("QUOTA_EXCEEDED", "throttled"),
            fcm("UNREGISTERED", "permanent_recipient"),
            fcm("INVALID_ARGUMENT", "content_filtered"),
            rpc(401, "account", "UNAUTHENTICATED", pauses=True),
            rpc(403, "account", "PERMISSION_DENIED", pauses=True),
            fcm("SENDER_ID_MISMATCH", "account"),
            fcm("THIRD_PARTY_AUTH_ERROR", "account"),
            rpc(418, "unknown", "UNKNOWN"),
        ),
        findable=False,
        receipts=False,
    ),
    # The provider is Postgres: what it does when it is away, or its sink is killed, has a test of its own.
    Case("in_app", "in_app", (), findable=True, receipts=False, delivers=True, misbehaves=False),
)
MISBEHAVING = pytest.mark.parametrize("case", [case for case in CASES if case.misbehaves], ids=str, indirect=True)


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest, rig: Rig) -> Case:
    found: Case = request.param
    rig.ensure(found.channel)
    return found


def address(outgoing: Outgoing) -> str:
    return str(outgoing.content["to"])


# Success


def test_a_message_is_sent_once_and_each_step_is_told(rig: Rig, outbox: Outbox, patient: str, case: Case) -> None:
    message = outbox.outgoing(case.channel, patient, {"body": "See you on Tuesday at 14:30."})
    outbox.send([message])
    told = [rig.eye.end(message.id)]
    if case.receipts or case.delivers:
        told.append(rig.eye.status(message.id, "delivered"))
    sent = told[0]
    assert rig.eye.words(message.id)[:3] == ["queued", "sending", "sent"]
    taken = rig.taken(message)
    assert len(taken) == 1
    assert {status["provider"] for status in told} == {case.provider}
    assert {status["provider_message_id"] for status in told} == {taken[0]["id"]}
    assert sent["recipient"] == patient
    assert "traceparent" in rig.eye.headers[sent["status_id"]]


def test_what_is_said_reaches_the_provider_whole(rig: Rig, outbox: Outbox, patient: str, case: Case) -> None:
    body = "Grüße — 20% off? No & never: ✓ 😀\nSecond line"
    content: dict[str, Any] = {"body": body}
    if case.channel == "email":
        content |= {
            "subject": "Ihr Termin — ✓",
            "html": "<p>Grüße &amp; ✓</p>",
            "to_name": "Ana Núñez",
            "headers": {
                "List-Unsubscribe": "<https://luxe.example/u/1>",
                "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
            },
            "attachments": [
                {
                    "filename": "visit.ics",
                    "content_type": "text/calendar; method=CANCEL",
                    "content": b"BEGIN:VCALENDAR",
                }
            ],
        }
    if case.channel == "sms":
        content |= {"media_urls": ["https://luxe.example/a.jpg", "https://luxe.example/b.jpg"]}
    message = outbox.outgoing(case.channel, patient, content)
    outbox.send([message])
    rig.eye.end(message.id)
    payload = rig.taken(message)[0]["payload"]
    if case.channel == "in_app":
        opened = open_sealed(outbox.keys[patient], "ChannelMessage", message.id, payload["sealed"])
        assert outbox.records.codec.decode_content("luxe.pipeline.MessageContent", opened) == message.content
        return
    if case.channel == "sms":
        assert payload["form"]["Body"] == body
        assert payload["media"] == content["media_urls"]
        return
    if case.channel == "push":
        assert payload["message"]["notification"] == {"title": "Your appointment", "body": body}
        return
    mail = payload["mail"]
    assert [block["value"] for block in mail["content"]] == [body, "<p>Grüße &amp; ✓</p>"]
    assert (mail["subject"], mail["headers"]) == ("Ihr Termin — ✓", content["headers"])
    file = mail["attachments"][0]
    assert (file["filename"], file["type"]) == ("visit.ics", "text/calendar; method=CANCEL")
    assert base64.b64decode(file["content"]) == b"BEGIN:VCALENDAR"
    assert (mail["categories"], mail["custom_args"]) == (
        ["transactional"],
        {"delivery_id": message.id, "attempt": "1"},
    )
    assert not any(setting["enable"] for setting in mail["tracking_settings"].values())


async def test_no_short_link_is_stored_for_what_is_not_sent(rig: Rig, outbox: Outbox, case: Case, patient: str) -> None:
    code = ShortLinks(outbox.records.ring, rig.settings.pages_url).code(str(uuid.uuid4()), "https://luxe.example/")
    links = [{"code": code, "url": "https://luxe.example/", "counted": True}]
    late = outbox.outgoing(
        case.channel, patient, {"links": links}, send_not_after=datetime.now(UTC) - timedelta(seconds=1)
    )
    outbox.send([late])
    assert rig.eye.end(late.id)["status"] == "expired"
    async with open_pool(rig.settings, "tests", size=1) as pool:
        assert await short_links.find(pool, code) is None


async def test_short_links_lead_somewhere_when_their_message_is_there(
    rig: Rig, outbox: Outbox, patient: str, case: Case
) -> None:
    """Stored before the call, for this delivery; once, though a retry renders the same again."""
    code, picture = "abcdefghijk"[: -len(case.channel)] + case.channel, "pictureABC" + case.channel[0]
    links = [
        {"code": code, "url": "https://luxe.example/i/1", "counted": True},
        {"code": picture, "url": None, "counted": True},
    ]
    message = outbox.outgoing(case.channel, patient, {"body": f"https://luxe.example/l/{code}", "links": links})
    outbox.send([message, message])
    rig.eye.end(message.id)
    async with open_pool(rig.settings, "test", size=1) as pool:
        found = await short_links.find(pool, code)
        opened = await short_links.find(pool, picture)
    assert found is not None
    assert opened is not None
    assert found.delivery is not None
    assert (found.link.delivery_id, found.delivery.channel, found.link.counted) == (message.id, case.channel, True)
    short = ShortLinks(outbox.records.ring, rig.settings.pages_url)
    assert short.open(code, message.id, found.link.target or b"") == "https://luxe.example/i/1"
    assert opened.link.target is None
    assert found.expires_at - found.created_at == timedelta(days=rig.settings.short_link_days)


@pytest.mark.parametrize("channel", ["sms", "in_app"])
async def test_what_a_message_asks_is_known_before_it_can_be_answered(
    rig: Rig, outbox: Outbox, patient: str, channel: str
) -> None:
    """Once, though a retry asks the same again; and what never asks leaves nothing behind."""
    rig.ensure(channel)
    facts = dict.fromkeys(("service", "provider", "provider_id", "duration", "time_zone")) | {
        "appointment_date": date(2026, 12, 24),
        "appointment_time": "14:00",
        "starts_at": datetime.now(UTC).replace(microsecond=0) + timedelta(days=2),
    }
    asks = outbox.records.codec.encode_content("luxe.pipeline.AskedAppointment", facts)
    asking, silent = (
        outbox.outgoing(channel, patient, {"asks": asks}, correlation_id="c-1"),
        outbox.outgoing(channel, patient),
    )
    outbox.send([asking, asking, silent])
    for message in (asking, silent):
        rig.eye.end(message.id)
    where = outbox.records.ring.address_hash(channel, asking.content["to"])
    async with open_pool(rig.settings, "test", size=1) as pool, pool.connection() as connection:
        [found] = await text_questions.asked_of(connection, where, "care", datetime.now(UTC), 9)
        assert await text_questions.history_of(connection, silent.id) == []
    question = found.question
    assert (question.delivery_id, question.recipient, question.correlation_id) == (asking.id, patient, "c-1")
    assert question.starts_at == facts["starts_at"]
    sealed = open_sealed(outbox.keys[patient], "AskedAppointment", asking.id, question.sealed)
    assert outbox.records.codec.decode_content("luxe.pipeline.AskedAppointment", sealed) == facts


def test_marketing_texts_leave_by_a_sender_of_their_own(rig: Rig, outbox: Outbox, patient: str) -> None:
    rig.ensure("sms")
    care = outbox.outgoing("sms", patient)
    marketing = outbox.outgoing("sms", patient, sender_class="marketing", category="marketing")
    outbox.send([care, marketing])
    for message, sender in ((care, rig.settings.twilio_care_sender), (marketing, rig.settings.twilio_marketing_sender)):
        rig.eye.end(message.id)
        assert rig.taken(message)[0]["from"] == sender


@pytest.mark.parametrize("lane", ["critical", "high", "normal", "low"])
def test_every_lane_is_served(rig: Rig, outbox: Outbox, patient: str, case: Case, lane: str) -> None:
    message = outbox.outgoing(case.channel, patient, lane=lane)
    outbox.send([message])
    assert rig.eye.end(message.id)["status"] == "sent"


# Errors


@MISBEHAVING
def test_each_error_class(rig: Rig, outbox: Outbox, patient: str, case: Case) -> None:
    refusals = [refusal for refusal in case.refusals if not refusal.pauses]
    messages = [outbox.outgoing(case.channel, patient) for _ in refusals]
    for message, refusal in zip(messages, refusals, strict=True):
        rig.provider.misbehave(address(message), **refusal.effect)
    outbox.send(messages)
    for message, refusal in zip(messages, refusals, strict=True):
        end = rig.eye.end(message.id)
        assert (end["status"], end["reason"], end["error_class"]) == (
            "failed",
            refusal.error_class,
            refusal.error_class,
        )
        assert end["error_code"] == refusal.code
        assert (end["retry_at"] is not None) == (refusal.error_class in ("transient", "throttled"))
        assert rig.taken(message) == []


@MISBEHAVING
def test_a_throttled_message_waits_as_long_as_the_provider_says(
    rig: Rig, outbox: Outbox, patient: str, case: Case
) -> None:
    message = outbox.outgoing(case.channel, patient)
    rig.provider.misbehave(address(message), kind="status", status=429, retry_after_seconds=700)
    outbox.send([message])
    end = rig.eye.end(message.id)
    assert 690 < (end["retry_at"] - end["status_at"]).total_seconds() <= 701
    # So does the account, and another process does not know of it: see test_pauses.
    assert rig.end(case.channel) == 0


@MISBEHAVING
def test_the_next_attempt_of_a_failed_delivery_is_made(rig: Rig, outbox: Outbox, patient: str, case: Case) -> None:
    first = outbox.outgoing(case.channel, patient)
    rig.provider.misbehave(address(first), kind="status", status=503, rule_count=1)
    outbox.send([first])
    assert rig.eye.end(first.id)["status"] == "failed"
    outbox.send([Outgoing({**first.message, "attempt": 2}, first.content)])
    sent = rig.eye.status(first.id, "sent")
    assert sent["attempt"] == 2
    assert len(rig.taken(first)) == 1


@MISBEHAVING
@pytest.mark.parametrize("effect", ["reset_after", "hang"])
def test_a_lost_answer_is_never_a_silent_loss(rig: Rig, outbox: Outbox, patient: str, case: Case, effect: str) -> None:
    message = outbox.outgoing(case.channel, patient)
    options = {"seconds": 30, "accept": True} if effect == "hang" else {}
    # Receipts would tell us after all; here the provider says nothing at all.
    rig.provider.misbehave(address(message), kind="receipts", mode="never")
    rig.provider.misbehave(address(message), kind=effect, **options)
    outbox.send([message])
    end = rig.eye.end(message.id)
    assert end["status"] == ("sent" if case.findable else "unknown")
    assert end["reason"] == ("found" if case.findable else "no_answer")
    taken = rig.taken(message)
    assert len(taken) == 1
    if case.findable:
        assert end["provider_message_id"] == taken[0]["id"]


@MISBEHAVING
def test_an_essential_message_in_doubt_is_sent_again_and_only_then(
    rig: Rig, outbox: Outbox, patient: str, case: Case
) -> None:
    essential = outbox.outgoing(case.channel, patient, essential=True)
    other = outbox.outgoing(case.channel, patient)
    for message in (essential, other):
        rig.provider.misbehave(address(message), kind="reset_before", rule_count=1)
    outbox.send([essential, other])
    assert rig.eye.end(essential.id)["status"] == "sent"
    assert len(rig.taken(essential)) == 1
    assert rig.eye.end(other.id)["status"] == "unknown"
    assert rig.taken(other) == []


@pytest.mark.parametrize("case", [case for case in CASES if case.receipts], ids=str, indirect=True)
def test_a_receipt_settles_what_was_in_doubt(rig: Rig, outbox: Outbox, patient: str, case: Case) -> None:
    message = outbox.outgoing(case.channel, patient)
    rig.provider.misbehave(address(message), kind="reset_after")
    outbox.send([message])
    assert rig.eye.status(message.id, "delivered")["provider_message_id"] == rig.taken(message)[0]["id"]
    wait_for(lambda: ledger_state(rig, message.id) == "accepted")


def test_an_address_that_refuses_for_good_is_not_written_to_again(rig: Rig, outbox: Outbox, patient: str) -> None:
    rig.ensure("sms")
    gone, stopped = outbox.outgoing("sms", patient), outbox.outgoing("sms", patient)
    rig.provider.misbehave(address(gone), kind="twilio_error", code=21614)
    rig.provider.misbehave(address(stopped), kind="twilio_error", code=21610)
    outbox.send([gone, stopped])
    for message, sender_class, reason in ((gone, "*", "hard_bounce"), (stopped, "care", "opted_out")):
        rig.eye.end(message.id)
        address_hash = outbox.records.ring.address_hash("sms", address(message))
        key = f"address:sms:{sender_class}:{address_hash}"
        assert reasons(rig, key) == [reason]


# Gates


def gate(key: str, reason: str, version: int | None = None) -> dict[str, Any]:
    return {
        "gate_key": key,
        "kind": key.partition(":")[0],
        "reason": reason,
        "source": "tests",
        "aggregate_version": version,
        "created_at": datetime.now(UTC),
        "expires_at": None,
    }


def shut(rig: Rig, outbox: Outbox, channel: str, record: Mapping[str, Any] | None, key: str) -> None:
    """Write a gate (or lift it) as the outbox relay and intake do, and wait until the sink has read it."""
    topic = AGGREGATE_GATES if key.startswith("aggregate:") else GATES
    producer = make_producer(rig.settings)
    value = None if record is None else outbox.records.codec.encode(topic, "luxe.pipeline.Gate", record)
    written: list[Message] = []
    producer.produce(topic, value, key.encode(), on_delivery=lambda _, message: written.append(message))
    assert producer.flush(30) == 0
    # Behind it in its partition, somebody else's: once that one holds, so does this one.
    other = f"patient:{uuid.uuid4()}"
    asyncio.run(outbox.make_keys([other]))
    behind = f"recipient:{other}"
    told = outbox.records.codec.encode(topic, "luxe.pipeline.Gate", gate(behind, "manual"))
    producer.produce(topic, told, behind.encode(), written[0].partition() or 0)
    assert producer.flush(30) == 0

    def holds() -> bool:
        tried = outbox.outgoing(channel, other)
        outbox.send([tried])
        return bool(rig.eye.end(tried.id)["status"] == "suppressed")

    wait_for(holds)


@pytest.mark.parametrize(
    ("kind", "reason", "status", "told"),
    [
        ("address", "opted_out", "suppressed", "opted_out"),
        ("address-all", "hard_bounce", "suppressed", "hard_bounce"),
        ("consent", "opted_out", "suppressed", "consent_withdrawn"),
        ("recipient", "erased", "suppressed", "erased"),
        ("aggregate", "cancelled", "cancelled", "cancelled"),
        ("visit", "cancelled", "cancelled", "cancelled"),
        ("notification", "cancelled", "cancelled", "cancelled"),
    ],
)
def test_nothing_leaves_through_a_shut_gate(
    rig: Rig, outbox: Outbox, patient: str, case: Case, kind: str, reason: str, status: str, told: str
) -> None:
    visit = str(uuid.uuid4())
    message = outbox.outgoing(case.channel, patient, consent_scope="treatment", visit=visit, visit_version=1)
    address_hash = outbox.records.ring.address_hash(case.channel, address(message))
    key = {
        "address": f"address:{case.channel}:care:{address_hash}",
        "address-all": f"address:{case.channel}:*:{address_hash}",
        "consent": f"consent:{patient}:treatment",
        "recipient": f"recipient:{patient}",
        "aggregate": f"aggregate:{CLINIC}:appointment:{message.message['aggregate_id']}",
        "visit": f"aggregate:{CLINIC}:appointment:{visit}",
        "notification": f"notification:{message.message['notification_id']}",
    }[kind]
    shut(rig, outbox, case.channel, gate(key, reason, version=1), key)
    outbox.send([message])
    end = rig.eye.end(message.id)
    assert (end["status"], end["reason"], end["provider"]) == (status, told, "")
    assert "sending" not in rig.eye.words(message.id)
    assert rig.taken(message) == []


def test_a_lifted_gate_lets_messages_through_again(rig: Rig, outbox: Outbox, patient: str, case: Case) -> None:
    key = f"recipient:{patient}"
    shut(rig, outbox, case.channel, gate(key, "manual"), key)
    before, after = outbox.outgoing(case.channel, patient), outbox.outgoing(case.channel, patient)
    outbox.send([before])
    assert rig.eye.end(before.id)["status"] == "suppressed"
    shut(rig, outbox, case.channel, None, key)
    outbox.send([after])
    assert rig.eye.end(after.id)["status"] == "sent"


@pytest.mark.parametrize("field", ["send_not_after", "expires_at"])
def test_nothing_is_sent_late(rig: Rig, outbox: Outbox, patient: str, case: Case, field: str) -> None:
    limits: list[dict[str, Any]] = [{field: datetime.now(UTC) + timedelta(seconds=left)} for left in (-1, 3600)]
    late, in_time = (outbox.outgoing(case.channel, patient, **limit) for limit in limits)
    outbox.send([late, in_time])
    end = rig.eye.end(late.id)
    assert (end["status"], end["reason"]) == ("expired", field)
    assert rig.eye.end(in_time.id)["status"] == "sent"
    assert rig.taken(late) == []


def test_an_erased_recipient_gets_nothing(rig: Rig, outbox: Outbox, patient: str, case: Case) -> None:
    message = outbox.outgoing(case.channel, patient)
    with psycopg.connect(rig.settings.postgres_dsn.get_secret_value()) as connection:
        connection.execute("DELETE FROM data_keys WHERE subject = %s", (patient,))
    outbox.send([message])
    end = rig.eye.end(message.id)
    assert (end["status"], end["reason"]) == ("suppressed", "erased")


# Duplicates and poison


def test_a_gate_under_a_key_that_nobody_can_read_ends_no_sink(
    rig: Rig, outbox: Outbox, patient: str, case: Case
) -> None:
    outbox.send_raw(GATES, b"\xff\xfe", b"\x00")
    time.sleep(IN_FORCE_SECONDS)
    message = outbox.outgoing(case.channel, patient)
    outbox.send([message])
    assert rig.eye.end(message.id)["status"] == "sent"
    assert rig.running[case.channel].poll() is None


def test_a_record_that_comes_twice_is_sent_once(rig: Rig, outbox: Outbox, patient: str, case: Case) -> None:
    message = outbox.outgoing(case.channel, patient)
    outbox.send([message, message])
    rig.eye.wait(lambda: sum(s["status"] == "queued" for s in rig.eye.statuses[message.id]) == 2)
    outbox.send([message])
    rig.eye.wait(
        lambda: sum(s["status"] == "sent" and not s["provider_event_id"] for s in rig.eye.statuses[message.id]) == 3
    )
    assert len(rig.taken(message)) == 1
    ends = {
        s["status_id"] for s in rig.eye.statuses[message.id] if s["status"] == "sent" and not s["provider_event_id"]
    }
    assert len(ends) == 1  # so that whoever counts them counts one


def test_poison_becomes_dead_letters_and_the_partition_goes_on(
    rig: Rig, outbox: Outbox, patient: str, case: Case
) -> None:
    topic = deliver_topic(case.channel, "normal")
    other = "email" if case.channel == "sms" else "sms"
    key = patient.encode()
    good = outbox.outgoing(case.channel, patient)
    altered = outbox.outgoing(case.channel, patient)
    sealed = altered.message["sealed"]
    altered.message["sealed"] = sealed[:-1] + bytes([sealed[-1] ^ 1])
    encode = outbox.records.codec.encode

    def wire(message: Mapping[str, Any]) -> bytes:
        return encode(topic, "luxe.pipeline.ChannelMessage", message)

    poison: list[tuple[bytes | None, bytes | None, str]] = [
        (key, b"not avro", "unknown_magic_byte"),
        (key, b"\x00\x7f\xff\xff\xff\x00", "unknown_schema_id"),
        (key, wire(good.message)[:40], "truncated_record"),
        (key, wire(good.message) + b"\x00", "trailing_bytes"),
        (key, None, "tombstone"),
        (None, wire(good.message), "null_key"),
        (key, wire({**outbox.outgoing(case.channel, patient).message, "channel": other}), "wrong_channel"),
        (key, wire(altered.message), "unauthentic"),
    ]
    before = len(rig.eye.dead_letters)
    for record_key, value, _ in poison:
        outbox.send_raw(topic, record_key, value)
    outbox.send([good])
    assert rig.eye.end(good.id)["status"] == "sent"
    rig.eye.wait(lambda: len(rig.eye.dead_letters) >= before + len(poison))
    letters = rig.eye.dead_letters[before:]
    assert sorted(letter["error_code"] for letter in letters) == sorted(code for _, _, code in poison)
    assert {letter["stage"] for letter in letters} == {case.channel}
    assert all("not avro" not in letter["explanation"] for letter in letters)
    wait_for(lambda: sum(rig.committed(case.channel).values()) == 0)


# Slowness


@MISBEHAVING
def test_a_slow_answer_holds_up_nobody_else(rig: Rig, outbox: Outbox, case: Case) -> None:
    people = [f"patient:{uuid.uuid4()}" for _ in range(24)]
    asyncio.run(outbox.make_keys(people))
    wait_for(lambda: sum(rig.committed(case.channel).values()) == 0)
    # Patience of its own: all others have the time of the slow call, and that must not run out.
    assert rig.end(case.channel) == 0
    rig.start(case.channel, {f"LUXE_SINKS_{case.channel.upper()}_CALL_SECONDS": "40"})
    slow = outbox.outgoing(case.channel, people[0])
    rig.provider.misbehave(address(slow), kind="latency", ms=12_000)
    others = [outbox.outgoing(case.channel, person) for person in people]
    outbox.send([slow, *others])
    # All others are done, and their partitions committed, before the slow one has its answer.
    for message in others:
        rig.eye.end(message.id)
    wait_for(lambda: sum(lag > 0 for lag in rig.committed(case.channel).values()) <= 1)
    assert "sent" not in rig.eye.words(slow.id)
    assert rig.eye.end(slow.id)["status"] == "sent"
    wait_for(lambda: sum(rig.committed(case.channel).values()) == 0)
    assert rig.end(case.channel) == 0


def ledger_state(rig: Rig, delivery_id: str) -> str | None:
    with psycopg.connect(rig.settings.postgres_dsn.get_secret_value()) as connection:
        row = connection.execute("SELECT state FROM deliveries WHERE delivery_id = %s", (delivery_id,)).fetchone()
        return row[0] if row else None


def reasons(rig: Rig, gate_key: str) -> list[str]:
    with psycopg.connect(rig.settings.postgres_dsn.get_secret_value()) as connection:
        rows = connection.execute("SELECT reason FROM suppressions WHERE gate_key = %s", (gate_key,)).fetchall()
        return [reason for (reason,) in rows]
