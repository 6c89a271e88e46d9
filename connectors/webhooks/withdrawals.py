"""Which versions of an aggregate were withdrawn: the gates' topic, followed whole, in a thread of its own, outside any group.

What a text is about may have moved or been called off since: then its answer is none any more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from connectors.kafka import ADMIN_TIMEOUT_SECONDS, make_consumer
from connectors.metrics import catalogue
from connectors.metrics.counting import Read, Source, one
from connectors.settings import Settings
from schemas.codec import Codec, CodecError
from schemas.registry import RegistryError
from schemas.topics import AGGREGATE_GATE_RETENTION_MS, AGGREGATE_GATES

log = logging.getLogger(__name__)

RECORD = "luxe.pipeline.Gate"
# The only aggregates that a text asks about.
ASKED_ABOUT = "appointment"
POLL_SECONDS = 0.1
BATCH_RECORDS = 5_000
BACKOFF_SECONDS = 2.0
# The topic forgets a gate after 35 days, and so do we: about 200 bytes each.
PRUNE_SECONDS = 3600.0


class Withdrawn(NamedTuple):
    """Versions below ``version`` are withdrawn; ``closes``: this one too."""

    version: int
    closes: bool
    at: datetime


def age_source(found: Callable[[], Withdrawals]) -> Source:
    """For the exporter. ``found``: the process' own, once it is there."""
    return Read(catalogue.WITHDRAWALS_AGE, one(lambda: found().age_seconds()))


class Withdrawals:
    """See the module. Written by one thread while another looks up: single dictionary operations only."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._settings, self._codec = settings, codec
        self._known: dict[str, Withdrawn] = {}
        self._reading = self._known
        self._stopping = threading.Event()
        self._read: Future[None] = Future()
        self._came_round = time.monotonic()
        self._thread = threading.Thread(target=self._main, name="withdrawals", daemon=True)

    def start(self) -> None:
        """Begin to read from the topic's start."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread at its next turn."""
        self._stopping.set()

    @property
    def read_whole(self) -> Future[None]:
        """Done once everything that was in the topic is known. Where it is followed no more: another one, not done yet."""
        return self._read

    def age_seconds(self) -> float:
        """Since the thread last came round with everything known; from the beginning, where it never did."""
        return time.monotonic() - self._came_round

    def overtook(self, clinic_id: str, aggregate_type: str, aggregate_id: str, version: int) -> bool:
        """Was this version moved, called off or otherwise withdrawn?"""
        found = self._known.get(f"aggregate:{clinic_id}:{aggregate_type}:{aggregate_id}")
        return found is not None and (version < found.version or (found.closes and version == found.version))

    def _main(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except (KafkaException, RegistryError) as error:
                name = error.args[0].name() if isinstance(error, KafkaException) else type(error).__name__
                log.warning("gates are not read just now (%s); trying again", name)
                self._stopping.wait(BACKOFF_SECONDS)

    def _follow(self) -> None:
        consumer = make_consumer(self._settings, "webhooks-withdrawals", enable_partition_eof=True)
        # What is known stays whole for whoever looks just now.
        self._reading = {}
        try:
            unread = self._assign(consumer)
            prune_due = time.monotonic() + PRUNE_SECONDS
            while not self._stopping.is_set():
                # The first record at once, and whatever else is there; consume() alone would wait for a whole batch.
                first = consumer.poll(POLL_SECONDS)
                if first is not None:
                    self._apply([first, *consumer.consume(BATCH_RECORDS, 0)], unread)
                if not unread and not self._read.done():
                    self._known = self._reading
                    log.info("gates of appointments read whole: %d", len(self._known))
                    self._read.set_result(None)
                if not unread:
                    self._came_round = time.monotonic()
                if time.monotonic() >= prune_due:
                    prune_due = time.monotonic() + PRUNE_SECONDS
                    self._prune(datetime.now(UTC) - timedelta(milliseconds=AGGREGATE_GATE_RETENTION_MS))
        finally:
            # What is known grows old from now on, also where this thread ends: nobody is to take it for the newest.
            if self._read.done():
                self._read = Future()
            consumer.close()

    @staticmethod
    def _assign(consumer: Consumer) -> set[int]:
        known = consumer.list_topics(AGGREGATE_GATES, timeout=ADMIN_TIMEOUT_SECONDS).topics[AGGREGATE_GATES]
        if known.error is not None:
            raise KafkaException(known.error)
        consumer.assign([TopicPartition(AGGREGATE_GATES, partition, 0) for partition in known.partitions])
        return set(known.partitions)

    def _apply(self, messages: Sequence[Message], unread: set[int]) -> None:
        for message in messages:
            error = message.error()
            if error is None:
                self._apply_record(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.discard(message.partition() or 0)
            elif not error.retriable():
                raise KafkaException(error)

    def _apply_record(self, message: Message) -> None:
        key = (message.key() or b"").decode(errors="replace")
        if not key.startswith("aggregate:") or f":{ASKED_ABOUT}:" not in key:
            return
        value = message.value()
        if value is None:
            self._reading.pop(key, None)
            return
        try:
            gate = self._codec.decode(value)
        except CodecError as error:
            log.error("%s@%s: a gate that cannot be read (%s)", message.topic(), message.offset(), error.code)  # noqa: TRY400
            return
        if gate.name == RECORD and gate.value["aggregate_version"] is not None:
            version, closes = gate.value["aggregate_version"], gate.value["reason"] == "cancelled"
            self._reading[key] = Withdrawn(version, closes, gate.value["created_at"])

    def _prune(self, oldest: datetime) -> None:
        for key in [key for key, gate in list(self._reading.items()) if gate.at < oldest]:
            self._reading.pop(key, None)
