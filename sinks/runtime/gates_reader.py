"""Follows the gates' topics whole, in a thread of its own, outside any group: what is in Kafka is in force within moments.

How newly they are known is told by where their partitions' leaders say that they end: a reader that comes round hears nothing of
a partition whose leader is away or that it lost sight of (ADR 33).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from connectors.kafka import ADMIN_TIMEOUT_SECONDS, make_consumer
from connectors.kafka_ends import Ends
from connectors.read_through import ReadThrough
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


class _Followed(NamedTuple):
    """One topic, as far as it is known."""

    ends: Ends
    through: ReadThrough


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
        self._through: float | None = None
        self._waiting = False
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
        """Whether the view may be relied on: read whole, and of no partition older than ``stale_seconds``."""
        age_seconds = self.age_seconds
        return age_seconds is not None and age_seconds < self._stale_seconds and not self._ended.done()

    @property
    def age_seconds(self) -> float | None:
        """Of the partition that was known to its end the longest ago; None while there is one that never was."""
        through = self._through
        return None if through is None else time.monotonic() - through

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
            topics = self._assign(consumer)
            turned = time.monotonic()
            prune_due, retry_due = turned + PRUNE_SECONDS, turned + RETRY_SECONDS
            while not self._stopping.is_set():
                # The first record at once, and whatever else is there; consume() alone would wait for a whole batch.
                first = consumer.poll(POLL_SECONDS)
                if first is not None:
                    self._apply([first, *consumer.consume(BATCH_RECORDS, 0)], topics)
                self._judge(topics)
                turned = time.monotonic()
                if turned >= prune_due:
                    prune_due = turned + PRUNE_SECONDS
                    self.gates.prune(datetime.now(UTC))
                if turned >= retry_due:
                    retry_due = turned + RETRY_SECONDS
                    self._records.try_again()
        finally:
            consumer.close()

    def _judge(self, topics: Mapping[str, _Followed]) -> None:
        """How newly all of it is known; said where that begins and ends to keep messages waiting."""
        for one in topics.values():
            if (heard := one.ends.heard()) is not None:
                one.through.told(*heard)
        known = [one.through.since() for one in topics.values()]
        since = min((moment for moment in known if moment is not None), default=None)
        if since is None or None in known:
            return
        self._through = since
        if not self._caught_up.done():
            log.info("gates read whole: %d closed", len(self.gates))
            self._caught_up.set_result(None)
        if (waiting := not self.current) == self._waiting:
            return
        self._waiting = waiting
        if waiting:
            late = time.monotonic() - self._stale_seconds
            log.warning(
                "%s: what came into force within %g s is not known, for their leader is away or does not answer; nothing is sent "
                "until it is",
                ", ".join(f"{topic}[{number}]" for topic, one in topics.items() for number in one.through.behind(late)),
                self._stale_seconds,
            )
        else:
            log.info("gates are known to their end again; messages are sent")

    def _assign(self, consumer: Consumer) -> dict[str, _Followed]:
        known = consumer.list_topics(timeout=ADMIN_TIMEOUT_SECONDS).topics
        for topic in TOPICS:
            if topic not in known or known[topic].error is not None:
                raise KafkaException(
                    KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"no topic {topic}; run `luxe topics create`")
                )
        partitions = {topic: sorted(known[topic].partitions) for topic in TOPICS}
        consumer.assign([TopicPartition(topic, number, 0) for topic in TOPICS for number in partitions[topic]])
        return {
            topic: _Followed(Ends(self._settings, topic, numbers, committed=True), ReadThrough(numbers))
            for topic, numbers in partitions.items()
        }

    def _apply(self, messages: Sequence[Message], topics: Mapping[str, _Followed]) -> None:
        for message in messages:
            error = message.error()
            topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
            if error is None:
                self._records.apply(message.key(), message.value(), f"{topic}[{partition}]@{offset}")
                topics[topic].through.read(partition, offset + 1)
            elif error.code() == KafkaError._PARTITION_EOF:
                topics[topic].through.read(partition, offset)  # past what transactions leave in the log beside records
            elif not error.retriable():
                raise KafkaException(error)
