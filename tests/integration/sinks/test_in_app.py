"""What only in-app has: the provider is Postgres, so that no doubt is ever left, and lying in the inbox is delivery."""

from __future__ import annotations

import asyncio
import signal
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from confluent_kafka import TopicPartition

from connectors.kafka import make_consumer
from schemas.ids import delivery_id
from schemas.topics import INBOX_CHANGES
from tests.integration.sinks.outgoing import CLINIC, Outbox
from tests.integration.sinks.rig import Rig, wait_for

pytestmark = pytest.mark.integration

MESSAGES = 6_000


@pytest.fixture(autouse=True)
def _in_app(rig: Rig) -> None:
    rig.ensure("in_app")


def rows(rig: Rig, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(rig.settings.postgres_dsn.get_secret_value()) as connection:
        return connection.execute(query, values).fetchall()


def test_it_is_delivered_when_it_lies_in_the_inbox_and_open_connections_are_woken(
    rig: Rig, outbox: Outbox, patient: str
) -> None:
    reader = make_consumer(rig.settings, "tests-changes")
    partitions = reader.list_topics(INBOX_CHANGES, timeout=10).topics[INBOX_CHANGES].partitions
    reader.assign([TopicPartition(INBOX_CHANGES, one, 0) for one in partitions])
    message = outbox.outgoing("in_app", patient)
    outbox.send([message])
    rig.eye.status(message.id, "delivered")
    assert rig.eye.words(message.id) == ["queued", "sending", "sent", "delivered"]
    woken: list[dict[str, Any]] = []

    def read() -> bool:
        record = reader.poll(1)
        if record is not None and record.key() == patient.encode():
            woken.append(outbox.records.codec.decode(record.value()).value)
        return bool(woken)

    wait_for(read)
    reader.close()
    told = {name: woken[0][name] for name in ("recipient", "kind", "notification_id", "version")}
    ident = message.message["notification_id"]
    assert told == {"recipient": patient, "kind": "arrived", "notification_id": ident, "version": 1}


def test_an_alert_lies_there_until_it_expires_and_history_for_as_long_as_the_settings_say(
    rig: Rig, outbox: Outbox, patient: str
) -> None:
    soon = (datetime.now(UTC) + timedelta(minutes=15)).replace(microsecond=0)
    alert = outbox.outgoing("in_app", patient, {"data": {"acknowledge": "shared"}}, expires_at=soon)
    history = outbox.outgoing("in_app", patient, expires_at=soon)
    outbox.send([alert, history])
    for message in (alert, history):
        rig.eye.status(message.id, "delivered")
    found = dict(rows(rig, "SELECT delivery_id, expires_at FROM inbox_items WHERE recipient = %s", patient))
    assert found[alert.id] == soon
    assert found[history.id] > datetime.now(UTC) + timedelta(days=rig.settings.inbox_days - 1)


def test_a_notification_decided_anew_lies_there_once(rig: Rig, outbox: Outbox, patient: str) -> None:
    ident = str(uuid.uuid4())
    plans = [
        outbox.outgoing(
            "in_app", patient, notification_id=ident, step=step, delivery_id=delivery_id(ident, "in_app", step)
        )
        for step in (0, 2)
    ]
    outbox.send(plans)
    for message in plans:
        rig.eye.status(message.id, "delivered")
    assert rows(rig, "SELECT count(*) FROM inbox_items WHERE notification_id = %s", ident) == [(1,)]


def test_nobody_without_a_key_of_their_own_has_an_inbox(rig: Rig, outbox: Outbox) -> None:
    stranger = f"patient:{uuid.uuid4()}"
    outbox.keys[stranger] = outbox.keys[f"clinic:{CLINIC}"]
    message = outbox.outgoing("in_app", stranger)
    outbox.send([message])
    rig.eye.wait(lambda: any(letter["error_code"] == "no_inbox" for letter in rig.eye.dead_letters))
    assert rig.taken(message) == []


def test_killed_in_mid_flight_nothing_is_lost_doubled_or_in_doubt(rig: Rig, outbox: Outbox) -> None:
    people = [f"patient:{uuid.uuid4()}" for _ in range(50)]
    asyncio.run(outbox.make_keys(people))
    messages = [outbox.outgoing("in_app", people[n % len(people)]) for n in range(MESSAGES)]
    outbox.send(messages)
    wait_for(lambda: any("sent" in rig.eye.words(message.id) for message in messages))
    rig.end("in_app", signal.SIGKILL)
    ended = sum("delivered" in rig.eye.words(message.id) for message in messages)
    rig.start("in_app")
    for message in messages:
        assert rig.eye.end(message.id)["status"] == "sent"
        rig.eye.status(message.id, "delivered")
    assert ended < MESSAGES  # it was in the midst of it
    counted = rows(
        rig, "SELECT count(*), count(DISTINCT delivery_id) FROM inbox_items WHERE recipient = ANY(%s)", people
    )
    assert counted == [(MESSAGES, MESSAGES)]
    # In each inbox in the order of its partition but for what was in flight: numbers without a doubt about any of them.
    numbers = rows(rig, "SELECT count(DISTINCT (recipient, number)) FROM inbox_items WHERE recipient = ANY(%s)", people)
    assert numbers == [(MESSAGES,)]
    wait_for(lambda: sum(rig.committed("in_app").values()) == 0)


def test_who_is_erased_gets_nothing_any_more(rig: Rig, outbox: Outbox, patient: str) -> None:
    first, second = outbox.outgoing("in_app", patient), outbox.outgoing("in_app", patient)
    outbox.send([first])
    rig.eye.status(first.id, "delivered")
    with psycopg.connect(rig.settings.postgres_dsn.get_secret_value()) as connection:
        connection.execute("DELETE FROM data_keys WHERE subject = %s", (patient,))
    rig.end("in_app")
    rig.start("in_app")  # keys are kept for a minute; the gate that an erasure shuts is in force at once (conformance)
    outbox.send([second])
    assert (rig.eye.end(second.id)["status"], rig.eye.end(second.id)["reason"]) == ("suppressed", "erased")
