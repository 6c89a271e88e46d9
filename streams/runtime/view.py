"""A view: a compacted topic, followed by a plain reader outside the group into a local store, for agents to look things up in.

"Not yet read" and "there is none" are never confused: a partition runs only when the views it needs have been read to the
end seen at its assignment, and a look-up before that raises. A read error ends the process; it is never an empty answer.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition, murmur2

from streams.runtime.clients import is_end, log_start, reader, transient
from streams.runtime.errors import FatalError, NotReadyError, fatal_from
from streams.runtime.partition import Plan
from streams.runtime.restore import source_of, source_value
from streams.runtime.store import Store

log = logging.getLogger(__name__)

OnChange = Callable[[bytes, bytes | None], None]

_CONSUME_RECORDS = 5000
_CONSUME_SECONDS = 0.1  # and so how late a change of the assignment is noticed
_READY_POLL_SECONDS = 0.01
_TELL_SECONDS = 30.0  # a view of millions is read within it
_SOURCE = (
    b"\xff\xff"  # rows of the disk store that say up to where each partition was read; no partition has this number
)
_MS_PER_HOUR = 3_600_000


class _Rows(Protocol):
    """Where a view keeps its rows, by partition."""

    def get(self, number: int, key: bytes) -> bytes | None: ...
    def write(self, number: int, rows: dict[bytes, bytes | None], next_offset: int) -> None: ...
    def resume_at(self, number: int, low: int, end: int) -> int: ...
    def close(self) -> None: ...


class _MemoryRows:
    """A dict for each partition; read anew at every start."""

    def __init__(self) -> None:
        self._rows: dict[int, dict[bytes, bytes]] = {}

    def get(self, number: int, key: bytes) -> bytes | None:
        return self._rows[number].get(key)

    def write(self, number: int, rows: dict[bytes, bytes | None], next_offset: int) -> None:
        kept = self._rows[number]
        for key, value in rows.items():
            if value is None:
                kept.pop(key, None)
            else:
                kept[key] = value

    def resume_at(self, number: int, low: int, end: int) -> int:
        self._rows[number] = {}
        return low

    def close(self) -> None:
        self._rows.clear()


class _DiskRows:
    """One RocksDB for all partitions of the view; read on from where it stood, when that can be trusted."""

    def __init__(self, plan: Plan, topic: str, topic_id: bytes) -> None:
        self._plan, self._topic_id = plan, topic_id
        self._store = Store(plan.folder / f"view-{topic}", plan.tuning, plan.cache)

    def get(self, number: int, key: bytes) -> bytes | None:
        return self._store.get(number.to_bytes(2, "big") + key)

    def write(self, number: int, rows: dict[bytes, bytes | None], next_offset: int) -> None:
        prefix = number.to_bytes(2, "big")
        changes: list[tuple[bytes, bytes | None]] = [(prefix + key, value) for key, value in rows.items()]
        changes.append((_SOURCE + prefix, source_value(self._topic_id, next_offset, self._plan.clock_ms())))
        self._store.write(changes)

    def resume_at(self, number: int, low: int, end: int) -> int:
        prefix = number.to_bytes(2, "big")
        value = self._store.get(_SOURCE + prefix)
        if value is not None:
            kept_id, next_offset, read_ms = source_of(value)
            too_old = self._plan.clock_ms() - read_ms > self._plan.tuning.store_reuse_hours * _MS_PER_HOUR
            if kept_id == self._topic_id and low <= next_offset <= end and not too_old:
                return next_offset
        self._store.delete_range(prefix, (number + 1).to_bytes(2, "big"))
        return low

    def close(self) -> None:
        self._store.close()


@dataclass(slots=True)
class _Following:
    """One partition as the reader stands in it."""

    next_offset: int
    ready_at: int


class View:
    """A local copy of one compacted topic.

    ``partitions``: "all" of the topic, or only the "assigned" ones of the app. ``kept``: in "memory" (small, whole tables) or on
    "disk". ``on_change(key, value or None)`` is called in the reader's thread after the copy has changed, so that a user can
    drop what it had decoded; it must be quick and must not raise.
    """

    def __init__(
        self,
        topic: str,
        *,
        partitions: Literal["all", "assigned"] = "all",
        kept: Literal["memory", "disk"] = "memory",
        on_change: OnChange | None = None,
    ) -> None:
        self.topic = topic
        self._scope, self._kept, self._on_change = partitions, kept, on_change
        self._count = 0
        self._wanted: frozenset[int] = frozenset()
        self._ready: frozenset[int] = frozenset()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def get(self, key: bytes) -> bytes | None:
        """The value; None when the topic has none. Raises NotReadyError when the key's partition is not read to its end."""
        number = murmur2(key, self._count) if self._count else -1
        if number not in self._ready:
            raise NotReadyError(f"view of {self.topic}: partition {number} is not read to its end yet")
        return self._rows.get(number, key)

    @property
    def ready(self) -> bool:
        """Whether every partition it follows has been read to the end seen at assignment."""
        return bool(self._count) and self._wanted <= self._ready

    def start(self, plan: Plan, on_error: Callable[[BaseException], None]) -> None:
        """Begins to follow. Blocking for one question to the broker. ``on_error`` is called in the reader's thread."""
        topic_id, self._count = plan.topics.describe([self.topic])[self.topic]
        self._plan, self._on_error = plan, on_error
        self._rows: _Rows = _DiskRows(plan, self.topic, topic_id) if self._kept == "disk" else _MemoryRows()
        if self._scope == "all":
            self._wanted = frozenset(range(self._count))
        self._thread = threading.Thread(target=self._run, name=f"view-{self.topic}", daemon=True)
        self._thread.start()

    def follow(self, numbers: Iterable[int]) -> None:
        """The app's partitions changed."""
        if self._scope == "assigned":
            self._wanted = frozenset(numbers)

    async def wait_ready(self, number: int) -> None:
        """Returns when what partition ``number`` of the app may ask for has been read to its end."""
        tell_at = time.monotonic() + _TELL_SECONDS
        while not (number in self._ready if self._scope == "assigned" else self.ready):
            if self._scope == "assigned" and number not in self._wanted:
                return  # revoked meanwhile
            if time.monotonic() > tell_at:
                tell_at += _TELL_SECONDS
                log.warning("partition %d waits for the view of %s to be read to its end", number, self.topic)
            await asyncio.sleep(_READY_POLL_SECONDS)

    def stop(self) -> None:
        """Ends the reader. Blocking, up to a fetch."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._rows.close()

    # -- the reader's thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        consumer = reader(self._plan.settings)
        following: dict[int, _Following] = {}
        try:
            while not self._stopping.is_set():
                self._assign(consumer, following)
                self._read(consumer, following)
        except KafkaException as error:
            self._fail(fatal_from(f"view of {self.topic}", error))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the copy can no longer be trusted
            self._fail(error)
        finally:
            consumer.close()

    def _fail(self, error: BaseException) -> None:
        self._ready = frozenset()
        self._on_error(error)

    def _assign(self, consumer: Consumer, following: dict[int, _Following]) -> None:
        wanted = self._wanted
        gone = following.keys() - wanted
        if gone:
            self._ready -= gone
            consumer.incremental_unassign([TopicPartition(self.topic, number) for number in gone])
            for number in gone:
                del following[number]
        for number in wanted - following.keys():
            low, end = log_start(consumer, self.topic, number)
            start = self._rows.resume_at(number, low, end)
            following[number] = _Following(start, end)
            consumer.incremental_assign([TopicPartition(self.topic, number, start)])
        self._note_ready(following)

    def _read(self, consumer: Consumer, following: dict[int, _Following]) -> None:
        if not following:
            self._stopping.wait(_CONSUME_SECONDS)
            return
        changed: dict[int, dict[bytes, bytes | None]] = {}
        # The first record at once, and whatever else is there; consume() alone would hold it back for a whole batch.
        first = consumer.poll(_CONSUME_SECONDS)
        messages = [] if first is None else [first, *consumer.consume(_CONSUME_RECORDS, 0)]
        for message in messages:
            number = message.partition()
            one = following.get(number) if number is not None else None
            if one is None or number is None:
                continue
            error = message.error()
            if error is None:
                changed.setdefault(number, {})[self._key(message)] = message.value()
                one.next_offset = (message.offset() or 0) + 1
            elif is_end(error):
                one.next_offset = message.offset() or 0
            elif not transient(error):
                raise KafkaException(error)
        for number, rows in changed.items():
            self._rows.write(number, rows, following[number].next_offset)
            if self._on_change is not None:
                for key, value in rows.items():
                    self._on_change(key, value)
        self._note_ready(following)
        self._note_lag(consumer, following)

    def _key(self, message: Message) -> bytes:
        key = message.key()
        if not isinstance(key, bytes):
            raise FatalError(
                f"{self.topic}[{message.partition()}]@{message.offset()}: a record without a key in a compacted topic"
            )
        return key

    def _note_ready(self, following: dict[int, _Following]) -> None:
        fresh = {number for number, one in following.items() if one.next_offset >= one.ready_at} - self._ready
        if fresh:
            self._ready |= fresh

    def _note_lag(self, consumer: Consumer, following: dict[int, _Following]) -> None:
        lag = 0
        for number, one in following.items():
            _, end = consumer.get_watermark_offsets(TopicPartition(self.topic, number), cached=True)
            lag += max(0, end - one.next_offset)
        self._plan.metrics.view_lag_records[self.topic] = lag
