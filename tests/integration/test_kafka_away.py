"""Where no broker is, our clients say so in our log, once, and librdkafka writes nothing past it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from connectors import kafka, kafka_log
from connectors.kafka import make_admin, make_consumer, make_producer
from connectors.kafka_log import ClientLog
from connectors.settings import Settings
from connectors.statuses import AcknowledgedProducer

pytestmark = pytest.mark.integration

WAIT_SECONDS = 60.0  # for the first line
SECONDS = 2.0  # for a second one, which must not come


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(kafka, "CLIENT_LOG", ClientLog())
    return Settings(state_dir=tmp_path, kafka_bootstrap="127.0.0.1:1")


def consuming(settings: Settings) -> Callable[[], object]:
    consumer = make_consumer(settings, "test")
    consumer.assign([TopicPartition("events.appointment", 0, 0)])
    return lambda: consumer.consume(10, 0.1)


def polling(settings: Settings) -> Callable[[], object]:
    consumer = make_consumer(settings, "test")
    consumer.subscribe(["events.appointment"])
    return lambda: consumer.poll(0.1)


def producing(settings: Settings) -> Callable[[], object]:
    producer = make_producer(settings)
    producer.produce("events.appointment", b"x")
    return lambda: producer.poll(0.1)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == kafka_log.__name__]


def test_all_clients_of_a_process_say_it_in_one_line(
    settings: Settings, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    turns = [make(settings) for make in (consuming, polling, producing)]
    make_admin(settings)

    def take_turns(until: float) -> Iterator[None]:
        while time.monotonic() < until:
            for turn in turns:
                turn()
            yield

    for _ in take_turns(time.monotonic() + WAIT_SECONDS):
        if lines(caplog):
            break
    for _ in take_turns(time.monotonic() + SECONDS):
        pass
    (said,) = lines(caplog)
    assert said.startswith("Kafka is away, and is tried again until it answers: 127.0.0.1:1")
    assert "rdkafka" not in capfd.readouterr().err


async def test_a_producer_with_nothing_under_way_says_it_too(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    producer = AcknowledgedProducer(settings, on_failure=lambda error: None, linger_ms=0)
    deadline = time.monotonic() + WAIT_SECONDS
    while not lines(caplog) and time.monotonic() < deadline:  # noqa: ASYNC110 - the log tells nobody
        await asyncio.sleep(0.05)
    await asyncio.sleep(SECONDS)
    assert await producer.settle(1) == 0
    assert len(lines(caplog)) == 1
