"""A partition of the data plane as it is, its broker and its disk in memory, that can be killed at every step of a batch."""

from __future__ import annotations

import enum
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from rocksdict import Cache

from connectors.settings import Settings
from streams.runtime import Batch, Output, Record
from streams.runtime.batch import DeadLetter
from streams.runtime.clients import Topics, TransactionalProducer
from streams.runtime.metrics import Metrics
from streams.runtime.partition import Partition, Phase, Plan
from streams.runtime.rows import COUNT, TIMER, due_key_of
from streams.runtime.store import Store
from streams.runtime.tuning import Tuning

CHANGELOG = "state"
USUAL = Tuning()
_SETTINGS = Settings()
_TOPIC_ID = bytes(16)


class Crash(enum.Enum):
    """Where the process dies, and what its successor finds."""

    NOWHERE = "nowhere"
    BEFORE_COMMIT = "before the commit: the transaction is aborted, its input read again"
    BEFORE_WRITE = "after the commit: the local store is behind its changelog, and catches up"
    MOVED = "after the batch, and the partition moves to a machine that has nothing: all is read from the changelog"


class RowsInMemory:
    """What the data plane asks of its store."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}
        self._sorted: list[bytes] = []
        self.get = self._rows.get

    def write(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """All of the changes."""
        rows, keys = self._rows, self._sorted
        for key, value in changes:
            if value is not None:
                if key not in rows:
                    insort(keys, key)
                rows[key] = value
            elif rows.pop(key, None) is not None:
                del keys[bisect_left(keys, key)]

    def items(self, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """As they are when the iteration begins."""
        for key in self._sorted[bisect_left(self._sorted, start) :]:
            yield key, self._rows[key]

    def first(self, start: bytes) -> bytes | None:
        """The first key at or after ``start``."""
        at = bisect_left(self._sorted, start)
        return self._sorted[at] if at < len(self._sorted) else None

    def close(self) -> None:
        """It is memory."""


class ProducerInMemory:
    """One transaction at a time. ``changelog``: what was committed to it, oldest first."""

    doubtful = False

    def __init__(self) -> None:
        self.used: set[str] = set()
        self.changelog: list[tuple[bytes, bytes | None]] = []
        self.committed: list[Output] = []
        self._open: list[Output] = []

    def begin(self) -> None:
        """Begins one."""
        self._open = []

    def check_size(self, topic: str, key: bytes | None, value: bytes | None, headers: Any) -> None:
        """Everything fits."""

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int = -1,
        headers: Any = None,
        timestamp_ms: int | None = None,
        on_delivery: Any = None,
    ) -> None:
        """Adds a record."""
        self.used.add(topic)
        self._open.append(Output(topic, key, value, headers))

    def log(self, topic: str, partition: int, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Adds rows of the changelog."""
        for row, value in rows:
            self.produce(topic, value, row, partition)

    def commit(self) -> None:
        """From here on it has happened."""
        for output in self._open:
            if output.topic == CHANGELOG:
                self.changelog.append((output.key or b"", output.value))
            else:
                self.committed.append(output)
        self._open = []

    def abort(self) -> None:
        """It never happened."""
        self._open = []

    def poll(self) -> None:
        """There is nothing to hear."""

    def close(self) -> None:
        """There is no client."""


class PartitionInMemory(Partition):
    """The partition itself; what it opens lies in memory, and outlives it."""

    def __init__(self, plan: Plan, producer: ProducerInMemory, store: RowsInMemory) -> None:
        super().__init__(plan, 0)
        self._topic_ids = dict.fromkeys(plan.inputs, _TOPIC_ID)
        self._producer = cast("TransactionalProducer", producer)
        self._store = cast("Store", store)
        self._go_on()
        self.phase = Phase.RUNNING


class Owner:
    """Whoever owns the partition at a time: the agent's work, what was committed, and the log it reads.

    ``work``: the agent's, one batch. ``clock``: ms since the epoch.
    """

    def __init__(
        self, inputs: Sequence[str], work: Callable[[Batch], None], dead_letter: DeadLetter, tuning: Tuning = USUAL
    ) -> None:
        self.now_ms = 0
        self._work = work
        self.metrics = Metrics()
        self.plan = Plan(
            app=CHANGELOG,
            inputs=tuple(inputs),
            changelog=CHANGELOG,
            folder=Path(),
            settings=_SETTINGS,
            tuning=tuning,
            topics=cast("Topics", None),
            cache=cast("Cache", None),
            metrics=self.metrics,
            dead_letter=dead_letter,
            clock_ms=lambda: self.now_ms,
        )
        self.producer = ProducerInMemory()
        self.store = RowsInMemory()
        self._log: dict[str, list[Record]] = {topic: [] for topic in inputs}
        self._restored = 0  # of the changelog, by the local store
        self.partition = PartitionInMemory(self.plan, self.producer, self.store)

    def append(self, topic: str, key: bytes | None, value: bytes | None, headers: Any = ()) -> None:
        """A record at the end of an input topic."""
        log = self._log[topic]
        log.append(Record(topic, 0, len(log), key, value, self.now_ms, headers or ()))

    def unread(self) -> int:
        """Records that no committed batch has read."""
        return sum(len(log) - (self.partition.next_offset(topic) or 0) for topic, log in self._log.items())

    def step(self, now_ms: int, crash: Crash = Crash.NOWHERE, records: int = 1000) -> list[Output] | None:
        """One batch with at most so many records; its outputs, once they are committed. None: there is nothing to do."""
        self.now_ms = now_ms
        partition = self.partition
        self._fetch(records)
        if not partition.has_work(now_ms):
            return None
        batch = partition.begin(now_ms)
        if batch is None:
            return []
        self._work(batch)
        before = len(self.producer.committed)
        if crash is Crash.BEFORE_COMMIT:
            self.producer.abort()
            self._succeed(self.store)
            return []
        if crash is Crash.BEFORE_WRITE:
            behind = RowsInMemory()
            behind.write(self.store.items(b""))
            partition.commit(batch)
            self._succeed(behind)
        else:
            partition.committed(batch, partition.commit(batch))
            if crash is Crash.MOVED:
                self._restored = 0
                self._succeed(RowsInMemory())
            else:
                self._restored = len(self.producer.changelog)
        return self.producer.committed[before:]

    def _fetch(self, records: int) -> None:
        self.partition.clear_queue()
        for topic, log in self._log.items():
            start = self.partition.next_offset(topic) or 0
            if fetched := log[start : start + records]:
                self.partition.accept(fetched)
                records -= len(fetched)

    def _succeed(self, store: RowsInMemory) -> None:
        """A new owner, with what a restore makes of a store (streams/runtime/restore.py): no look-up of what a row replaces."""
        for key, value in self.producer.changelog[self._restored :]:
            rows: list[tuple[bytes, bytes | None]] = [(key, value)]
            if key[:1] == TIMER and value is not None:
                rows.append((due_key_of(key, value), b""))
            rows.append((COUNT, None))
            store.write(rows)
        self._restored = len(self.producer.changelog)
        self.store = store
        self.partition = PartitionInMemory(self.plan, self.producer, store)
