"""Receipts from outside: what is genuine counts once, in any order; what is not, never; nothing said is lost."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import orjson
import psycopg
import pytest
import requests
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from psycopg import sql
from pydantic import SecretStr

from connectors.loopback.signing import twilio_signature
from connectors.providers.sendgrid import EVENTS_PATH
from connectors.providers.twilio import STATUS_PATH
from connectors.settings import Settings
from connectors.webhooks.app import MAX_BODY_BYTES, MAX_FORM_BYTES
from tests.conftest import Stack
from tests.integration.sinks.outgoing import Outbox, Outgoing
from tests.integration.sinks.rig import Rig, free_port, wait_for, webhooks
from tests.integration.sinks.test_pauses import alarms

pytestmark = pytest.mark.integration


@pytest.fixture
def signing_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def own(rig: Rig, signing_key: ec.EllipticCurvePrivateKey) -> Iterator[Settings]:
    """Webhooks whose SendGrid key is ours to sign with."""
    der = signing_key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    settings = with_port(rig.settings, sendgrid_webhook_public_key=base64.b64encode(der).decode())
    with webhooks(settings):
        yield settings


def with_port(settings: Settings, **changes: Any) -> Settings:
    port = free_port()
    return settings.model_copy(update={"webhook_port": port, "public_base_url": f"http://127.0.0.1:{port}", **changes})


def post_sms(
    settings: Settings, message_id: str, status: str, *, query: str = "", token: str | None = None, **fields: str
) -> int:
    """A status callback as Twilio posts it; the answer's status."""
    url = f"{settings.public_base_url}{STATUS_PATH}{query}"
    form = {"MessageSid": message_id, "MessageStatus": status, "To": "+14155550123", "From": "+15005550006"} | fields
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Twilio-Signature": twilio_signature(settings.twilio_auth_token.get_secret_value(), url, list(form.items())),
        "I-Twilio-Idempotency-Token": token or str(uuid.uuid4()),
    }
    return requests.post(url, data=urlencode(form), headers=headers, timeout=20).status_code


