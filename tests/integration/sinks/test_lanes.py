"""Lanes on the real stack, by order: what is urgent overtakes a backlog, no lane starves, no channel slows another."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter

import pytest
from confluent_kafka import TopicPartition

from connectors.kafka import make_admin, make_consumer
from schemas.topics import deliver_topic
from sinks.runtime.lanes import group_of
from tests.integration.sinks.outgoing import Outbox
from tests.integration.sinks.rig import Rig, wait_for
from tests.integration.sinks.test_conformance import address
from tests.integration.sinks.test_limits import restart

pytestmark = pytest.mark.integration

BACKLOG = 100_000
# The account's own rate would be what holds the lanes.
UNLIMITED = {"LUXE_LIMIT_SMS_PER_SECOND": "0", "LUXE_LIMIT_SMS_PER_DAY": "0"}


def people(outbox: Outbox, count: int) -> list[str]:
    found = [f"patient:{uuid.uuid4()}" for _ in range(count)]
    asyncio.run(outbox.make_keys(found))
    return found


def forget(rig: Rig, lane: str) -> int:
    """Delete what of a lane is not sent yet; how many were."""
    topic = deliver_topic("sms", lane)
    consumer = make_consumer(rig.settings, group_of("sms", lane))
    try:
        partitions = [TopicPartition(topic, number) for number in consumer.list_topics(topic).topics[topic].partitions]
        committed = {one.partition: one.offset for one in consumer.committed(partitions, timeout=10)}
        ends = [
            TopicPartition(topic, one.partition, consumer.get_watermark_offsets(one, timeout=10)[1])
            for one in partitions
        ]
    finally:
        consumer.close()
    admin = make_admin(rig.settings)
    for done in admin.delete_records(ends).values():
        done.result(30)
    return sum(end.offset - max(0, committed[end.partition]) for end in ends)


def test_critical_overtakes_a_backlog_of_100_000_low_ones_and_no_lane_starves(rig: Rig, outbox: Outbox) -> None:
    if "sms" in rig.running:
        rig.end("sms")
    crowd = people(outbox, 100)
    outbox.flood("sms", "low", crowd, BACKLOG)
    before = rig.provider.count()
    rig.start("sms", UNLIMITED)
    wait_for(lambda: rig.provider.count() > before + 500)
    lanes = {
        lane: [outbox.outgoing("sms", crowd[n % len(crowd)], lane=lane) for n in range(count)]
        for lane, count in (("critical", 40), ("high", 400), ("normal", 400))
    }
    outbox.send(message for messages in lanes.values() for message in messages)
    urgent = [message for messages in lanes.values() for message in messages]
    for message in urgent:
        assert rig.eye.end(message.id)["status"] == "sent"
    meanwhile = rig.provider.count()
    wait_for(lambda: rig.provider.count() > meanwhile + 500)  # low goes on
    assert rig.end("sms") == 0
    left = forget(rig, "low")
    assert [len(rig.provider.messages(address(message))) for message in urgent] == [1] * len(urgent)
    # All of the urgent ones were there while most of the backlog was not.
    assert left > BACKLOG / 2, left
    low = rig.provider.count() - before - sum(map(len, lanes.values()))
    assert low > 500


def test_a_channel_whose_provider_hangs_slows_no_other(rig: Rig, outbox: Outbox) -> None:
    restart(rig, {"LUXE_SINKS_SMS_CALL_SECONDS": "30"})  # no call is to be given up
    for channel in ("email", "push"):
        rig.ensure(channel)
    rig.provider.misbehave(kind="latency", ms=4000, rule_channel="sms")
    crowd = people(outbox, 50)
    slow = [outbox.outgoing("sms", person) for person in crowd * 12]
    outbox.send(slow)
    wait_for(lambda: sum("sending" in rig.eye.words(message.id) for message in slow) >= 50)
    others = [outbox.outgoing(channel, person) for person in crowd for channel in ("email", "push")]
    outbox.send(others)
    for message in others:
        assert rig.eye.end(message.id)["status"] == "sent"
    sent = Counter("sent" in rig.eye.words(message.id) for message in slow)
    assert sent[False] > 100, sent  # they went by while texts still hung
    for message in slow:
        assert rig.eye.end(message.id)["status"] == "sent"
    rig.end("sms")
