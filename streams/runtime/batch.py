"""What an agent works on: a batch inside an open transaction, and in it one scope for each event.

A scope keeps what one event did together. Left without an exception, its outputs go to the transaction and its changes to
the overlay that later events of the batch read. Left by an exception, all of it is dropped, and the event's dead letter
goes into the same transaction. So one event never blocks, loses or colours its neighbours.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, TypeAlias

from streams.runtime.errors import FatalError, OutputTooLarge, refuse_surroundings
from streams.runtime.metrics import Metrics
from streams.runtime.records import DueTimer, Headers, Output, Record
from streams.runtime.rows import MAX_DUE_MS, STATE, TIMER, due_key, due_key_of, timer_of, timer_value
from streams.runtime.store import Rows

Subject: TypeAlias = Record | DueTimer
DeadLetter: TypeAlias = Callable[[Subject, BaseException, "Batch"], Output]


class Outlet(Protocol):
    """The open transaction, as a batch sees it."""

    def check_size(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None) -> None:
        """Raises OutputTooLarge."""

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int = -1,
        headers: Headers | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Adds a record."""


# What is kept of a record whose dead letter would be larger than its topic takes.
_TRUNCATED_BYTES = 64 * 1024
_MAX_PRIORITY = 255
# Outputs of a batch held back until its commit, when all of its topics go to the broker in one request: librdkafka asks for the
# first topic at once, and for those named after it only when that was answered. More than these are sent while work goes on.
_HELD_OUTPUTS = 256
_NORMAL = 2  # lanes: 0 critical, 1 high, 2 normal, 3 low


