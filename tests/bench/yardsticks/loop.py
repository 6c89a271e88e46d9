"""What one writes by hand: consume 500, work, produce, wait for every acknowledgement, commit. RocksDB with a changelog.

No transactions: killed between an acknowledgement and the commit, it does its work twice, on a state that saw it already.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import rocksdict
from confluent_kafka import KafkaError, Message, Producer

from connectors.kafka import make_consumer, make_producer
from connectors.settings import Settings
from schemas.topics import REQUESTED
from streams.runtime import Record
from streams.runtime.records import Headers
from tests.bench.yardsticks.work import (
    Stopwatch,
    Task,
    as_record,
    due_timers,
    folder_of,
    hop_work,
    renamed,
    wall_clock_ms,
    work_on,
)

CONSUME_RECORDS = 500


class Outgoing:
    """The producer, and how many of its records are not acknowledged."""

    def __init__(self, producer: Producer, task: Task, watch: Stopwatch) -> None:
        self._producer, self._task, self._watch = producer, task, watch
        self._unacknowledged = 0

    def emit(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None) -> None:
        """An output."""
        self._watch.outputs += 1
        self._unacknowledged += 1
        self._producer.produce(
            renamed(topic, self._task), value, key, headers=list(headers or ()), on_delivery=self._acknowledged
        )

    def log(self, row: bytes, value: bytes | None, partition: int) -> None:
        """A changelog record."""
        self._unacknowledged += 1
        self._producer.produce(self._task.changelog, value, row, partition, on_delivery=self._acknowledged)

    def _acknowledged(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            raise RuntimeError(error.name())
        self._unacknowledged -= 1

    def wait(self) -> None:
        """Until everything is acknowledged."""
        self._producer.poll(0)
        while self._unacknowledged:
            self._producer.poll(0.005)


class LoopRows:
    """One partition's RocksDB; each change is written and logged as it comes."""

    def __init__(self, folder: Path, partition: int, outgoing: Outgoing) -> None:
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        self._db = rocksdict.Rdict(str(folder / str(partition)), options=options)
        self._partition, self._log = partition, outgoing.log

    def get(self, row: bytes) -> bytes | None:
        return cast("bytes | None", self._db.get(row))

    def put(self, row: bytes, value: bytes) -> None:
        self._db.put(row, value)
        self._log(row, value, self._partition)

    def delete(self, row: bytes) -> None:
        self._db.delete(row)
        self._log(row, None, self._partition)

    def index(self, row: bytes, present: bool) -> None:
        if present:
            self._db.put(row, b"")
        else:
            self._db.delete(row)

    def items(self, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        return cast(Iterator[tuple[bytes, bytes]], self._db.items(from_key=start))


def main() -> None:
    task, settings = Task.given(), Settings()
    work = hop_work(task.hop, settings)
    watch = Stopwatch(task.events)
    outgoing = Outgoing(make_producer(settings, linger_ms=5, queue_buffering_max_messages=1_000_000), task, watch)
    consumer = make_consumer(settings, task.group)
    consumer.subscribe([task.source])
    folder = folder_of(task)
    rows = {number: LoopRows(folder, number, outgoing) for number in range(settings.kafka_partitions)}
    topic = "events.appointment" if task.hop == "intake" else REQUESTED
    while not watch.is_over:
        messages = consumer.consume(CONSUME_RECORDS, 1.0)
        if not messages:
            continue
        watch.start()
        now_ms = wall_clock_ms()
        batches: dict[int, list[Record]] = defaultdict(list)
        for message in messages:
            number = message.partition() or 0
            batches[number].append(
                as_record(
                    topic,
                    number,
                    message.offset() or 0,
                    message.key(),
                    message.value(),
                    message.timestamp()[1],
                    message.headers(),
                )
            )
        for number, records in batches.items():
            work_on(work, records, due_timers(rows[number], now_ms), now_ms, rows[number], outgoing.emit)
        outgoing.wait()
        consumer.commit(asynchronous=True)
        watch.done += len(messages)
    watch.tell()
    os._exit(0)


if __name__ == "__main__":
    main()
