"""The work of a hop, for those who drive it without our data plane: tables in dictionaries, an event's scope over any rows.

What is decided, rendered, sealed and remembered is the product's own code (`Intake.work`, `Notify.work`), so that contestants
differ only in how records come, go and are kept.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

from connectors.kafka import read_to_end
from connectors.sealing import KeyRing
from connectors.settings import Settings
from connectors.unsubscribing.links import Links
from schemas.codec import Codec
from schemas.registry import FileRegistry
from schemas.topics import GATES, POLICIES, RECIPIENTS, REQUESTED, TEMPLATES
from streams.app import notify_on
from streams.catalog import Catalog
from streams.intake import intake_on
from streams.roster import StaffRoster
from streams.runtime import Batch, DueTimer, Record
from streams.runtime.records import Headers
from streams.runtime.rows import DUE, STATE, TIMER, due_key, due_of, timer_of, timer_value
from streams.tables import Templates
from tests.bench.telling import tell

Emit: TypeAlias = Callable[[str, bytes | None, bytes | None, Headers | None], None]
"""topic, key, value, headers."""
Work: TypeAlias = Callable[[Batch], None]
_PRIORITIES = 4


class Rows(Protocol):
    """Where a contestant keeps its state. ``index`` rows are made from timers: they need no changelog."""

    def get(self, row: bytes) -> bytes | None: ...
    def put(self, row: bytes, value: bytes) -> None: ...
    def delete(self, row: bytes) -> None: ...
    def index(self, row: bytes, present: bool) -> None: ...
    def items(self, start: bytes) -> Iterator[tuple[bytes, bytes]]: ...


class Task(NamedTuple):
    """What a contestant is told to do: one hop over ``events`` records of ``source``, requests to ``requested``."""

    hop: str
    source: str
    requested: str
    changelog: str
    group: str
    events: int
    folder: str

    @classmethod
    def given(cls) -> Task:
        """From the command line."""
        return cls(**json.loads(sys.argv[1]))


class Scope:
    """One event's scope, as `streams.runtime.Event` is to an agent; but every change takes effect at once."""

    __slots__ = ("_emit", "_rows", "_subject")

    def __init__(self, subject: Record | DueTimer, rows: Rows, emit: Emit) -> None:
        self._subject, self._rows, self._emit = subject, rows, emit

    def __enter__(self) -> Scope:
        if type(self._subject) is DueTimer:
            self.cancel_timer(self._subject.timer_id)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to undo with: what a bare loop did is done."""

    def produce(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None = None) -> None:
        self._emit(topic, key, value, headers)

    def get(self, key: bytes) -> bytes | None:
        return self._rows.get(STATE + key)

    def put(self, key: bytes, value: bytes) -> None:
        self._rows.put(STATE + key, value)

    def delete(self, key: bytes) -> None:
        self._rows.delete(STATE + key)

    def scan(self, prefix: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        wanted = STATE + prefix
        found: list[tuple[bytes, bytes]] = []
        for row, value in self._rows.items(wanted):
            if len(found) == limit or not row.startswith(wanted):
                break
            found.append((row[1:], value))
        return found

    def set_timer(
        self, timer_id: bytes, due_ms: int, payload: bytes, priority: int = 2, *, fresh: bool = False
    ) -> None:
        if not fresh:
            self._drop_due(timer_id)
        self._rows.put(TIMER + timer_id, timer_value(due_ms, priority, payload))
        self._rows.index(due_key(priority, due_ms, timer_id), True)

    def cancel_timer(self, timer_id: bytes) -> bool:
        found = self._drop_due(timer_id)
        if found:
            self._rows.delete(TIMER + timer_id)
        return found

    def get_timer(self, timer_id: bytes) -> DueTimer | None:
        value = self._rows.get(TIMER + timer_id)
        return None if value is None else timer_of(timer_id, value)

    def _drop_due(self, timer_id: bytes) -> bool:
        timer = self.get_timer(timer_id)
        if timer is None:
            return False
        self._rows.index(due_key(timer.priority, timer.due_ms, timer_id), False)
        return True


class Batched:
    """Records of one partition and its due timers, as `streams.runtime.Batch` is to an agent."""

    def __init__(self, records: Sequence[Record], due: Iterable[DueTimer], now_ms: int, rows: Rows, emit: Emit) -> None:
        self.records, self.due, self.now_ms = records, due, now_ms
        self._rows, self._emit = rows, emit

    def event(self, subject: Record | DueTimer) -> Scope:
        return Scope(subject, self._rows, self._emit)


def work_on(
    work: Work, records: Sequence[Record], due: Iterable[DueTimer], now_ms: int, rows: Rows, emit: Emit
) -> None:
    """Does the hop's work on these."""
    work(cast(Batch, Batched(records, due, now_ms, rows, emit)))