def post_email(
    settings: Settings,
    key: ec.EllipticCurvePrivateKey,
    events: list[Any],
    *,
    age_seconds: int = 0,
    raw: bytes | None = None,
) -> int:
    """A batch as SendGrid posts it; the answer's status."""
    body = orjson.dumps(events) if raw is None else raw
    timestamp = str(int(time.time()) - age_seconds)
    signature = base64.b64encode(key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()
    headers = {
        "Content-Type": "application/json",
        "X-Twilio-Email-Event-Webhook-Signature": signature,
        "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
    }
    return requests.post(f"{settings.public_base_url}{EVENTS_PATH}", data=body, headers=headers, timeout=20).status_code


def event(message_id: str, word: str, **fields: Any) -> dict[str, Any]:
    return {
        "email": "somebody@mail.example",
        "timestamp": int(time.time()),
        "event": word,
        "sg_event_id": str(uuid.uuid4()),
        "sg_message_id": f"{message_id}.filter0001.12345",
    } | fields


def sent(rig: Rig, outbox: Outbox, channel: str, patient: str, **changes: Any) -> tuple[Outgoing, str]:
    """A message that the provider took and says nothing more about, and its id there."""
    rig.ensure(channel)
    message = outbox.outgoing(channel, patient, **changes)
    rig.provider.misbehave(str(message.content["to"]), kind="receipts", mode="never")
    outbox.send([message])
    return message, str(rig.eye.end(message.id)["provider_message_id"])


@pytest.mark.parametrize("channel", ["sms", "email"])
@pytest.mark.parametrize("mode", ["duplicate", "out_of_order", "late"])
def test_receipts_may_come_twice_late_or_in_any_order(
    rig: Rig, outbox: Outbox, patient: str, channel: str, mode: str
) -> None:
    rig.ensure(channel)
    message = outbox.outgoing(channel, patient)
    options = {"late_ms": 1000} if mode == "late" else {}
    rig.provider.misbehave(str(message.content["to"]), kind="receipts", mode=mode, **options)
    outbox.send([message])
    rig.eye.status(message.id, "delivered")
    rig.eye.wait(lambda: any(s["provider_event_id"] and s["status"] == "sent" for s in rig.eye.statuses[message.id]))
    ids = {s["status_id"] for s in rig.eye.statuses[message.id] if s["status"] == "delivered"}
    assert len(ids) == 1


@pytest.mark.parametrize("channel", ["sms", "email"])
def test_a_forged_receipt_counts_for_nothing(rig: Rig, outbox: Outbox, patient: str, channel: str) -> None:
    rig.ensure(channel)
    message, honest = outbox.outgoing(channel, patient), outbox.outgoing(channel, patient)
    rig.provider.misbehave(str(message.content["to"]), kind="receipts", mode="wrong_signature")
    outbox.send([message])
    rig.eye.end(message.id)
    outbox.send([honest])
    rig.eye.status(honest.id, "delivered")
    assert not any(s["provider_event_id"] for s in rig.eye.statuses[message.id])


def test_a_twilio_receipt_says_what_went_wrong(rig: Rig, outbox: Outbox, patient: str) -> None:
    message, message_id = sent(rig, outbox, "sms", patient)
    assert post_sms(rig.settings, message_id, "undelivered", ErrorCode="30005", To=str(message.content["to"])) == 204
    status = rig.eye.status(message.id, "undelivered")
    assert (status["error_class"], status["error_code"]) == ("permanent_recipient", "30005")
    address_hash = outbox.records.ring.address_hash("sms", str(message.content["to"]))
    assert suppressed(rig, f"address:sms:*:{address_hash}") == ["hard_bounce"]


def test_what_a_person_must_look_at_is_an_alarm_though_only_a_receipt_tells_of_it(
    rig: Rig, outbox: Outbox, patient: str
) -> None:
    """Once, however many messages it meets: here, what a carrier filters."""
    clinic_id = f"clinic-{uuid.uuid4()}"
    for code in ("30007", "30007", "30010"):
        message, message_id = sent(rig, outbox, "sms", patient, clinic_id=clinic_id)
        assert post_sms(rig.settings, message_id, "undelivered", ErrorCode=code) == 204
        rig.eye.status(message.id, "undelivered")
    wait_for(lambda: len(alarms(rig, clinic_id)) >= 2)
    assert sorted((one["code"], one["component"]) for one in alarms(rig, clinic_id)) == [
        ("refused_account", "sink.sms"),
        ("refused_content_filtered", "sink.sms"),
    ]


@pytest.mark.parametrize(
    ("event", "code", "error_class", "told"),
    [
        ("bounce", "5.2.2", "transient", []),
        ("bounce", "5.7.1", "content_filtered", ["refused_content_filtered"]),
        ("blocked", "5.7.26", "account", ["refused_account"]),
    ],
)
def test_what_the_receiving_server_says_of_a_mailbox_or_a_message_shuts_no_address(
    rig: Rig, outbox: Outbox, patient: str, event: str, code: str, error_class: str, told: list[str]
) -> None:
    """From the sink to the provider, whose own receipts say so, and on: the next email to the same address goes out."""
    rig.ensure("email")
    clinic_id = f"clinic-{uuid.uuid4()}"
    first = outbox.outgoing("email", patient, clinic_id=clinic_id)
    address = str(first.content["to"])
    rig.provider.misbehave(address, kind="email_event", event=event, status=code, rule_count=1)
    outbox.send([first])
    status = rig.eye.status(first.id, "undelivered")
    assert status["error_class"] == error_class
    assert (status["error_code"], "bounced" in rig.eye.words(first.id)) == (code, False)
    again = outbox.outgoing("email", patient, {"to": address}, clinic_id=clinic_id)
    outbox.send([again])
    rig.eye.status(again.id, "delivered")
    assert len(rig.provider.messages(address)) == 2
    assert suppressed(rig, f"address:email:*:{outbox.records.ring.address_hash('email', address)}") == []
    # After one that alarms for certain, what the first alarmed, or did not, is there too.
    last = outbox.outgoing("email", patient, {"to": f"other-{address}"}, clinic_id=clinic_id)
    rig.provider.misbehave(str(last.content["to"]), kind="email_event", event="bounce", status="5.6.0", rule_count=1)
    outbox.send([last])
    rig.eye.status(last.id, "undelivered")
    expected = {*told, "refused_content_filtered"}
    wait_for(lambda: {one["code"] for one in alarms(rig, clinic_id)} >= expected)
    assert {(one["code"], one["component"]) for one in alarms(rig, clinic_id)} == {
        (one, "sink.email") for one in expected
    }
    if not told:
        assert len(alarms(rig, clinic_id)) == 1


@pytest.mark.parametrize(
    ("fields", "word", "error_class", "reason"),
    [
        ({"event": "bounce", "type": "bounce", "status": "5.1.1"}, "bounced", "permanent_recipient", "hard_bounce"),
        ({"event": "bounce", "type": "bounce", "status": "5.2.2"}, "undelivered", "transient", None),
        ({"event": "bounce", "type": "bounce", "status": "5.7.1"}, "undelivered", "content_filtered", None),
        ({"event": "bounce", "type": "blocked", "status": "4.7.1"}, "undelivered", "transient", None),
        ({"event": "dropped", "reason": "Bounced Address"}, "failed", "permanent_recipient", "hard_bounce"),
        ({"event": "spamreport"}, "complained", "opted_out", "complaint"),
        ({"event": "open"}, "read", None, None),
        ({"event": "click", "url": "https://luxe.example"}, "clicked", None, None),
    ],
)
def test_each_sendgrid_event(
    rig: Rig,
    outbox: Outbox,
    patient: str,
    own: Settings,
    signing_key: ec.EllipticCurvePrivateKey,
    fields: dict[str, Any],
    word: str,
    error_class: str | None,
    reason: str | None,
) -> None:
    message, message_id = sent(rig, outbox, "email", patient)
    posted = event(
        message_id, fields["event"], email=message.content["to"], **{k: v for k, v in fields.items() if k != "event"}
    )
    assert post_email(own, signing_key, [posted]) == 204
    assert rig.eye.status(message.id, word)["error_class"] == error_class
    address_hash = outbox.records.ring.address_hash("email", str(message.content["to"]))
    assert suppressed(rig, f"address:email:*:{address_hash}") == ([reason] if reason else [])


def test_one_bad_event_does_not_drop_its_batch(
    rig: Rig, outbox: Outbox, patient: str, own: Settings, signing_key: ec.EllipticCurvePrivateKey
) -> None:
    message, message_id = sent(rig, outbox, "email", patient)
    good = event(message_id, "delivered")
    bad: list[Any] = [
        None,
        "text",
        {},
        event(message_id, "no_such_event"),
        event(message_id, "open") | {"timestamp": "yesterday"},
        event("", "open") | {"sg_message_id": None},
    ]
    assert post_email(own, signing_key, [*bad[:3], good, *bad[3:]]) == 204
    assert rig.eye.status(message.id, "delivered")["provider_event_id"] == good["sg_event_id"]


def test_an_old_signature_is_a_replay(
    rig: Rig, outbox: Outbox, patient: str, own: Settings, signing_key: ec.EllipticCurvePrivateKey
) -> None:
    _, message_id = sent(rig, outbox, "email", patient)
    assert post_email(own, signing_key, [event(message_id, "delivered")], age_seconds=3600) == 403
    assert post_email(own, signing_key, [event(message_id, "delivered")], age_seconds=60) == 204


def test_what_is_not_in_form_is_refused_by_name(own: Settings, signing_key: ec.EllipticCurvePrivateKey) -> None:
    sendgrid, twilio = f"{own.public_base_url}{EVENTS_PATH}", f"{own.public_base_url}{STATUS_PATH}"
    assert post_email(own, signing_key, [], raw=b"{not json") == 400
    assert post_email(own, signing_key, [], raw=b'{"event": "open"}') == 400
    assert post_email(own, signing_key, [], raw=b"\xff\xfe") == 403
    assert post_sms(own, "", "delivered") == 400
    assert requests.post(sendgrid, data=b"[]", timeout=20).status_code == 403
    assert requests.post(twilio, data=b"MessageSid=SM1", timeout=20).status_code == 403
    assert requests.post(twilio, data=b"\xff=\xff", timeout=20).status_code == 403
    assert requests.post(twilio, data=b"a" * (MAX_FORM_BYTES + 1), timeout=20).status_code == 413
    assert requests.post(sendgrid, data=b"a" * (MAX_BODY_BYTES + 1), timeout=20).status_code == 413
    assert requests.get(twilio, timeout=20).status_code == 405


def test_a_receipt_for_an_unknown_message_waits_for_it(rig: Rig, outbox: Outbox, patient: str) -> None:
    message, message_id = sent(rig, outbox, "sms", patient)
    with psycopg.connect(rig.settings.postgres_dsn.get_secret_value()) as connection:
        connection.execute(
            "UPDATE deliveries SET provider_message_id = NULL, state = 'attempting' WHERE delivery_id = %s",
            (message.id,),
        )
    assert post_sms(rig.settings, message_id, "delivered") == 204  # without our id: it can only be parked
    assert parked(rig, message_id) == 1
    assert "delivered" not in rig.eye.words(message.id)
    with psycopg.connect(rig.settings.postgres_dsn.get_secret_value()) as connection:
        connection.execute(
            "UPDATE deliveries SET provider_message_id = %s, state = 'accepted' WHERE delivery_id = %s",
            (message_id, message.id),
        )
    rig.eye.status(message.id, "delivered")
    wait_for(lambda: parked(rig, message_id) == 0)


def test_a_receipt_with_our_id_needs_no_parking(rig: Rig, outbox: Outbox, patient: str) -> None:
    message, message_id = sent(rig, outbox, "sms", patient)
    with psycopg.connect(rig.settings.postgres_dsn.get_secret_value()) as connection:
        connection.execute(
            "UPDATE deliveries SET provider_message_id = NULL, state = 'unknown' WHERE delivery_id = %s", (message.id,)
        )
    assert post_sms(rig.settings, message_id, "delivered", query=f"?delivery_id={message.id}") == 204
    rig.eye.status(message.id, "delivered")
    with psycopg.connect(rig.settings.postgres_dsn.get_secret_value()) as connection:
        row = connection.execute(
            "SELECT state, provider_message_id FROM deliveries WHERE delivery_id = %s", (message.id,)
        ).fetchone()
    assert row == ("accepted", message_id)


@pytest.mark.parametrize("says_which", [True, False])
def test_a_receipt_of_an_attempt_whose_answer_was_lost_is_not_the_next_one_s(
    rig: Rig, outbox: Outbox, patient: str, says_which: bool
) -> None:
    """Posted again and again, it changes nothing of the attempt that is under way."""
    rig.ensure("sms")
    first = outbox.outgoing("sms", patient)
    # Its own receipt, should it come after what is changed by hand below, would be one of an earlier attempt too.
    rig.provider.misbehave(str(first.content["to"]), kind="receipts", mode="never")
    second = Outgoing(first.message | {"attempt": 2}, first.content)
    outbox.send([first])
    rig.eye.end(first.id)
    with psycopg.connect(rig.settings.postgres_dsn.get_secret_value()) as connection:
        connection.execute(
            """UPDATE deliveries SET state = 'attempting', attempt = 2, provider_message_id = NULL,
                      lease_until = now() + interval '1 hour' WHERE delivery_id = %s""",
            (second.id,),
        )
    lost = f"SM{uuid.uuid4().hex}"
    query = f"?delivery_id={first.id}" + ("&attempt=1" if says_which else "")
    for _ in range(2):
        assert post_sms(rig.settings, lost, "delivered", query=query) == 204
    rig.eye.wait(lambda: any(one["provider_message_id"] == lost for one in rig.eye.statuses[first.id]))
    assert {one["attempt"] for one in rig.eye.statuses[first.id] if one["provider_message_id"] == lost} == {1}
    with psycopg.connect(rig.settings.postgres_dsn.get_secret_value()) as connection:
        row = connection.execute(
            "SELECT state, attempt, provider_message_id, earlier_message_ids FROM deliveries WHERE delivery_id = %s",
            (second.id,),
        ).fetchone()
    assert row == ("attempting", 2, None, [lost])


def test_while_kafka_is_away_the_provider_is_asked_to_post_again(rig: Rig, outbox: Outbox, patient: str) -> None:
    _, message_id = sent(rig, outbox, "sms", patient)
    settings = with_port(rig.settings, kafka_bootstrap=f"127.0.0.1:{free_port()}")
    with webhooks(settings):
        assert_asked_again(settings, message_id, "kafka")


def test_while_postgres_is_away_the_provider_is_asked_to_post_again(rig: Rig, stack: Stack) -> None:
    dsn = stack.migrated_database()
    settings = with_port(rig.settings, postgres_dsn=SecretStr(dsn))
    with webhooks(settings):
        wait_for(lambda: requests.get(f"{settings.public_base_url}/readyz", timeout=20).status_code == 200)
        name = dsn.rpartition("/")[2]
        with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        assert_asked_again(settings, "SM1", "postgres")


def assert_asked_again(settings: Settings, message_id: str, away: str) -> None:
    answer = post_sms(settings, message_id, "delivered")
    assert answer == 503
    ready = requests.get(f"{settings.public_base_url}/readyz", timeout=20)
    assert (ready.status_code, ready.json()["away"]) == (503, [away])
    assert requests.get(f"{settings.public_base_url}/healthz", timeout=20).status_code == 200


def suppressed(rig: Rig, gate_key: str) -> list[str]:
    with psycopg.connect(rig.settings.postgres_dsn.get_secret_value()) as connection:
        rows = connection.execute("SELECT reason FROM suppressions WHERE gate_key = %s", (gate_key,)).fetchall()
        return [reason for (reason,) in rows]


def parked(rig: Rig, message_id: str) -> int:
    with psycopg.connect(rig.settings.postgres_dsn.get_secret_value()) as connection:
        row = connection.execute(
            "SELECT count(*) FROM parked_receipts WHERE provider_message_id = %s", (message_id,)
        ).fetchone()
        return int(row[0]) if row else 0
