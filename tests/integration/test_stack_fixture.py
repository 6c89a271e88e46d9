"""The session's stack gives every test what it needs, and only to that test."""

from __future__ import annotations

import psycopg
import pytest
from confluent_kafka import Consumer, Producer

from connectors.stack.probes import is_ready
from connectors.stack.service import Probe
from tests.conftest import Stack

pytestmark = pytest.mark.integration


def test_a_topic_of_its_own_takes_a_message_and_gives_it_back(stack: Stack) -> None:
    topic = stack.new_topics(["fixture"], partitions=2)["fixture"]
    producer = Producer({"bootstrap.servers": stack.kafka_bootstrap})
    producer.produce(topic, b"value", b"key")
    assert producer.flush(30) == 0
    consumer = Consumer(
        {"bootstrap.servers": stack.kafka_bootstrap, "group.id": topic, "auto.offset.reset": "earliest"}
    )
    try:
        consumer.subscribe([topic])
        message = consumer.poll(30)
        assert message is not None
        assert message.value() == b"value"
    finally:
        consumer.close()


def test_databases_are_separate(stack: Stack) -> None:
    first, second = stack.new_database(), stack.new_database()
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE here (id int)")
    with psycopg.connect(second) as connection:
        assert connection.execute("SELECT to_regclass('here')").fetchone() == (None,)


def test_the_loopback_provider_answers(stack: Stack) -> None:
    assert is_ready(Probe("http", f"{stack.loopback_url}/healthz"))
