"""The whole app as a process on the real broker: what gates its start, what ends it, what goes on meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from connectors.kafka import make_consumer, make_producer, read_to_end
from streams.runtime.clients import Topics
from streams.runtime.errors import EXIT_FATAL, EXIT_STALLED
from streams.runtime.rows import POSITION, position_value
from tests.chaos.workers import PARTITIONS, Crew, Worker
from tests.conftest import Stack

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 60.0  # for what takes a second on a machine with nothing else to do


class Clinic:
    """One counting worker, what it is sent, and what it says."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        topics = stack.new_topics(["left", "right", "counted", "dead"])
        topics |= stack.new_topics(["state", "words"], config={"cleanup.policy": "compact"})
        self.settings, self.topics, self.folder = stack.settings, topics, folder
        self._producer = make_producer(stack.settings)
        self._crews: list[Crew] = []

    def crew(self, **environment: str) -> Crew:
        made = Crew(self.settings, self.topics, self.folder, 1, **environment)
        self._crews.append(made)
        return made

    def send(self, *values: bytes, partition: int = 0, topic: str = "left", key: bytes | None = b"key") -> None:
        for value in values:
            self._producer.produce(self.topics[topic], value, key, partition)
        self._producer.flush()

    def said(self) -> list[bytes]:
        """All committed outputs."""
        return [message.value() or b"" for message in read_to_end(self.settings, [self.topics["counted"]])]

    def wait(self, what: Callable[[], bool], crew: Crew) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not what():
            assert time.monotonic() < deadline, crew.logs()
            time.sleep(0.1)

    def end(self, worker: Worker) -> int:
        """The exit status of a worker that ends by itself."""
        assert worker.process is not None
        return worker.process.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        for crew in self._crews:
            crew.stop()


@pytest.fixture
def clinic(stack: Stack, tmp_path: Path) -> Iterator[Clinic]:
    made = Clinic(stack, tmp_path)
    yield made
    made.stop()


def test_a_slow_partition_does_not_slow_the_others(clinic: Clinic) -> None:
    crew = clinic.crew()
    crew.start()
    clinic.send(b"slow:600000:", partition=0)  # longer than the test may take
    clinic.send(*(b"waits" for _ in range(9000)), partition=0)  # more than its queue holds
    for number in range(1, PARTITIONS):
        clinic.send(*(b"goes on" for _ in range(9000)), partition=number, topic="right")
    clinic.wait(lambda: len(clinic.said()) == 9000 * (PARTITIONS - 1), crew)
    assert all(value.startswith(b"goes on|") for value in clinic.said())


def test_no_event_is_worked_on_before_the_view_was_read_to_its_end(clinic: Clinic) -> None:
    clinic.send(*(b"early%d" % number for number in range(100)))
    for number in range(20_000):
        clinic.send(key=b"filler%d" % number)
    producer = make_producer(clinic.settings)
    for number in range(20_000):
        producer.produce(clinic.topics["words"], b"x" * 100, b"filler%d" % number)
    producer.produce(clinic.topics["words"], b"read", b"word")
    producer.flush()
    crew = clinic.crew(COUNT_VIEW=clinic.topics["words"])
    crew.start()
    clinic.wait(lambda: len(clinic.said()) == 100, crew)
    assert {value.rsplit(b"|", 1)[1] for value in clinic.said()} == {b"read"}


def test_a_timer_fires_without_any_input_and_not_before_it_is_due(clinic: Clinic) -> None:
    crew = clinic.crew()
    crew.start()
    sent_ms = time.time() * 1000
    clinic.send(b"timer:1500:later")
    clinic.wait(lambda: len(clinic.said()) == 2, crew)
    fired = list(read_to_end(clinic.settings, [clinic.topics["counted"]]))[-1]
    assert fired.value() == b"timer:1500:later|2"
    assert fired.timestamp()[1] >= sent_ms + 1500


def test_a_loop_that_hangs_ends_the_process(clinic: Clinic) -> None:
    crew = clinic.crew(LUXE_STREAMS_STALL_SECONDS="10")
    crew.start()
    clinic.send(b"fine")
    clinic.wait(lambda: clinic.said() == [b"fine|1"], crew)
    clinic.send(b"hang")
    assert clinic.end(crew.workers[0]) == EXIT_STALLED, crew.logs()
    assert "position has not moved" in crew.logs()


