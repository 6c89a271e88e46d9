"""librdkafka clients as the data plane needs them: the transactional producer of one partition, and plain committed readers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import ConfigResource, OffsetSpec, ResourceType

from connectors.kafka import consumer_config, make_admin, producer_config
from connectors.kafka_diagnosis import why_not
from connectors.settings import Settings
from streams.runtime.errors import FatalError, OutputTooLarge, end_process, fatal_from
from streams.runtime.records import Headers
from streams.runtime.tuning import Tuning

log = logging.getLogger(__name__)

_SLICE_SECONDS = 5.0  # one blocking call into librdkafka: short enough to notice a deadline, long enough not to spin
_RECORD_OVERHEAD_BYTES = 128  # batch header (61) and record framing (≤ 21 + header framing), rounded up
_HEADER_OVERHEAD_BYTES = 10  # the lengths of one header's name and content
_ADMIN_TIMEOUT_SECONDS = 30.0
_ISOLATION_LEVELS = (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
_VISIBLE_SECONDS = 10.0  # a topic made a moment ago is known to the controller at once, to a broker soon
_BATCH_BYTES = (
    512 * 1024
)  # of one produce request's batch: below the usual max.message.bytes of 1 MiB, whatever compresses


def reader(settings: Settings, **overrides: Any) -> Consumer:
    """A committed reader that assigns for itself: it belongs to no group and commits nothing."""
    config = consumer_config(settings, "luxe-reader")  # the client demands a group; nothing is ever committed under it
    config |= {
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "queued.min.messages": 100_000,
        "check.crcs": True,
    }
    return Consumer(config | overrides)


# What a broker says of a partition that is made, or moved, at this moment.
_LEADERLESS = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)


class Topics:
    """What the broker says of topics: ids, partition counts, and the largest record each takes. Blocking; answers are cached."""

    def __init__(self, settings: Settings) -> None:
        self._admin, self._settings = make_admin(settings), settings
        self._limits: dict[str, int] = {}

    def describe(self, names: Iterable[str]) -> dict[str, tuple[bytes, int]]:
        """Topic → (id, partitions), asked anew. Raises FatalError for a topic that is not there."""
        wanted = list(names)
        deadline = time.monotonic() + _VISIBLE_SECONDS
        while True:
            try:
                return self._describe(wanted)
            except KafkaException as error:
                cause: KafkaError = error.args[0]
                if cause.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise FatalError(f"topics {', '.join(wanted)}: {why_not(self._settings, cause)}") from error
                if time.monotonic() > deadline:
                    raise FatalError(
                        f"a topic of {', '.join(wanted)} is not there; create the topics with `luxe topics`"
                    ) from error
            time.sleep(0.1)

    def _describe(self, names: list[str]) -> dict[str, tuple[bytes, int]]:
        found: dict[str, tuple[bytes, int]] = {}
        futures = self._admin.describe_topics(TopicCollection(names), request_timeout=_ADMIN_TIMEOUT_SECONDS)
        for name, future in futures.items():
            description = future.result()
            uuid = description.topic_id
            high, low = uuid.get_most_significant_bits(), uuid.get_least_significant_bits()
            identity = (high % 2**64).to_bytes(8, "big") + (low % 2**64).to_bytes(8, "big")
            found[name] = (identity, len(description.partitions))
        return found

    def ends(self, tps: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The end of each partition as committed readers see it. Raises FatalError when the broker does not say."""
        return self._ends(tps, IsolationLevel.READ_COMMITTED)

    def starts(self, tps: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Where each partition's log begins. Raises FatalError when the broker does not say."""
        earliest = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
        return self._offsets(tps, earliest, IsolationLevel.READ_COMMITTED)

    def _ends(self, tps: Iterable[tuple[str, int]], level: IsolationLevel) -> dict[tuple[str, int], int]:
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the only untyped one of its class
        return self._offsets(tps, latest, level)

    def _offsets(
        self, tps: Iterable[tuple[str, int]], spec: OffsetSpec, level: IsolationLevel
    ) -> dict[tuple[str, int], int]:
        wanted = {TopicPartition(*tp): spec for tp in tps}
        deadline = time.monotonic() + _VISIBLE_SECONDS
        while wanted:
            futures = self._admin.list_offsets(wanted, isolation_level=level, request_timeout=_ADMIN_TIMEOUT_SECONDS)
            try:
                return {(tp.topic, tp.partition): future.result().offset for tp, future in futures.items()}
            except KafkaException as error:
                if error.args[0].code() not in _LEADERLESS or time.monotonic() > deadline:
                    raise fatal_from("ends of partitions", error) from error
            time.sleep(0.1)
        return {}

    def decided_to(self, topic: str, partition: int) -> tuple[int, int]:
        """(end for committed readers, end of the log). They differ while a transaction in between is not decided."""
        ends = [self._ends([(topic, partition)], level)[topic, partition] for level in _ISOLATION_LEVELS]
        return ends[0], ends[1]

    def partitions(self, names: Iterable[str]) -> dict[str, int]:
        """Topic → partitions, of those that exist."""
        try:
            known = self._admin.list_topics(timeout=_ADMIN_TIMEOUT_SECONDS).topics
        except KafkaException as error:
            raise fatal_from("list of topics", error) from error
        return {name: len(known[name].partitions) for name in names if name in known}

    def limit_bytes(self, topic: str) -> int:
        """The topic's max.message.bytes."""
        limit = self._limits.get(topic)
        if limit is None:
            limit = self._limits[topic] = self._ask_limit(topic)
        return limit

    def _ask_limit(self, topic: str) -> int:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        try:
            answer = self._admin.describe_configs([resource], request_timeout=_ADMIN_TIMEOUT_SECONDS)[resource].result()
        except KafkaException as error:
            raise fatal_from(f"limits of topic {topic}", error) from error
        return int(answer["max.message.bytes"].value)


class TransactionalProducer:
    """The one producer of (app, partition). Opening it fences every earlier one and aborts what that left open.

    ``doubtful``: the broker went away, and has not been asked since whether it finished our last transaction (settle.py).
    ``used``: the topics produced to.
    """

    def __init__(self, app: str, partition: int, settings: Settings, tuning: Tuning, topics: Topics) -> None:
        self._topics = topics
        self._output_bytes = tuning.output_bytes
        self._commit_seconds = tuning.transaction_timeout_seconds + _SLICE_SECONDS
        self._working = False
        self.doubtful = False
        self.used: set[str] = set()
        self._limits: dict[str, int] = {}  # topic → the largest record for it
        self._sized: Headers | None = None
        self._sized_bytes = 0
        config = producer_config(settings)
        timeout_ms = int(tuning.transaction_timeout_seconds * 1000)
        config |= {
            "transactional.id": f"{app}-{partition}",
            "transaction.timeout.ms": timeout_ms,
            "message.timeout.ms": timeout_ms,
            "linger.ms": tuning.linger_ms,
            "batch.size": _BATCH_BYTES,
            "message.max.bytes": tuning.output_bytes + 64 * 1024,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 512 * 1024,
            "error_cb": self._told,
        }
        self._producer = Producer(config)
        self._produce = self._producer.produce

    def _told(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            return  # what matters of the others comes back from the call that meets it
        self.doubtful = True
        if self._working:
            end_process(FatalError("the broker went away in the middle of a transaction: it is aborted and done again"))

    def poll(self) -> None:
        """Hears what the client has to tell."""
        self._producer.poll(0)

    def open(self, timeout_seconds: float) -> None:
        """Fences former owners. Blocking. Raises FatalError after ``timeout_seconds`` without a coordinator."""
        self._retry("init_transactions", self._producer.init_transactions, timeout_seconds)
        self._producer.poll(0)
        self.doubtful = False

    def begin(self) -> None:
        """Begins a transaction."""
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            raise fatal_from("begin_transaction", error) from error
        self._working = True

    def check_size(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None) -> None:
        """Raises OutputTooLarge for a record that its topic would refuse: a refusal by the broker would abort its neighbours."""
        size = _RECORD_OVERHEAD_BYTES + (len(key) if key else 0) + (len(value) if value else 0)
        if headers:
            if headers is not self._sized:  # those of an event's outputs are the same ones
                self._sized, self._sized_bytes = headers, _headers_bytes(headers)
            size += self._sized_bytes
        limit = self._limits.get(topic) or self._limit_of(topic)
        if size > limit:
            raise OutputTooLarge(f"record for {topic}: {size} bytes, the topic takes {limit}")

    def _limit_of(self, topic: str) -> int:
        limit = self._limits[topic] = min(self._output_bytes, self._topics.limit_bytes(topic))
        return limit

    def log(self, topic: str, partition: int, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Hands rows (key, value) to the open transaction, as ``produce`` does one; whoever kept them checked their size."""
        self.used.add(topic)
        hand_over = self._produce
        for row, value in rows:
            try:
                hand_over(topic, value, row, partition)
            except (BufferError, KafkaException):
                self.produce(topic, value, row, partition)  # waits, or says what is wrong

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int = -1,
        headers: Headers | None = None,
        timestamp_ms: int | None = None,
        on_delivery: Callable[[Any, Any], None] | None = None,
    ) -> None:
        """Hands one record to the open transaction. Blocks only while the client's buffer is full."""
        self.used.add(topic)
        while True:
            try:
                if headers is None and timestamp_ms is None and on_delivery is None:
                    self._produce(topic, value, key, partition)
                else:
                    self._produce(
                        topic,
                        value,
                        key,
                        partition,
                        on_delivery=on_delivery,
                        timestamp=timestamp_ms or 0,
                        headers=list(headers or ()),
                    )
            except BufferError:
                self._producer.poll(0.05)
            except KafkaException as error:
                raise fatal_from(f"produce to {topic}", error) from error
            else:
                return

    def commit(self) -> None:
        """Commits; on return everything in the transaction is visible. Blocking; releases the interpreter."""
        self._retry("commit_transaction", self._producer.commit_transaction, self._commit_seconds)
        self._working = False

    def flush(self) -> None:
        """Waits until everything handed over is in its log. Raises FatalError when that takes too long."""
        if self._producer.flush(self._commit_seconds):
            raise FatalError(f"records of a transaction not in their logs after {self._commit_seconds:.0f} s")

    def abort_all(self) -> None:
        """Aborts, and waits until that is decided."""
        self._retry("abort_transaction", self._producer.abort_transaction, self._commit_seconds)
        self._working = False

    def abort(self) -> None:
        """Aborts an open transaction, as well as that can be done: if it cannot, the next owner's fencing does it."""
        self._working = False
        try:
            self._producer.abort_transaction(_SLICE_SECONDS)
        except KafkaException as error:
            log.info("abort_transaction: %s", error.args[0].name())

    def close(self) -> None:
        """Frees the client's threads and buffers."""
        self._producer.purge()
        self._producer.flush(0)

    @staticmethod
    def _retry(doing: str, call: Callable[[float], None], timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                call(_SLICE_SECONDS)
            except KafkaException as error:
                cause: KafkaError = error.args[0]
                if not cause.retriable() or time.monotonic() > deadline:
                    raise fatal_from(doing, error) from error
            else:
                return


def _headers_bytes(headers: Headers) -> int:
    size = 0
    for name, content in headers:
        size += len(name) + len(content or b"") + _HEADER_OVERHEAD_BYTES
    return size


# Told to a reader while it goes on trying by itself.
_TRANSIENT = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._WAIT_COORD,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
    }
)


def is_end(error: KafkaError) -> bool:
    """Whether this is no error but the end of a partition."""
    return error.code() == KafkaError._PARTITION_EOF


def transient(error: KafkaError) -> bool:
    """Whether the reader gets over it by itself."""
    return error.retriable() or error.code() in _TRANSIENT


def log_start(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """(first offset, end offset) of a partition, as committed readers see it. Raises FatalError when the broker does not say.

    One that has no leader, or another than the client thinks, is asked again for ``_VISIBLE_SECONDS``.
    """
    deadline = time.monotonic() + _VISIBLE_SECONDS
    while True:
        try:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_ADMIN_TIMEOUT_SECONDS)
        except KafkaException as error:
            if error.args[0].code() not in _LEADERLESS or time.monotonic() > deadline:
                raise fatal_from(f"offsets of {topic}[{partition}]", error) from error
            time.sleep(0.1)
        else:
            return low, high
