"""Kafka is killed and stays away: the relay waits with its rows, a successor fences it, and the order stays."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from connectors.kafka import make_producer
from connectors.settings import Settings
from connectors.stack.stack import LocalStack
from tests.conftest import Stack
from tests.integration.postgres.test_relay import connected, insert, running, unpublished, values, wait_for

pytestmark = pytest.mark.integration

OUTAGE_SECONDS = 4.0


@pytest.fixture
def broker() -> Iterator[LocalStack]:
    """A broker of the test's own: the session's stack is everybody's."""
    with tempfile.TemporaryDirectory(prefix="luxe-outage-", ignore_cleanup_errors=True) as folder:
        local = LocalStack(
            Path(folder) / "state", durable=True, default_ports=False, partitions=4, owner_pid=os.getpid()
        )
        try:
            local.up(["kafka"])
            yield local
        finally:
            local.wipe()


@pytest.mark.timeout(400)
def test_rows_wait_while_kafka_is_away_and_follow_in_order(settings: Settings, broker: LocalStack) -> None:
    away = settings.model_copy(update={"kafka_bootstrap": broker.settings().kafka_bootstrap})
    topic = Stack(away).new_topics(["t"], partitions=1)["t"]
    with connected(settings) as connection, running(away):
        insert(connection, topic, "k", "0")
        wait_for(lambda: unpublished(connection) == 0)
        for service in broker.status():
            if service.pid is not None:
                os.kill(service.pid, signal.SIGKILL)
        broker.down()
        for number in range(1, 50):
            insert(connection, topic, "k", str(number))
        time.sleep(OUTAGE_SECONDS)
        assert unpublished(connection) == 49
        broker.up(["kafka"])
        wait_for(lambda: unpublished(connection) == 0)
    # A batch whose commit was not answered may be there twice; in order each time, and the last is the last.
    seen = [int(value) for _, value in values(away, topic) if value is not None]
    assert list(dict.fromkeys(seen)) == list(range(50))
    assert seen[-1] == 49


def test_a_predecessor_that_wakes_up_cannot_publish(settings: Settings, stack: Stack) -> None:
    """One that lost its lock unnoticed, with a record still in its hands, is fenced by its successor's first act."""
    topic = stack.new_topics(["t"], partitions=1)["t"]
    with connected(settings) as connection:
        row = connection.execute("SELECT transactional_id FROM outbox_publisher").fetchone()
        assert row is not None
        zombie = make_producer(settings, transactional_id=row[0])
        zombie.init_transactions(30)
        zombie.begin_transaction()
        zombie.produce(topic, b"stale", b"k")
        with running(settings):
            insert(connection, topic, "k", "fresh")
            wait_for(lambda: unpublished(connection) == 0)
            with pytest.raises(KafkaException) as refusal:
                zombie.commit_transaction(30)
            assert refusal.value.args[0].fatal()
    assert values(settings, topic) == [("k", "fresh")]
