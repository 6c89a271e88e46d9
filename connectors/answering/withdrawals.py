"""Which versions of an aggregate were withdrawn: the gates' topic, followed whole, in a thread of its own, outside any group.

What a text is about may have moved or been called off since: then its answer is none any more.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from connectors.kafka import ADMIN_TIMEOUT_SECONDS, make_consumer
from connectors.kafka_ends import Ends
from connectors.kafka_refusals import why
from connectors.metrics.counting import Read, Source, one
from connectors.metrics.withdrawn import WITHDRAWALS_AGE
from connectors.read_through import ReadThrough
from connectors.settings import Settings
from schemas.codec import Codec, CodecError, LaterSchemaError
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
    return Read(WITHDRAWALS_AGE, one(lambda: found().age_seconds()))


class Withdrawals:
    """See the module. Written by one thread while another looks up: single dictionary operations only."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._settings, self._codec = settings, codec
        self._known: dict[str, Withdrawn] = {}
        self._reading = self._known
        self._stopping = threading.Event()
        self._read_whole = False
        self._through = time.monotonic()
        self._waiting = False
        self._thread = threading.Thread(target=self._main, name="withdrawals", daemon=True)

    def start(self) -> None:
        """Begin to read from the topic's start."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread at its next turn."""
        self._stopping.set()

    @property
    def current(self) -> bool:
        """Whether it may be judged by: read whole, and of no partition older than LUXE_REPLIES_STALE_SECONDS."""
        return self._read_whole and self.age_seconds() <= self._settings.replies_stale_seconds

    async def wait_until_current(self, timeout_seconds: float) -> None:
        """Hold the caller while nothing may be judged by it. Raises TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            while not self.current:  # noqa: ASYNC110 - staleness is the clock's doing, nobody sets an event for it
                await asyncio.sleep(POLL_SECONDS)

    def age_seconds(self) -> float:
        """Of the partition that was known to its end the longest ago; from the beginning, where one never was."""
        return time.monotonic() - self._through

    def overtook(self, clinic_id: str, aggregate_type: str, aggregate_id: str, version: int) -> bool:
        """Was this version moved, called off or otherwise withdrawn?"""
        found = self._known.get(f"aggregate:{clinic_id}:{aggregate_type}:{aggregate_id}")
        return found is not None and (version < found.version or (found.closes and version == found.version))

    def _main(self) -> None:
        told: set[int | None] = set()
        while not self._stopping.is_set():
            try:
                self._follow()
            except LaterSchemaError as error:
                if error.schema_id not in told:  # else a line at each turn, until somebody deploys it
                    told.add(error.schema_id)
                    log.error(  # noqa: TRY400 - a trace says nothing more
                        "gates: this process does not know schema id %s, so it is older than intake: deploy it "
                        "(docs/runbooks/upgrade.md); until then no answer about an appointment is taken",
                        error.schema_id,
                    )
                self._stopping.wait(BACKOFF_SECONDS)
            except (KafkaException, RegistryError) as error:
                name = why(error.args[0]) if isinstance(error, KafkaException) else type(error).__name__
                log.warning("gates are not read just now (%s); trying again", name)
                self._stopping.wait(BACKOFF_SECONDS)

    def _follow(self) -> None:
        consumer = make_consumer(self._settings, "webhooks-withdrawals", enable_partition_eof=True)
        # What is known stays whole for whoever looks just now.
        self._reading = {}
        try:
            partitions = self._assign(consumer)
            ends, through = Ends(self._settings, AGGREGATE_GATES, partitions), ReadThrough(partitions)
            prune_due = time.monotonic() + PRUNE_SECONDS
            while not self._stopping.is_set():
                # The first record at once, and whatever else is there; consume() alone would wait for a whole batch.
                first = consumer.poll(POLL_SECONDS)
                if first is not None:
                    self._apply([first, *consumer.consume(BATCH_RECORDS, 0)], through)
                if (heard := ends.heard()) is not None:
                    through.told(*heard)
                self._judge(through)
                if time.monotonic() >= prune_due:
                    prune_due = time.monotonic() + PRUNE_SECONDS
                    self._prune(datetime.now(UTC) - timedelta(milliseconds=AGGREGATE_GATE_RETENTION_MS))
        finally:
            consumer.close()

    def _judge(self, through: ReadThrough) -> None:
        since = through.since()
        if since is not None:
            if self._known is not self._reading or not self._read_whole:
                self._known = self._reading
                log.info("gates of appointments read whole: %d", len(self._known))
            self._through = max(self._through, since)
            self._read_whole = True
        stale_seconds = self._settings.replies_stale_seconds
        if (waiting := self.age_seconds() > stale_seconds) == self._waiting:
            return
        self._waiting = waiting
        if waiting:
            log.warning(
                "%s, partitions %s: what came within %g s is not known, for their leader is away or a transaction stands open; "
                "no answer about an appointment is taken until it is",
                *(AGGREGATE_GATES, through.behind(time.monotonic() - stale_seconds), stale_seconds),
            )
        else:
            log.info("%s is known to its end again; answers are taken", AGGREGATE_GATES)

    @staticmethod
    def _assign(consumer: Consumer) -> set[int]:
        known = consumer.list_topics(AGGREGATE_GATES, timeout=ADMIN_TIMEOUT_SECONDS).topics[AGGREGATE_GATES]
        if known.error is not None:
            raise KafkaException(known.error)
        consumer.assign([TopicPartition(AGGREGATE_GATES, partition, 0) for partition in known.partitions])
        return set(known.partitions)

    def _apply(self, messages: Sequence[Message], through: ReadThrough) -> None:
        for message in messages:
            error = message.error()
            partition, offset = message.partition() or 0, message.offset() or 0
            if error is None:
                self._apply_record(message)
                through.read(partition, offset + 1)
            elif error.code() == KafkaError._PARTITION_EOF:
                through.read(partition, offset)  # past what transactions leave in the log beside records
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
        except LaterSchemaError:
            raise  # what it says moved or was called off must not be confirmed
        except CodecError as error:
            log.error("%s@%s: a gate that cannot be read (%s)", message.topic(), message.offset(), error.code)  # noqa: TRY400
            return
        if gate.name == RECORD and gate.value["aggregate_version"] is not None:
            version, closes = gate.value["aggregate_version"], gate.value["reason"] == "cancelled"
            self._reading[key] = Withdrawn(version, closes, gate.value["created_at"])

    def _prune(self, oldest: datetime) -> None:
        for key in [key for key, gate in list(self._reading.items()) if gate.at < oldest]:
            self._reading.pop(key, None)
