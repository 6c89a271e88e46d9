"""Every topic into ClickHouse, each record exactly once in every query.

A turn: cut a range from each partition that has records ► persist the ranges (and that the former ones are done) ► insert each
range by schema under the token topic id : partition : schema id : range ► start over. While a range goes in, the next is read.
A crash anywhere leaves a planned range, which is read again and inserted under the same tokens (docs/guarantees-clickhouse.md).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from connectors.clickhouse.client import INSERT_SETTINGS
from connectors.clickhouse.container import topic_prefix
from connectors.clickhouse.tables import DATABASE, UNREADABLE_TABLE
from connectors.metrics import catalogue
from connectors.metrics.counting import Read, Source, Timings, one
from connectors.postgres.ingest_positions import Advance, IngestPositions
from schemas.codec import Codec
from schemas.topics import EVENT_TOPICS
from sinks.ingest.batches import (
    UNREADABLE_COLUMNS,
    Chunk,
    Sealer,
    Shapes,
    Unreadable,
    chunks,
    rows_of,
    without_undecodable,
)
from sinks.ingest.ranges import PartitionRanges, Range

log = logging.getLogger(__name__)

T = TypeVar("T")

SINK = "clickhouse"

# One insert a second and partition is what ClickHouse likes; an analyst does not see the second.
LINGER_SECONDS = 1.0
# Rows cut from one partition in one turn: an insert of 100,000 is where bigger ones stop being faster, and stays far below
# MAX_ROWS_PER_INSERT, so it is one block.
MAX_ROWS_PER_RANGE = 100_000
# And bytes: rendered emails are some 7 KB each. An insert holds its range three times (records, container, the engine's block),
# and the next one, prepared, twice.
MAX_RANGE_BYTES = 64 * 1024 * 1024
# Records in memory while a turn is on its way, and their bytes; what is going in meanwhile comes on top.
MAX_BUFFERED = 400_000
MAX_BUFFERED_BYTES = 256 * 1024 * 1024
CONSUME_BATCH = 20_000
# Postgres or the engine away: tried again this often, for this long, before the process ends and the supervisor starts it anew.
RETRY_SECONDS = 1.0
RETRY_FOR_SECONDS = 60.0


@dataclass(slots=True)
class Owned:
    """A partition of ours."""

    topic: str
    topic_id: str
    partition: int
    epoch: int
    prefix: bytes
    ranges: PartitionRanges[Message]
    done: int


@dataclass(frozen=True, slots=True)
class Planned:
    """A range on its way in."""

    owned: Owned
    range: Range[Message]


class Ingester:
    """The loop. One thread polls and plans, one prepares (the sealer is its), one inserts.

    Nothing but the first touches the consumer and the positions, nothing but the last the client.
    """

    def __init__(
        self,
        consumer: Consumer,
        positions: IngestPositions,
        client: Client,
        shapes: Shapes,
        codec: Codec,
        seal: Sealer,
        topic_ids: Mapping[str, str],
        *,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._consumer = consumer
        self._positions = positions
        self._client = client
        self._shapes = shapes
        self._codec = codec
        self._seal = seal
        self._topic_ids = topic_ids
        self._linger_seconds = linger_seconds
        self._owned: dict[tuple[str | None, int | None], Owned] = {}
        self._inserting: tuple[Sequence[Planned], Future[None]] | None = None
        self._unpersisted: list[Planned] = []
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="insert")
        self._preparing = ThreadPoolExecutor(1, thread_name_prefix="prepare")
        self._oldest: float | None = None
        self.rows = 0
        self._unreadable = 0
        self._range_rows = Timings(catalogue.INGEST_RANGE)
        self._range_seconds = Timings(catalogue.INGEST_SECONDS)
        self.assigned = threading.Event()

    @property
    def sources(self) -> list[Source]:
        """For the exporter."""
        return [
            Read(catalogue.INGESTED, one(lambda: self.rows)),
            Read(catalogue.INGEST_UNREADABLE, one(lambda: self._unreadable)),
            self._range_rows,
            self._range_seconds,
        ]

    def run(self, stop: threading.Event) -> None:
        """Until ``stop``; then what was read goes in, and the positions are persisted. Raises what cannot be mended here."""
        self._consumer.subscribe(
            sorted(self._topic_ids), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        try:
            while not stop.is_set():
                self._poll()
                if self._is_due():
                    self._turn()
            self._turn()
            self._finish()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._preparing.shutdown(wait=True, cancel_futures=True)
            self._consumer.close()
            self._positions.close()

    # Reading

    def _poll(self) -> None:
        if self._is_full():
            # Not paused: pausing throws librdkafka's prefetch away. The insert under way is what we wait for.
            self._turn()
            if self._inserting is not None:
                return
            # Nothing could be cut: ranges planned before a crash fill the memory, and only reading on completes them.
        wait = 0.05 if self._buffered() or self._inserting else 0.5
        records: dict[tuple[str | None, int | None], tuple[list[int], list[Message]]] = {}
        ends: list[Message] = []
        for message in self._consumer.consume(CONSUME_BATCH, wait):
            error = message.error()
            if error is None:
                at = message.topic(), message.partition()
                found = records.get(at)
                if found is None:
                    found = records[at] = [], []
                found[0].append(message.offset() or 0)
                found[1].append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                ends.append(message)
            elif error.fatal() or not error.retriable():
                raise KafkaException(error)
        for at, (offsets, messages) in records.items():
            if (owned := self._owned.get(at)) is not None:
                owned.ranges.add(offsets, messages)
        for end in ends:
            if (owned := self._owned.get((end.topic(), end.partition()))) is not None:
                owned.ranges.reached(end.offset() or 0)
        if self._oldest is None and self._buffered():
            self._oldest = time.monotonic()

    def _buffered(self) -> int:
        return sum(owned.ranges.buffered for owned in self._owned.values())

    def _buffered_bytes(self) -> int:
        return sum(owned.ranges.buffered_bytes for owned in self._owned.values())

    def _is_full(self) -> bool:
        return self._buffered() >= MAX_BUFFERED or self._buffered_bytes() >= MAX_BUFFERED_BYTES

    def _is_due(self) -> bool:
        if self._inserting is not None and not self._inserting[1].done():
            return False
        if self._oldest is None:
            return self._inserting is not None
        return (
            time.monotonic() - self._oldest >= self._linger_seconds
            or self._buffered() >= MAX_ROWS_PER_RANGE
            or self._buffered_bytes() >= MAX_RANGE_BYTES
        )

    # A turn

    def _turn(self) -> None:
        self._await_insert()
        planned = [
            Planned(owned, cut)
            for owned in self._owned.values()
            if (cut := owned.ranges.cut(MAX_ROWS_PER_RANGE, MAX_RANGE_BYTES)) is not None
        ]
        self._oldest = time.monotonic() if self._buffered() else None
        self._persist(planned)
        if planned:
            self._inserting = planned, self._pool.submit(self._insert_all, planned)

    def _finish(self) -> None:
        self._await_insert()
        self._persist([])

    def _await_insert(self) -> None:
        if self._inserting is None:
            return
        planned, future = self._inserting
        self._inserting = None
        future.result()
        self._unpersisted.extend(planned)

    def _persist(self, planned: Sequence[Planned]) -> None:
        """Persist, in one transaction, that the former ranges are in and which come next; then tell the group."""
        changes: dict[tuple[str, int], Advance] = {}
        for done in self._unpersisted:
            done.owned.done = done.range.end
            changes[done.owned.topic_id, done.owned.partition] = self._change(done.owned, None)
        for plan in planned:
            changes[plan.owned.topic_id, plan.owned.partition] = self._change(plan.owned, plan.range.end)
        if not changes:
            return
        _retried("Postgres", psycopg.OperationalError, lambda: self._positions.advance(list(changes.values())))
        offsets = [TopicPartition(p.owned.topic, p.owned.partition, p.owned.done) for p in self._unpersisted]
        self._unpersisted.clear()
        if offsets:
            # A hint for lag monitors; where we start is read from the positions.
            self._consumer.commit(offsets=offsets, asynchronous=True)

    @staticmethod
    def _change(owned: Owned, planned_end: int | None) -> Advance:
        return Advance(owned.topic_id, owned.partition, owned.epoch, owned.done, planned_end)

    # Inserting (in the other two threads)

    def _insert_all(self, planned: Sequence[Planned]) -> None:
        """While the engine takes one range, the next is prepared."""
        preparing = self._preparing.submit(self._prepare, planned[0])
        for number, plan in enumerate(planned, 1):
            found, unreadable = preparing.result()
            if number < len(planned):
                preparing = self._preparing.submit(self._prepare, planned[number])
            self._insert(plan, found, unreadable)

    def _prepare(self, plan: Planned) -> tuple[list[Chunk], list[Unreadable]]:
        owned, cut = plan.owned, plan.range
        return _retried(
            "Postgres",
            psycopg.OperationalError,  # the sealer asks it for keys
            lambda: chunks(
                *(cut.items, owned.prefix, owned.partition, self._shapes, self._seal),
                ours=owned.topic not in EVENT_TOPICS,
            ),
        )

    def _insert(self, plan: Planned, found: Sequence[Chunk], unreadable: list[Unreadable]) -> None:
        owned, cut = plan.owned, plan.range
        began = time.monotonic()
        for chunk in found:
            token = f"{owned.topic_id}:{owned.partition}:{chunk.schema_id}:{cut.start}-{cut.end}"
            try:
                self._insert_chunk(chunk, token)
            except ClickHouseError as error:
                # The file was refused whole. If records in it do not decode, the others still go in, under the same token.
                kept, bad = without_undecodable(chunk, self._codec)
                if not bad:
                    raise
                log.warning("%s: %d records do not decode (%s)", owned.topic, len(bad), type(error).__name__)
                unreadable += bad
                if kept.bodies:
                    self._insert_chunk(kept, token)
        if unreadable:
            rows = rows_of(sorted(unreadable, key=lambda u: u.offset), owned.topic, owned.topic_id, owned.partition)
            token = f"{owned.topic_id}:{owned.partition}:unreadable:{cut.start}-{cut.end}"
            self._insert_unreadable(rows, token)
        self.rows += len(cut.items)
        self._unreadable += len(unreadable)
        self._range_rows.observe(len(cut.items))
        self._range_seconds.observe(time.monotonic() - began)

    def _insert_chunk(self, chunk: Chunk, token: str) -> None:
        table = chunk.shape.table
        self._client.raw_insert(
            f"{DATABASE}.{table.name}",
            column_names=table.insert_columns,
            insert_block=chunk.shape.container.file(chunk.bodies),
            settings=INSERT_SETTINGS | {"insert_deduplication_token": token},
            fmt="Avro",
        )

    def _insert_unreadable(self, rows: list[list[Any]], token: str) -> None:
        settings = INSERT_SETTINGS | {"insert_deduplication_token": token}
        self._client.insert(
            UNREADABLE_TABLE, rows, column_names=UNREADABLE_COLUMNS, database=DATABASE, settings=settings
        )

    # Owning partitions

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        wanted = [(tp.topic, self._topic_ids[tp.topic], tp.partition) for tp in partitions]
        claimed = _retried("Postgres", psycopg.OperationalError, lambda: self._positions.claim(wanted))
        start = []
        for at in claimed:
            self._owned[at.topic, at.partition] = Owned(
                at.topic,
                at.topic_id,
                at.partition,
                at.epoch,
                topic_prefix(at.topic, at.topic_id),
                PartitionRanges(at.next_offset, at.planned_end, len),
                at.next_offset,
            )
            start.append(TopicPartition(at.topic, at.partition, at.next_offset or OFFSET_BEGINNING))
        consumer.assign(start)
        log.info("took over %d partitions of %d topics", len(claimed), len({at.topic for at in claimed}))
        self.assigned.set()

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._finish()
        self._forget(partitions)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Others own them by now and raised the epochs. What is on its way in goes in under tokens that they repeat.
        if self._inserting is not None:
            self._inserting[1].exception()
            self._inserting = None
        self._unpersisted.clear()
        self._forget(partitions)

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        for tp in partitions:
            self._owned.pop((tp.topic, tp.partition), None)


def _retried(what: str, error_type: type[Exception], call: Callable[[], T]) -> T:
    """``call()``, tried again while it raises ``error_type``, for RETRY_FOR_SECONDS."""
    deadline = time.monotonic() + RETRY_FOR_SECONDS
    while True:
        try:
            return call()
        except error_type as error:
            if time.monotonic() > deadline:
                raise
            log.warning("%s is away (%s); trying again", what, type(error).__name__)
            time.sleep(RETRY_SECONDS)