def test_a_state_that_cannot_be_restored_is_never_opened(clinic: Clinic) -> None:
    producer = make_producer(clinic.settings)
    producer.produce(clinic.topics["state"], b"no position", POSITION + clinic.topics["left"].encode(), 0)
    producer.flush()
    clinic.send(b"must not be worked on")
    crew = clinic.crew()
    crew.workers[0].start()
    assert clinic.end(crew.workers[0]) == EXIT_FATAL, crew.logs()
    assert "position row" in crew.logs()
    assert clinic.said() == []
    assert not crew.ready_file(crew.workers[0]).exists()


def test_missing_topics_are_named(clinic: Clinic) -> None:
    crew = clinic.crew(COUNT_CHANGELOG="nowhere.at.all")
    crew.workers[0].start()
    assert clinic.end(crew.workers[0]) == EXIT_FATAL, crew.logs()
    assert "nowhere.at.all" in crew.logs()
    assert "luxe topics" in crew.logs()


def test_input_that_retention_took_is_loudly_counted_and_the_rest_goes_on(clinic: Clinic) -> None:
    crew = clinic.crew()
    crew.start()
    clinic.send(b"0")
    clinic.wait(lambda: clinic.said() == [b"0|1"], crew)
    crew.workers[0].kill()
    clinic.send(b"1", b"2", b"3")
    admin = AdminClient({"bootstrap.servers": clinic.settings.kafka_bootstrap})
    for deleted in admin.delete_records([TopicPartition(clinic.topics["left"], 0, 3)]).values():
        deleted.result(30)
    crew.ready_file(crew.workers[0]).unlink()
    crew.start()
    clinic.wait(lambda: clinic.said() == [b"0|1", b"3|2"], crew)
    assert "LOST INPUT" in crew.logs()


def test_input_lost_while_it_runs_is_noticed_too(clinic: Clinic) -> None:
    crew = clinic.crew(LUXE_STREAMS_QUEUE_RECORDS="1", LUXE_STREAMS_BATCH_RECORDS="1")
    crew.start()
    clinic.send(b"slow:10000:")  # meanwhile its partition is full, and not fetched
    time.sleep(0.5)  # the fetcher is told within 20 ms
    clinic.send(*(b"%d" % number * 400_000 for number in range(8)))  # more than is fetched ahead
    admin = AdminClient({"bootstrap.servers": clinic.settings.kafka_bootstrap})
    for deleted in admin.delete_records([TopicPartition(clinic.topics["left"], 0, 8)]).values():
        deleted.result(30)
    clinic.wait(lambda: clinic.said()[-1:] != [] and clinic.said()[-1].startswith(b"7"), crew)
    assert "LOST INPUT" in crew.logs()


def test_records_are_read_however_their_producer_compressed_them(clinic: Clinic) -> None:
    """Producers choose the compression, not we; each of them must be in the client that reads."""
    crew = clinic.crew()
    crew.start()
    for number, codec in enumerate(("none", "gzip", "snappy", "lz4", "zstd")):
        producer = make_producer(clinic.settings, **{"compression.type": codec})
        producer.produce(clinic.topics["left"], b"%d" % number, b"key", 0)
        producer.flush()
    clinic.wait(lambda: len(clinic.said()) == 5, crew)
    assert clinic.said() == [b"0|1", b"1|2", b"2|3", b"3|4", b"4|5"]


def test_group_offsets_follow_as_a_hint(clinic: Clinic) -> None:
    crew = clinic.crew()
    crew.start()
    clinic.send(b"0", b"1")
    consumer = make_consumer(clinic.settings, clinic.topics["state"])

    def committed() -> int:
        return consumer.committed([TopicPartition(clinic.topics["left"], 0)], timeout=10)[0].offset

    clinic.wait(lambda: committed() == 2, crew)
    consumer.close()


def test_a_log_that_ends_before_the_position_is_not_read_on(clinic: Clinic) -> None:
    """As after an unclean leader election: neither back nor forward is right, so a person is asked."""
    topics = Topics(clinic.settings)
    topic_id, _ = topics.describe([clinic.topics["left"]])[clinic.topics["left"]]
    producer = make_producer(clinic.settings)
    row = POSITION + clinic.topics["left"].encode()
    producer.produce(clinic.topics["state"], position_value(topic_id, 7), row, 0)
    producer.flush()
    clinic.send(b"0")
    crew = clinic.crew()
    crew.workers[0].start()
    assert clinic.end(crew.workers[0]) == EXIT_FATAL, crew.logs()
    assert "was read to 7, but ends at 1" in crew.logs()
    assert clinic.said() == []
