"""Gates are relied on as long as their partitions' leaders say where they end, and no longer; open transactions keep nobody."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.kafka import make_producer
from connectors.kafka_admin import create_topics
from connectors.settings import Settings
from connectors.stack.stack import LocalStack
from schemas.codec import Codec
from schemas.registry import FileRegistry
from schemas.topics import AGGREGATE_GATES, GATES
from sinks.runtime.gates_reader import GatesReader
from sinks.runtime.later_schemas import LaterSchemas

pytestmark = pytest.mark.integration

WAIT_SECONDS = 90.0
STALE_SECONDS = 3.0
RECORD = "luxe.pipeline.Gate"


@pytest.fixture(scope="module")
def broker() -> Iterator[LocalStack]:
    """A broker of the tests' own: it is frozen."""
    with tempfile.TemporaryDirectory(prefix="luxe-gates-", ignore_cleanup_errors=True) as folder:
        local = LocalStack(
            Path(folder) / "state", durable=False, default_ports=False, partitions=4, owner_pid=os.getpid()
        )
        try:
            local.up(["kafka"])
            create_topics(local.settings())
            yield local
        finally:
            local.wipe()


@contextmanager
def reading(settings: Settings) -> Iterator[GatesReader]:
    reader = GatesReader(settings, Codec(FileRegistry()), LaterSchemas("sms"), stale_seconds=STALE_SECONDS)
    reader.start()
    try:
        wait_for(lambda: reader.current, "it has read all there is")
        yield reader
    finally:
        reader.stop()
        wait_for(lambda: not reader._thread.is_alive(), "its thread has ended")


def wait_for(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not in {WAIT_SECONDS} s: {what}"
        time.sleep(0.02)


def gate(topic: str, key: str) -> tuple[str, bytes, bytes]:
    record = {
        "gate_key": key,
        "kind": key.partition(":")[0],
        "reason": "manual",
        "aggregate_version": None,
        "source": "test",
        "created_at": datetime.now(UTC),
        "expires_at": None,
    }
    return topic, Codec(FileRegistry()).encode(topic, RECORD, record), key.encode()


def shut(settings: Settings, key: str) -> None:
    """Acknowledged: from here on it is in force."""
    producer = make_producer(settings)
    producer.produce(*gate(GATES, key))
    assert producer.flush(60) == 0


def test_a_broker_that_does_not_answer_holds_sending_and_what_it_kept_is_known_when_it_goes_on(
    broker: LocalStack, caplog: pytest.LogCaptureFixture
) -> None:
    settings = broker.settings()
    caplog.set_level(logging.INFO)
    [kafka] = [service.pid for service in broker.status() if service.name == "kafka"]
    assert kafka is not None
    with reading(settings) as reader:
        shut(settings, "recipient:patient:before")
        wait_for(lambda: len(reader.gates) == 1, "the first gate is known")
        wait_for(lambda: reader.current, "it is relied on")
        caplog.clear()
        os.kill(kafka, signal.SIGSTOP)
        try:
            wait_for(lambda: not reader.current, "it is not relied on")
            wait_for(lambda: "nothing is sent until it is" in caplog.text, "it says so")
        finally:
            os.kill(kafka, signal.SIGCONT)
        # Each topic's ends are asked for by themselves: the broker may have answered for one of them still.
        assert any(f"{topic}[0], {topic}[1]" in caplog.text for topic in (GATES, AGGREGATE_GATES))
        shut(settings, "recipient:patient:after")
        wait_for(lambda: reader.current and len(reader.gates) == 2, "it is relied on again, with what came since")
        wait_for(lambda: "messages are sent" in caplog.text, "it says so")


def test_what_nobody_was_told_is_in_force_keeps_nobody_waiting(broker: LocalStack) -> None:
    """An owner of intake's dies in its transaction: what it wrote holds once it is committed; till then nobody waits for it."""
    settings = broker.settings()
    owner = make_producer(settings, transactional_id=f"test-{uuid.uuid4()}", transaction_timeout_ms=120_000)
    owner.init_transactions(60)
    with reading(settings) as reader:
        before = len(reader.gates)
        owner.begin_transaction()
        for partition in range(4):
            topic, value, key = gate(AGGREGATE_GATES, f"aggregate:c1:appointment:{partition}")
            owner.produce(topic, value, key, partition)
        assert owner.flush(60) == 0
        time.sleep(2 * STALE_SECONDS)  # were it waited for, nothing would be relied on by now
        wait_for(lambda: reader.current, "it is relied on while the transaction stands open")
        assert len(reader.gates) == before
        owner.commit_transaction(60)
        wait_for(lambda: len(reader.gates) == before + 4, "what was committed is known")
