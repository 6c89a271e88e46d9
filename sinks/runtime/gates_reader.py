"""Follows the gates' topics whole, in a thread of its own, outside any group: what is in Kafka is in force within moments."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from connectors.kafka import ADMIN_TIMEOUT_SECONDS, make_consumer
from connectors.settings import Settings
from schemas.codec import Codec
from schemas.topics import AGGREGATE_GATES, GATES
from sinks.runtime.gate_records import GateRecords
from sinks.runtime.gates import Gates
from sinks.runtime.later_schemas import RETRY_SECONDS, LaterSchemas

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
BATCH_RECORDS = 5_000
# Cancelled aggregates pile up by the thousand a day; their topic forgets them after 35 days, and so does the view.
PRUNE_SECONDS = 3600.0
TOPICS = (GATES, AGGREGATE_GATES)


class GatesReader:
    """Keeps ``gates`` current. Until ``caught_up`` nothing may be sent; once it ends, nothing more may."""

    def __init__(self, settings: Settings, codec: Codec, later: LaterSchemas, *, stale_seconds: float) -> None:
        self.gates = Gates()
        self._settings = settings
        self._records = GateRecords(self.gates, codec, later)
        self._stale_seconds = stale_seconds
        self._stopping = threading.Event()
        self._caught_up: Future[None] = Future()
        self._ended: Future[None] = Future()
        self._came_round = 0.0
        self._thread = threading.Thread(target=self._main, name="gates", daemon=True)

    def start(self) -> None:
        """Begin to read from the topics' start."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread at its next turn."""
        self._stopping.set()

    async def caught_up(self) -> None:
        """Wait until everything that was in the topics at the start is known. Raises what ended the reader before."""
        await asyncio.shield(asyncio.wrap_future(self._caught_up))  # a waiter that gives up must not end it

    async def ended(self) -> None:
        """Wait for the reader's end. Raises what ended it."""
        await asyncio.shield(asyncio.wrap_future(self._ended))

    @property
    def current(self) -> bool:
        """Whether the view may be relied on: read whole, and its reader comes round."""
        return (
            self._caught_up.done()
            and not self._ended.done()
            and time.monotonic() - self._came_round < self._stale_seconds
        )

    @property
    def age_seconds(self) -> float | None:
        """Since the reader last came round; None before it first did."""
        return time.monotonic() - self._came_round if self._came_round else None

    async def wait_until_current(self) -> None:
        """Hold the caller while the view must not be relied on."""
        while not self.current:  # noqa: ASYNC110 - staleness is the clock's doing, nobody sets an event for it
            await asyncio.sleep(POLL_SECONDS)

    def _main(self) -> None:
        try:
            self._follow()
        except Exception as error:  # noqa: BLE001 - handed to the event loop, which ends the process with it
            if not self._caught_up.done():
                self._caught_up.set_exception(error)
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    def _follow(self) -> None:
        consumer = make_consumer(self._settings, "sinks-gates-reader", enable_partition_eof=True)
        try:
            unread = self._assign(consumer)
            turned = time.monotonic()
            prune_due, retry_due = turned + PRUNE_SECONDS, turned + RETRY_SECONDS
            while not self._stopping.is_set():
                # The first record at once, and whatever else is there; consume() alone would wait for a whole batch.
                first = consumer.poll(POLL_SECONDS)
                if first is not None:
                    self._apply([first, *consumer.consume(BATCH_RECORDS, 0)], unread)
                turned, before = time.monotonic(), turned
                # The first turn after a pause (a frozen host) may have come before the client had what it missed.
                if turned - before < self._stale_seconds:
                    self._came_round = turned
                if turned >= prune_due:
                    prune_due = turned + PRUNE_SECONDS
                    self.gates.prune(datetime.now(UTC))
                if turned >= retry_due:
                    retry_due = turned + RETRY_SECONDS
                    self._records.try_again()
                if not unread and not self._caught_up.done():
                    log.info("gates read whole: %d closed", len(self.gates))
                    self._caught_up.set_result(None)
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer) -> set[tuple[str, int]]:
        known = consumer.list_topics(timeout=ADMIN_TIMEOUT_SECONDS).topics
        for topic in TOPICS:
            if topic not in known or known[topic].error is not None:
                raise KafkaException(
                    KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"no topic {topic}; run `luxe topics create`")
                )
        partitions = {(topic, partition) for topic in TOPICS for partition in known[topic].partitions}
        consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in sorted(partitions)])
        return partitions

    def _apply(self, messages: Sequence[Message], unread: set[tuple[str, int]]) -> None:
        for message in messages:
            error = message.error()
            if error is None:
                where = f"{message.topic()}[{message.partition()}]@{message.offset()}"
                self._records.apply(message.key(), message.value(), where)
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.discard((message.topic() or "", message.partition() or 0))
            elif not error.retriable():
                raise KafkaException(error)
