"""Making a partition's store from its changelog.

From the position kept in the store to the changelog's end, in bulk writes. The end is a position, not a last record: what
lies there is a transaction's control record, which no reader is ever given. An error on the way is fatal. A store that is
only half there is never opened: an empty consent state would open what is closed.
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from connectors.settings import Settings
from streams.runtime.clients import is_end, log_start, reader, transient
from streams.runtime.errors import FatalError, fatal_from
from streams.runtime.rows import COUNT, META, TIMER, due_key_of
from streams.runtime.store import Store
from streams.runtime.tuning import Tuning

log = logging.getLogger(__name__)

SOURCE = META + b"changelog"  # what this store is a copy of: topic id, next offset, when that was read
_SOURCE_VALUE = struct.Struct(">16sqq")
_CONSUME_SECONDS = 0.5
# A reader that is given nothing, not even its end, for so long has lost the broker; the supervisor starts us again.
_SILENCE_SECONDS = 60.0
_MS_PER_HOUR = 3_600_000


def source_value(topic_id: bytes, next_offset: int, now_ms: int) -> bytes:
    """The row that says up to where of which log the store is a copy."""
    return _SOURCE_VALUE.pack(topic_id, next_offset, now_ms)


def source_of(value: bytes) -> tuple[bytes, int, int]:
    """(topic id, next offset, read at ms) of a source row."""
    topic_id, next_offset, read_ms = _SOURCE_VALUE.unpack(value)
    return topic_id, next_offset, read_ms


def reusable_from(store: Store, topic_id: bytes, low: int, end: int, now_ms: int, tuning: Tuning) -> int:
    """The offset from which the store has to be read on; a store that cannot be trusted is emptied first."""
    value = store.get(SOURCE)
    if value is None:
        if store.first(b"") is not None:
            store.wipe()
        return low
    kept_id, next_offset, read_ms = source_of(value)
    if kept_id != topic_id:
        reason = "it is a copy of a topic that was deleted"
    elif next_offset > end:
        reason = f"it is ahead of its changelog ({next_offset} > {end})"
    elif now_ms - read_ms > tuning.store_reuse_hours * _MS_PER_HOUR:
        reason = "it is older than the changelog keeps tombstones"
    else:
        return max(next_offset, low)
    log.warning("local store emptied and restored: %s", reason)
    store.wipe()
    return low


class Restore:
    """One partition's restore. ``records`` and ``seconds`` say what it took."""

    def __init__(
        self,
        store: Store,
        topic: str,
        topic_id: bytes,
        partition: int,
        settings: Settings,
        tuning: Tuning,
        clock_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._topic, self._topic_id, self._partition = topic, topic_id, partition
        self._settings, self._tuning, self._clock_ms = settings, tuning, clock_ms
        self.records = 0
        self.seconds = 0.0

    def run(self, progress: Callable[[int], None] = lambda left: None) -> None:
        """Reads to the end, telling ``progress`` how many offsets are left. Blocking.

        Raises FatalError, and then the store must not be used.
        """
        began = time.monotonic()
        consumer = reader(self._settings)
        try:
            low, end = log_start(consumer, self._topic, self._partition)
            start = reusable_from(self._store, self._topic_id, low, end, self._clock_ms(), self._tuning)
            if start < end:
                consumer.assign([TopicPartition(self._topic, self._partition, start)])
                self._read(consumer, start, end, progress)
                self._store.flush()  # before the row that vouches for it
            source = source_value(self._topic_id, max(start, end), self._clock_ms())
            self._store.write([(SOURCE, source), *([(COUNT, None)] if self.records else [])])
        except KafkaException as error:
            raise fatal_from(f"restore of {self._topic}[{self._partition}]", error) from error
        finally:
            consumer.close()
        self.seconds = time.monotonic() - began

    def _read(self, consumer: Consumer, start: int, end: int, progress: Callable[[int], None]) -> None:
        position = -1
        progress(end - start)
        heard = time.monotonic()
        while position < end:
            rows: list[tuple[bytes, bytes | None]] = []
            for message in consumer.consume(self._tuning.restore_records, _CONSUME_SECONDS):
                error = message.error()
                if error is None:
                    key, value = message.key(), message.value()
                    if key is None:
                        raise FatalError(
                            f"{self._topic}[{self._partition}]@{message.offset()}: a changelog record without key"
                        )
                    rows.append((key, value))
                    if key[:1] == TIMER and value is not None:
                        rows.append((due_key_of(key, value), b""))
                    position = (message.offset() or 0) + 1
                elif is_end(error):
                    position = message.offset() or 0
                elif not transient(error):
                    raise KafkaException(error)
            if rows:
                self._store.write_bulk(rows)
                self.records += len(rows)
            if position >= 0:
                progress(max(0, end - position))
            if rows or position >= end:
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENCE_SECONDS:
                raise FatalError(
                    f"restore of {self._topic}[{self._partition}]: silent for {_SILENCE_SECONDS:.0f} s at {position}/{end}"
                )
