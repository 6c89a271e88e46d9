"""Kafka clients, configured once: every producer of ours partitions alike, every consumer reads committed records only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from connectors import kafka_security
from connectors.kafka_log import CLIENT_LOG, LOG_LEVEL
from connectors.settings import Settings
from schemas.topics import DEAD_LETTER_MAX_MESSAGE_BYTES

# librdkafka's own default hashes keys with CRC32; Java, Faust and aiokafka with murmur2. One key must mean one partition
# to all of them, or a recipient's state and messages part ways.
PARTITIONER = "murmur2_random"

# How long a producer gathers before it sends: at 200 events/s two hops of 2 ms are not felt, at 10,000 they fill batches.
LINGER_MS = 2

# The largest record any topic of ours takes (dead-letters), with room for headers and framing.
MESSAGE_MAX_BYTES = DEAD_LETTER_MAX_MESSAGE_BYTES + 64 * 1024

# A request to a broker that is up takes milliseconds; past this the answer is that it is not.
ADMIN_TIMEOUT_SECONDS = 15.0


# For clients whose every failure is raised, or told to a callback: what librdkafka's own log says of it is said twice. And for
# those that nobody polls, which would gather their lines for ever.
QUIET: dict[str, Any] = {"log_level": 0}


def client_config(settings: Settings) -> dict[str, Any]:
    """What producers, consumers and admin clients have in common."""
    common = {"bootstrap.servers": settings.kafka_bootstrap, "log_level": LOG_LEVEL, "logger": CLIENT_LOG}
    return common | kafka_security.librdkafka(settings)


def producer_config(settings: Settings, **overrides: Any) -> dict[str, Any]:
    """Idempotent, acks=all, murmur2. Overrides are librdkafka's names with ``_`` for ``.``."""
    return (
        client_config(settings)
        | {
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": PARTITIONER,
            "linger.ms": LINGER_MS,
            "compression.type": "lz4",
            "message.max.bytes": MESSAGE_MAX_BYTES,
            "queue.buffering.max.messages": 500_000,
        }
        | _dotted(overrides)
    )


# How long a client whose local queue is full looks away. librdkafka's own 1,000 ms held a reader that keeps up to 180,000
# records/s, with the processor idle; with 5 ms the same reader takes a million.
QUEUE_BACKOFF_MS = 5


def consumer_config(settings: Settings, group: str, **overrides: Any) -> dict[str, Any]:
    """Read committed, from the start where nothing is committed, commits by hand."""
    return (
        client_config(settings)
        | {
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 50,
            "fetch.queue.backoff.ms": QUEUE_BACKOFF_MS,
        }
        | _dotted(overrides)
    )


def make_producer(settings: Settings, **overrides: Any) -> Producer:
    """A producer of ours, see producer_config."""
    return Producer(producer_config(settings, **overrides))


def make_consumer(settings: Settings, group: str, **overrides: Any) -> Consumer:
    """A consumer of ours, see consumer_config."""
    return Consumer(consumer_config(settings, group, **overrides))


def make_admin(settings: Settings) -> AdminClient:
    """An admin client."""
    return AdminClient(client_config(settings) | QUIET)


def read_to_end(settings: Settings, topics: Sequence[str], *, batch: int = 5_000) -> Iterator[Message]:
    """Every committed record of the topics that is there now, in each partition's order, without joining a group.

    Ends at the end seen when each partition is reached. Raises KafkaException, also when a topic does not exist.
    """
    consumer = Consumer(consumer_config(settings, "luxe-reader", enable_partition_eof=True) | QUIET)
    try:
        known = consumer.list_topics(timeout=ADMIN_TIMEOUT_SECONDS).topics
        missing = [topic for topic in topics if topic not in known or known[topic].error is not None]
        if missing:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"no topic {', '.join(missing)}"))
        pending = {(topic, partition) for topic in topics for partition in known[topic].partitions}
        consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in sorted(pending)])
        while pending:
            for message in consumer.consume(batch, 1.0):
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    pending.discard((message.topic(), message.partition()))
                elif not error.retriable():
                    raise KafkaException(error)
    finally:
        consumer.close()


def is_record(message: Message) -> bool:
    """Whether a consumer was given a record. Raises KafkaException for an error that does not pass by itself."""
    error = message.error()
    if error is None:
        return True
    if not error.retriable():
        raise KafkaException(error)
    return False


def _dotted(overrides: dict[str, Any]) -> dict[str, Any]:
    # confluent-kafka's own names for callbacks (stats_cb) have no dots.
    return {name if name.endswith("_cb") else name.replace("_", "."): value for name, value in overrides.items()}
