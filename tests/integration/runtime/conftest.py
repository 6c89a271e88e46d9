"""Partitions of the data plane on the real broker, without Faust around them: opened, worked and closed by the test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.kafka import make_producer, read_to_end
from streams.runtime import Batch, DueTimer, Event, Output, Record, Tuning
from streams.runtime.clients import Topics
from streams.runtime.metrics import Metrics
from streams.runtime.partition import Partition, Phase, Plan
from streams.runtime.rows import STATE
from streams.runtime.store import block_cache
from tests.conftest import Stack

NOW_MS = 1_800_000_000_000


class Bench:
    """One app's topics and plan, and partitions of it."""

    def __init__(self, stack: Stack, folder: Path, tuning: Tuning | None = None) -> None:
        self.stack = stack
        self.topics = stack.new_topics(["events", "status", "out", "dead"])
        self.topics |= stack.new_topics(["state"], config={"cleanup.policy": "compact"})
        self.now_ms = NOW_MS
        tuning = tuning or Tuning()

        def letter(subject: Record | DueTimer, error: BaseException, batch: Batch) -> Output:
            content = subject.value if isinstance(subject, Record) else subject.payload
            return Output(self.topics["dead"], type(error).__name__.encode(), content)

        self.plan = Plan(
            app=self.topics["state"],
            inputs=(self.topics["events"], self.topics["status"]),
            changelog=self.topics["state"],
            folder=folder,
            settings=stack.settings,
            tuning=tuning,
            topics=Topics(stack.settings),
            cache=block_cache(tuning),
            metrics=Metrics(),
            dead_letter=letter,
            clock_ms=lambda: self.now_ms,
        )
        self._opened: list[Partition] = []

    def open(self, number: int = 0, folder: Path | None = None, changelog: str | None = None) -> Partition:
        """A partition, fenced and restored, and running."""
        plan = replace(self.plan, folder=folder or self.plan.folder, changelog=changelog or self.plan.changelog)
        partition = Partition(plan, number)
        self._opened.append(partition)
        partition.open(plan.topics.describe([*plan.inputs, plan.changelog]))
        partition.phase = Phase.RUNNING
        return partition

    def work(
        self,
        partition: Partition,
        values: Iterable[bytes],
        body: Callable[[Event, Record | DueTimer], None],
        first: int = 0,
    ) -> Batch | None:
        """One batch of records (offsets from ``first``) and of what is due, committed."""
        records = [
            Record(self.topics["events"], partition.number, first + number, b"key", value, NOW_MS)
            for number, value in enumerate(values)
        ]
        if records:
            partition.accept(records)
        batch = partition.begin(self.now_ms)
        if batch is None:
            return None
        for timer in batch.due:
            with batch.event(timer) as event:
                body(event, timer)
        for record in batch.records:
            with batch.event(record) as event:
                body(event, record)
        partition.committed(batch, partition.commit(batch))
        return batch

    def state(self, partition: Partition) -> dict[bytes, bytes]:
        """All rows of the partition's store that are in the changelog."""
        return {key: value for key, value in partition._store.items(b"") if key[:1] in b"stp"}

    def committed(self, name: str) -> list[tuple[bytes | None, bytes | None]]:
        """Key and value of every committed record of a topic."""
        return [(message.key(), message.value()) for message in read_to_end(self.stack.settings, [self.topics[name]])]

    def fill_changelog(self, records: int, number: int = 0) -> dict[bytes, bytes]:
        """State rows, written straight to the changelog; returns what a restore must find."""
        producer = make_producer(self.stack.settings)
        rows = {STATE + b"key%d" % (key % (records // 2)): b"value%d" % key for key in range(records)}
        for key in range(records):
            row = STATE + b"key%d" % (key % (records // 2))
            while True:
                try:
                    producer.produce(self.topics["state"], b"value%d" % key, row, number)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.flush()
        return rows

    def close(self) -> None:
        for partition in self._opened:
            partition.close()


@pytest.fixture
def bench(stack: Stack, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(stack, tmp_path / "a")
    yield made
    made.close()
