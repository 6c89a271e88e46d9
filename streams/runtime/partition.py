"""One partition of an app: its queue, its store, its producer, and the order in which they change.

begin ► the agent works ► outputs, changed rows and positions go into the transaction ► commit ► one write to the store.
Killed anywhere in between, the transaction was committed or it was not, and the next owner's restore finds out which.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import operator
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rocksdict import Cache

from connectors.settings import Settings
from streams.runtime.batch import Batch, DeadLetter, Event
from streams.runtime.clients import Topics, TransactionalProducer
from streams.runtime.errors import FatalError
from streams.runtime.metrics import Metrics
from streams.runtime.records import Record
from streams.runtime.restore import SOURCE, Restore, source_value
from streams.runtime.rows import COUNT, OUTPUT, POSITION, position_of, position_value
from streams.runtime.settle import outputs_between, outputs_of, settle, wait_decided
from streams.runtime.store import Store
from streams.runtime.timers import DueIndex, count_timers, count_value
from streams.runtime.tuning import Tuning

log = logging.getLogger(__name__)

__all__ = ["Batch", "Event", "Partition", "Plan"]


# Batches begin small, so that work of any slowness gets done within one transaction's time, and grow as fast as this.
_FIRST_BATCH_RECORDS = 64
_BATCH_GROWTH = 4
_ASK_AGAIN_SECONDS = 1.0  # while the broker is away
# Nothing more to fetch for so long: what the fetcher has read is in the queue by then.
_CAUGHT_UP_SECONDS = 0.1


class Phase(enum.Enum):
    """Where a partition stands."""

    OPENING = "opening"
    RUNNING = "running"
    SUSPENDED = "suspended"  # a rebalance is on; it may be ours again in a moment
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Plan:
    """What all partitions of one app have in common."""

    app: str
    inputs: tuple[str, ...]
    changelog: str
    folder: Path
    settings: Settings
    tuning: Tuning
    topics: Topics
    cache: Cache
    metrics: Metrics
    dead_letter: DeadLetter
    clock_ms: Callable[[], int]


class Partition:
    """One partition of one app in this process. Methods that block say so; the others are called by the event loop alone."""

    def __init__(self, plan: Plan, number: int) -> None:
        self._plan = plan
        self.number = number
        self.phase = Phase.OPENING
        self.paused = False  # full: not fetched until half of it is worked off
        self.beginnings: dict[
            str, int
        ] = {}  # topic → number of its last beginning; what was fetched before it is not ours
        self.work = asyncio.Event()  # there may be something to do
        self.idle = asyncio.Event()  # no batch of ours is being worked on or committed
        self.idle.set()
        self.progress_at = time.monotonic()  # when the position last moved, or there was last nothing to do
        self._queue: deque[list[Record]] = deque()
        self.queued_records = 0
        self.queued_bytes = 0
        self._positions: dict[str, int] = {}  # input topic → next offset
        self._topic_ids: dict[str, bytes] = {}
        self._changelog_id = b""
        self._changelog_next = -1
        self._closing = threading.Lock()
        self._batch_records = min(_FIRST_BATCH_RECORDS, plan.tuning.batch_records)
        self._began = 0.0
        self._outputs: set[str] = set()
        self._backlog: Mapping[str, int] = {}  # topic → end of its log when we came; read past it, empty
        self._backlog_until = 0.0  # on the monotonic clock
        self._caught_up_at: float | None = None

    # -- opening and closing ------------------------------------------------------------------------------------------

    def open(self, described: dict[str, tuple[bytes, int]]) -> None:
        """Fences the former owner, then restores. Blocking. ``described``: topic → (id, partitions) of inputs and changelog."""
        plan = self._plan
        self._topic_ids = {topic: described[topic][0] for topic in plan.inputs}
        self._changelog_id = described[plan.changelog][0]
        decided, end = plan.topics.decided_to(plan.changelog, self.number)
        self._producer = TransactionalProducer(plan.app, self.number, plan.settings, plan.tuning, plan.topics)
        self._producer.open(plan.tuning.open_timeout_seconds)
        self._store = Store(plan.folder / str(self.number), plan.tuning, plan.cache)
        self._restore()
        if decided < end or operator.lt(*plan.topics.decided_to(plan.changelog, self.number)):
            left = outputs_between(plan.settings, plan.changelog, self.number, decided, end)
            settle(self._producer, plan.topics, self._outputs | left, plan.changelog, self.number)
            self._restore()
        self._go_on()

    def _go_on(self) -> None:
        """From where the store stands."""
        self._due = DueIndex(self._store)
        self._plan.metrics.timers[self.number] = count_timers(self._store)
        for topic, topic_id in self._topic_ids.items():
            row = self._store.get(POSITION + topic.encode())
            if row is not None:
                kept_id, next_offset = position_of(row)
                if kept_id == topic_id:
                    self._positions[topic] = next_offset

    def _restore(self) -> None:
        plan = self._plan
        restore = Restore(
            self._store, plan.changelog, self._changelog_id, self.number, plan.settings, plan.tuning, plan.clock_ms
        )
        restoring = plan.metrics.restoring
        try:
            restore.run(lambda left: restoring.update({self.number: left}))
        finally:
            restoring.pop(self.number, None)
        plan.metrics.restored_records += restore.records
        plan.metrics.restore_seconds += restore.seconds
        self._outputs = outputs_of(self._store)

    def is_doubtful(self) -> bool:
        """Whether the broker went away since the last transaction."""
        if self.phase is not Phase.RUNNING or not self.idle.is_set():
            return False
        self._producer.poll()
        return self._producer.doubtful

    def reassure(self) -> None:
        """Returns when the last transaction is known to be decided. Blocking, for as long as the broker stays away.

        Raises FatalError when the broker is back and does not decide it: then this partition has to be opened anew.
        """
        while True:
            try:
                self._plan.topics.decided_to(self._plan.changelog, self.number)
            except FatalError as error:
                log.info("%s; asking again", error)
                time.sleep(_ASK_AGAIN_SECONDS)
            else:
                break
        self._producer.doubtful = False
        wait_decided(self._plan.topics, self._plan.changelog, self.number)

    def close(self) -> None:
        """Aborts what is open, frees the folder. Blocking. Safe after an open that failed or never ran."""
        with self._closing:
            self.phase = Phase.CLOSED
            self._plan.metrics.timers.pop(self.number, None)
            producer, store = getattr(self, "_producer", None), getattr(self, "_store", None)
            if producer is not None:
                if not self.idle.is_set():
                    producer.abort()
                producer.close()
                del self._producer
            if store is not None:
                store.close()
                del self._store

    # -- fetching -----------------------------------------------------------------------------------------------------

    def next_offset(self, topic: str) -> int | None:
        """The stored position; None where there is none (a new topic, or one created anew under an old name)."""
        return self._positions.get(topic)

    def hints(self) -> Iterable[tuple[str, int]]:
        """Positions by topic, as the group's committed offsets."""
        return self._positions.items()

    def clear_queue(self) -> None:
        """Drops what was fetched; it is fetched again from the position."""
        self._queue.clear()
        self._plan.metrics.queued_records -= self.queued_records
        self.queued_records = self.queued_bytes = 0
        self.paused = False

    def accept(self, records: list[Record]) -> None:
        """Queues records of one topic in their order."""
        self._queue.append(records)
        self.queued_records += len(records)
        self._plan.metrics.queued_records += len(records)
        self.queued_bytes += sum(len(record.value) for record in records if record.value is not None)

    @property
    def is_closed(self) -> bool:
        """Whether it has gone to another owner."""
        return self.phase is Phase.CLOSED

    @property
    def is_full(self) -> bool:
        """Whether fetching this partition should pause."""
        tuning = self._plan.tuning
        return self.queued_records >= tuning.queue_records or self.queued_bytes >= tuning.queue_bytes

    @property
    def has_room(self) -> bool:
        """Whether a paused partition should be fetched again."""
        tuning = self._plan.tuning
        return self.queued_records * 2 <= tuning.queue_records and self.queued_bytes * 2 <= tuning.queue_bytes

    def catch_up(self, ends: Mapping[str, int]) -> None:
        """Timers wait until the input before these ends (by topic) was worked on, for it may withdraw them; not for ever."""
        self._backlog, self._caught_up_at = ends, None
        self._backlog_until = time.monotonic() + self._plan.tuning.catch_up_seconds

    def may_fire(self, fetched: Callable[[], Mapping[tuple[str, int], int]]) -> bool:
        """Whether it has caught up with its input. ``fetched``: the fetcher's positions."""
        if not self._backlog:
            return True
        now, positions = time.monotonic(), fetched()
        behind = (positions.get((topic, self.number), -1) < end for topic, end in self._backlog.items())
        if now < self._backlog_until:
            if self.queued_records or any(behind):
                self._caught_up_at = None
                return False
            self._caught_up_at = self._caught_up_at or now
            if now - self._caught_up_at < _CAUGHT_UP_SECONDS:
                return False
        self._backlog = {}
        return True

    # -- one transaction ----------------------------------------------------------------------------------------------

    def has_work(self, now_ms: int, *, timers: bool = True) -> bool:
        """Whether a batch can begin now, with due timers or without."""
        if self.phase is not Phase.RUNNING or not self.idle.is_set():
            return False
        if self._queue:
            return True
        earliest_ms = self._due.earliest_ms() if timers else None
        return earliest_ms is not None and earliest_ms <= now_ms

    def earliest_due_ms(self) -> int | None:
        """When the next timer is due."""
        return self._due.earliest_ms()

    @property
    def known_due_ms(self) -> int | None:
        """When the next timer is due, as last looked up; for other threads."""
        due: DueIndex | None = getattr(self, "_due", None)
        return None if due is None else due.known_ms

    def begin(self, now_ms: int, *, timers: bool = True) -> Batch | None:
        """Begins a transaction over the next records and due timers; None when all of them were done in an earlier one.

        Neither starves the other: records have all the batch they need, timers what is left of it, and half of one at least.
        """
        records = self._take()
        room = max(self._batch_records - len(records), (self._batch_records + 1) // 2)
        due = self._due.due(now_ms, min(room, self._plan.tuning.batch_timers)) if timers else []
        if not records and not due:
            return None
        self._producer.begin()
        self.idle.clear()
        self._began = time.monotonic()
        return Batch(
            self.number,
            records,
            due,
            now_ms,
            changelog=self._plan.changelog,
            store=self._store,
            producer=self._producer,
            dead_letter=self._plan.dead_letter,
            metrics=self._plan.metrics,
        )

    def _take(self) -> list[Record]:
        tuning, positions = self._plan.tuning, self._positions
        taken: list[Record] = []
        size = 0
        while self._queue and len(taken) < self._batch_records and size < tuning.batch_bytes:
            chunk = self._queue.popleft()
            room = self._batch_records - len(taken)
            if len(chunk) > room:
                self._queue.appendleft(chunk[room:])
                chunk = chunk[:room]
            self.queued_records -= len(chunk)
            self._plan.metrics.queued_records -= len(chunk)
            chunk_bytes = sum(len(record.value) for record in chunk if record.value is not None)
            self.queued_bytes -= chunk_bytes
            size += chunk_bytes
            position = positions.get(chunk[0].topic, -1)
            if chunk[0].offset < position:
                fresh = [record for record in chunk if record.offset >= position]
                self._plan.metrics.skipped += len(chunk) - len(fresh)
                chunk = fresh
            taken += chunk
        return taken

    def worked(self, batch: Batch) -> None:
        """The agent is done with the batch. How long it took decides how large the next one may be."""
        events = len(batch.records) + len(batch.due)
        seconds = max(time.monotonic() - self._began, 1e-6)
        self._plan.metrics.work_seconds.observe(seconds, self._plan.app)
        fitting = int(events * self._plan.tuning.batch_seconds / seconds)
        limit = min(self._batch_records * _BATCH_GROWTH, fitting if fitting > 0 else 1, self._plan.tuning.batch_records)
        if limit < self._batch_records or events >= self._batch_records:  # a small batch says little of a large one
            self._batch_records = max(1, limit)

    def commit(self, batch: Batch) -> dict[str, int]:
        """Commits the batch and writes it to the store. Blocking. Returns the new positions, for ``committed``."""
        producer, changelog, number = self._producer, self._plan.changelog, self.number
        rows = list(batch._overlay.items())
        batch.send_held()
        producer.used.discard(changelog)
        if not producer.used <= self._outputs:  # before anything is committed there: settle has to know
            fresh = producer.used - self._outputs
            rows += [(OUTPUT + topic.encode(), b"") for topic in fresh]
            self._outputs |= fresh
        producer.log(changelog, number, rows)
        positions: dict[str, int] = {}
        for record in batch.records:
            positions[record.topic] = record.offset + 1
        last = len(positions)
        for topic, next_offset in positions.items():
            last -= 1
            row, value = POSITION + topic.encode(), position_value(self._topic_ids[topic], next_offset)
            producer.produce(changelog, value, row, number, on_delivery=self._changelog_grew if last == 0 else None)
            rows.append((row, value))
        producer.commit()
        rows += batch._due_changes.items()
        if batch.timers:
            rows.append((COUNT, count_value(self._plan.metrics.timers[number] + batch.timers)))
        if self._changelog_next >= 0:
            rows.append((SOURCE, source_value(self._changelog_id, self._changelog_next, self._plan.clock_ms())))
        self._store.write(rows)
        return positions

    def _changelog_grew(self, error: Any, message: Any) -> None:
        if error is None:
            self._changelog_next = message.offset() + 1

    def committed(self, batch: Batch, positions: dict[str, int]) -> None:
        """What the event loop has to know of a finished commit."""
        self._positions.update(positions)
        self._plan.metrics.timers[self.number] += batch.timers
        self._due.applied(batch._due_changes.items())
        self.idle.set()
        self.progress_at = time.monotonic()

    def is_behind(
        self, positions: Mapping[tuple[str, int], int], ends: Mapping[tuple[str, int], int], now_ms: int
    ) -> bool:
        """Whether there is work, given the fetcher's positions and the logs' ends. From any thread."""
        if self.queued_records or not self.idle.is_set():
            return True
        earliest_ms = self._due.known_ms
        if earliest_ms is not None and earliest_ms < now_ms:
            return True
        tps = [(topic, self.number) for topic in self._plan.inputs]
        return any(positions.get(tp, ends[tp]) < ends[tp] for tp in tps if tp in ends)

    def check_topics(self, described: dict[str, tuple[bytes, int]]) -> None:
        """Raises FatalError when an input or the changelog was deleted and created anew under our feet."""
        for topic, topic_id in [*self._topic_ids.items(), (self._plan.changelog, self._changelog_id)]:
            if topic_id and described[topic][0] != topic_id:
                raise FatalError(f"topic {topic} was deleted and created anew; starting over from its beginning")