class Event:
    """One event's scope; made by ``Batch.event``. Keys, values and payloads are bytes."""

    __slots__ = ("_batch", "_buried", "_changes", "_due", "_outputs", "_timers", "subject")

    def __init__(self, batch: Batch, subject: Subject) -> None:
        self._batch = batch
        self.subject = subject
        self._changes: dict[bytes, bytes | None] | None = None
        self._due: dict[bytes, bytes | None] | None = None
        self._outputs: list[tuple[str, bytes | None, bytes | None, int, Headers | None, int | None]] | None = None
        self._buried: list[tuple[Subject, Exception]] | None = None
        self._timers = 0  # those it set that were not there, less those it cancelled

    def __enter__(self) -> Event:
        if type(self.subject) is DueTimer:
            self._begin_firing(self.subject)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            self._batch._keep(self)
            return False
        if not isinstance(error, Exception):
            return False
        refuse_surroundings(error, _topic(self.subject))
        self._batch._bury(self.subject, error)
        return True

    @contextmanager
    def part(self, subject: Subject) -> Iterator[None]:
        """Something the event does for ``subject``, one of several. An exception drops what the part did, and no more.

        The subject's dead letter goes out with the rest of the event, and is lost with it. A part takes a copy of what the event
        did so far: for events of many subjects, not for every event.
        """
        changes = None if self._changes is None else dict(self._changes)
        due = None if self._due is None else dict(self._due)
        outputs = None if self._outputs is None else list(self._outputs)
        timers = self._timers
        try:
            yield
        except Exception as error:  # noqa: BLE001 - as with events: whatever it is, it is this subject's
            refuse_surroundings(error, _topic(self.subject))
            self._changes, self._due, self._outputs, self._timers = changes, due, outputs, timers
            self._buried = [*(self._buried or ()), (subject, error)]

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Adds an output. Without ``partition`` the key decides (murmur2). Raises OutputTooLarge."""
        self._batch._producer.check_size(topic, key, value, headers)
        output = (topic, value, key, -1 if partition is None else partition, headers, timestamp_ms)
        if self._outputs is None:
            self._outputs = [output]
        else:
            self._outputs.append(output)

    def get(self, key: bytes) -> bytes | None:
        """The state's value, with what this and earlier events of the batch changed."""
        return self._read(STATE + key)

    def put(self, key: bytes, value: bytes) -> None:
        """Sets a state value. Raises OutputTooLarge."""
        self._change(STATE + key, value)

    def delete(self, key: bytes) -> None:
        """Removes a state value, if there is one."""
        self._change(STATE + key, None)

    def scan(self, prefix: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """The first ``limit`` state keys that begin with ``prefix``, in order, with their values."""
        return self._batch._scan(STATE + prefix, limit, self._changes)

    def set_timer(
        self, timer_id: bytes, due_ms: int, payload: bytes, priority: int = _NORMAL, *, fresh: bool = False
    ) -> None:
        """Sets a timer, in place of one with the same id. ``due_ms``: ms since the epoch. Raises ValueError, OutputTooLarge.

        ``fresh``: the caller knows that there is none of this id; then it is not looked for.
        """
        if not 0 <= due_ms <= MAX_DUE_MS:
            raise ValueError(f"due_ms: {due_ms} is no time in ms since the epoch")
        if not 0 <= priority <= _MAX_PRIORITY:
            raise ValueError(f"priority: {priority} is not within 0 to {_MAX_PRIORITY}")
        if fresh or not self._drop_due(timer_id):
            self._timers += 1
        self._change(TIMER + timer_id, timer_value(due_ms, priority, payload))
        self._mark_due(due_key(priority, due_ms, timer_id), b"")

    def cancel_timer(self, timer_id: bytes) -> bool:
        """Removes a timer; False when there is none."""
        if not self._drop_due(timer_id):
            return False
        self._timers -= 1
        self._change(TIMER + timer_id, None)
        return True

    def get_timer(self, timer_id: bytes) -> DueTimer | None:
        """The timer as it stands."""
        value = self._read(TIMER + timer_id)
        return None if value is None else timer_of(timer_id, value)

    def _begin_firing(self, timer: DueTimer) -> None:
        if not self._batch._is_live(timer):
            raise FatalError(
                "a timer that an earlier event changed: take timers from Batch.due one by one, as they come"
            )
        self.cancel_timer(timer.timer_id)

    def _read(self, row: bytes) -> bytes | None:
        changes = self._changes
        if changes is not None and row in changes:
            return changes[row]
        return self._batch._read(row)

    def _change(self, row: bytes, value: bytes | None) -> None:
        self._batch._check_state(row, value)
        if self._changes is None:
            self._changes = {row: value}
        else:
            self._changes[row] = value

    def _drop_due(self, timer_id: bytes) -> bool:
        row = TIMER + timer_id
        value = self._read(row)
        if value is None:
            return False
        self._mark_due(due_key_of(row, value), None)
        return True

    def _mark_due(self, key: bytes, value: bytes | None) -> None:
        if self._due is None:
            self._due = {key: value}
        else:
            self._due[key] = value


class _DueNow:
    """The timers of a batch, given out one by one: those that an earlier event of it cancelled or moved are left out."""

    __slots__ = ("_batch", "_timers")

    def __init__(self, batch: Batch, timers: list[DueTimer]) -> None:
        self._batch = batch
        self._timers = timers

    def __iter__(self) -> Iterator[DueTimer]:
        return (timer for timer in self._timers if self._batch._is_live(timer))

    def __len__(self) -> int:
        return len(self._timers)

    def __bool__(self) -> bool:
        return bool(self._timers)


class Batch:
    """Records and due timers of one partition, inside its open transaction. Time (``now_ms``): ms since the epoch."""

    __slots__ = (
        "_changelog",
        "_dead_letter",
        "_due_changes",
        "_held",
        "_held_outputs",
        "_metrics",
        "_overlay",
        "_producer",
        "_sorted_rows",
        "_store",
        "due",
        "now_ms",
        "partition",
        "records",
        "timers",
    )

    def __init__(
        self,
        partition: int,
        records: list[Record],
        due: list[DueTimer],
        now_ms: int,
        *,
        changelog: str,
        store: Rows,
        producer: Outlet,
        dead_letter: DeadLetter,
        metrics: Metrics,
        held_outputs: int = _HELD_OUTPUTS,
    ) -> None:
        self.partition = partition
        self.records = records
        self.due = _DueNow(self, due)
        self.now_ms = now_ms
        self._changelog = changelog
        self._store = store
        self._producer = producer
        self._dead_letter = dead_letter
        self._metrics = metrics
        self.timers = 0  # by how many there are more, once it is committed
        self._overlay: dict[bytes, bytes | None] = {}
        self._due_changes: dict[bytes, bytes | None] = {}
        self._held_outputs = held_outputs
        self._held: list[tuple[str, bytes | None, bytes | None, int, Headers | None, int | None]] = []
        self._sorted_rows: list[bytes] | None = None  # of the overlay; kept only once something was scanned

    def event(self, subject: Subject) -> Event:
        """The scope of one record or timer: ``with batch.event(record) as event: …``."""
        return Event(self, subject)

    def __repr__(self) -> str:
        return f"<Batch partition={self.partition} records={len(self.records)} due={len(self.due)}>"

    def send_held(self) -> None:
        """Hands the outputs so far to the open transaction."""
        held, self._held = self._held, []
        for output in held:
            self._producer.produce(*output)

    def _keep(self, event: Event) -> None:
        outputs = event._outputs
        if outputs is not None:
            self._held += outputs
            if len(self._held) > self._held_outputs:
                self.send_held()
            self._metrics.outputs += len(outputs)
        changes = event._changes
        if changes is not None:
            self._add(changes)
            if event._due is not None:
                self._due_changes.update(event._due)
                self.timers += event._timers
        for subject, error in event._buried or ():
            self._send_letter(subject, error)
        self._metrics.events += 1
        if type(event.subject) is DueTimer:
            self._metrics.timers_fired += 1

    def _add(self, changes: dict[bytes, bytes | None]) -> None:
        if self._sorted_rows is not None:
            for row in changes:
                if row not in self._overlay:
                    insort(self._sorted_rows, row)
        self._overlay.update(changes)

    def _bury(self, subject: Subject, error: Exception) -> None:
        if type(subject) is DueTimer:  # it must not fire again
            row = TIMER + subject.timer_id
            self._due_changes[due_key(subject.priority, subject.due_ms, subject.timer_id)] = None
            self.timers -= 1
            self._add({row: None})
        self._send_letter(subject, error)

    def _send_letter(self, subject: Subject, error: Exception) -> None:
        letter = self._dead_letter(subject, error, self)
        try:
            self._producer.check_size(letter.topic, letter.key, letter.value, letter.headers)
        except OutputTooLarge as too_large:
            too_large.__cause__ = error
            letter = self._dead_letter(_truncated(subject), too_large, self)
            try:
                self._producer.check_size(letter.topic, letter.key, letter.value, letter.headers)
            except OutputTooLarge as still:
                raise FatalError(
                    f"dead letter of {subject!r}: {still}; raise max.message.bytes of {letter.topic}"
                ) from error
        partition = -1 if letter.partition is None else letter.partition
        self._held.append((letter.topic, letter.value, letter.key, partition, letter.headers, letter.timestamp_ms))
        if len(self._held) > self._held_outputs:
            self.send_held()
        self._metrics.buried(error)

    def _is_live(self, timer: DueTimer) -> bool:
        row = TIMER + timer.timer_id
        return row not in self._overlay or self._overlay[row] == timer_value(
            timer.due_ms, timer.priority, timer.payload
        )

    def _read(self, row: bytes) -> bytes | None:
        overlay = self._overlay
        return overlay[row] if row in overlay else self._store.get(row)

    def _check_state(self, row: bytes, value: bytes | None) -> None:
        self._producer.check_size(self._changelog, row, value, None)

    def _scan(self, prefix: bytes, limit: int, changes: dict[bytes, bytes | None] | None) -> list[tuple[bytes, bytes]]:
        changed = self._changed_rows(prefix)
        if changes is not None:
            for row in changes:
                if row.startswith(prefix) and row not in self._overlay:
                    insort(changed, row)
        found: list[tuple[bytes, bytes]] = []
        stored = self._store.items(prefix)
        row, value = next(stored, (b"", b""))
        at = 0
        while len(found) < limit:
            in_store = row.startswith(prefix)
            if at < len(changed) and (not in_store or changed[at] <= row):
                newest = (
                    changes[changed[at]]
                    if changes is not None and changed[at] in changes
                    else self._overlay[changed[at]]
                )
                if newest is not None:
                    found.append((changed[at][1:], newest))
                if in_store and changed[at] == row:
                    row, value = next(stored, (b"", b""))
                at += 1
            elif in_store:
                found.append((row[1:], value))
                row, value = next(stored, (b"", b""))
            else:
                break
        return found

    def _changed_rows(self, prefix: bytes) -> list[bytes]:
        if self._sorted_rows is None:
            self._sorted_rows = sorted(self._overlay)
        rows = self._sorted_rows
        at = bisect_left(rows, prefix)
        found: list[bytes] = []
        while at < len(rows) and rows[at].startswith(prefix):
            found.append(rows[at])
            at += 1
        return found


def _topic(subject: Subject) -> str:
    return subject.topic if isinstance(subject, Record) else ""


def _truncated(subject: Subject) -> Subject:
    if isinstance(subject, Record):
        value = None if subject.value is None else subject.value[:_TRUNCATED_BYTES]
        return Record(subject.topic, subject.partition, subject.offset, subject.key, value, subject.timestamp_ms)
    return DueTimer(subject.timer_id, subject.due_ms, subject.priority, subject.payload[:_TRUNCATED_BYTES])