def due_timers(rows: Rows, now_ms: int) -> list[DueTimer]:
    """What is due, by priority."""
    found: list[DueTimer] = []
    for priority in range(_PRIORITIES):
        start = DUE + bytes([priority])
        for row, _ in rows.items(start):
            if not row.startswith(start) or due_of(row)[1] > now_ms:
                break
            timer_id = due_of(row)[2]
            value = rows.get(TIMER + timer_id)
            if value is not None:
                found.append(timer_of(timer_id, value))
    return found


def hop_work(hop: str, settings: Settings) -> Work:
    """The product's own work of ``intake`` or ``notify``, over tables read whole into dictionaries."""
    codec, ring, catalog = Codec(FileRegistry()), KeyRing.load(settings.kek_path), Catalog.load()
    tables: dict[str, dict[bytes, bytes]] = {RECIPIENTS: {}, POLICIES: {}, GATES: {}, TEMPLATES: {}}
    for message in read_to_end(settings, list(tables)):
        key, value = message.key(), message.value()
        if key is not None and value is not None:
            tables[str(message.topic())][key] = value
    recipients, policies = tables[RECIPIENTS], tables[POLICIES]
    if hop == "intake":
        roster = StaffRoster(codec)
        for key, value in recipients.items():
            roster.changed(key, value)
        return intake_on(codec, ring, catalog, recipients=recipients, policies=policies, roster=roster)[0].work
    templates = Templates(codec)
    for key, value in tables[TEMPLATES].items():
        templates.changed(key, value)
    return notify_on(
        codec,
        ring,
        catalog,
        recipients=recipients,
        policies=policies,
        gates=tables[GATES],
        templates=templates,
        links=Links.of(settings, ring),
        email_from=settings.email_from,
    )[0].work


def wall_clock_ms() -> int:
    """Now."""
    return time.time_ns() // 1_000_000


class Stopwatch:
    """Times a contestant from its first record to its last; ``outputs`` counts what it produced, changelog apart."""

    def __init__(self, events: int) -> None:
        self._events = events
        self._began = self._cpu_began = 0.0
        self.done = self.outputs = 0

    def start(self) -> None:
        """At the first record."""
        if not self._began:
            self._began, self._cpu_began = time.perf_counter(), time.process_time()

    @property
    def is_over(self) -> bool:
        """Whether all was done."""
        return self.done >= self._events

    def tell(self) -> None:
        """Says how it went."""
        seconds, cpu = time.perf_counter() - self._began, time.process_time() - self._cpu_began
        tell(seconds=seconds, cpu_seconds=cpu, done=self.done, outputs=self.outputs)


def renamed(topic: str, task: Task) -> str:
    """Where an output goes: requests to the contestant's own topic, everything else where ours goes."""
    return task.requested if topic == REQUESTED else topic


def folder_of(task: Task) -> Path:
    """A fresh folder for state."""
    folder = Path(task.folder) / task.group
    folder.mkdir(parents=True)
    return folder


def as_record(topic: str, partition: int, offset: int, key: Any, value: Any, timestamp_ms: int, headers: Any) -> Record:
    """A record as the hop knows it."""
    return Record(topic, partition, offset, key, value, timestamp_ms, tuple(headers or ()))
