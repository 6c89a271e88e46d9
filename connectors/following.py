"""Following topics as they grow: what is committed from now on, or from a time on, without joining a group."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from connectors.kafka import QUIET, consumer_config
from connectors.settings import Settings

POLL_SECONDS = 0.2
BATCH_RECORDS = 1_000
# A person waits: a broker that is up answers in milliseconds.
ANSWER_SECONDS = 5.0
# How long all brokers may be away before that is said; a restart takes less.
AWAY_SECONDS = 15.0


def follow(settings: Settings, topics: Sequence[str], since: datetime | None = None) -> Iterator[list[Message]]:
    """Committed records as they come, those of one look in the order of their times; an empty list where none came.

    ``since``: from then on; None: from now on. Ends never. Raises KafkaException: a topic does not exist, or Kafka is away.
    """
    outage = _Outage()
    consumer = Consumer(consumer_config(settings, "luxe-watcher") | QUIET | {"error_cb": outage.heard})
    try:
        consumer.assign(_starts(consumer, topics, since))
        while True:
            messages: list[Message] = []
            for message in consumer.consume(BATCH_RECORDS, POLL_SECONDS):
                error = message.error()
                if error is None:
                    messages.append(message)
                elif not error.retriable():
                    raise KafkaException(error)
            messages.sort(key=lambda message: message.timestamp()[1])
            yield messages
            outage.look(consumer, time.monotonic(), came=bool(messages))
    finally:
        consumer.close()


def _starts(consumer: Consumer, topics: Sequence[str], since: datetime | None) -> list[TopicPartition]:
    known = consumer.list_topics(timeout=ANSWER_SECONDS).topics
    missing = [topic for topic in topics if topic not in known or known[topic].error is not None]
    if missing:
        raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"no topic {', '.join(missing)}"))
    at_ms = OFFSET_END if since is None else int(since.timestamp() * 1000)
    partitions = [TopicPartition(topic, partition, at_ms) for topic in topics for partition in known[topic].partitions]
    if since is None:
        # Its number, not "the end": what comes between this line and the first fetch counts.
        for one in partitions:
            _, one.offset = consumer.get_watermark_offsets(one, timeout=ANSWER_SECONDS)
        return partitions
    return list(consumer.offsets_for_times(partitions, timeout=ANSWER_SECONDS))


class _Outage:
    """All brokers away, as librdkafka says it: noticed, and said once it lasts."""

    def __init__(self) -> None:
        self._since: float | None = None

    def heard(self, error: KafkaError) -> None:
        """Called by librdkafka, within ``consume``."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self._since is None:
            self._since = time.monotonic()

    def look(self, consumer: Any, now: float, *, came: bool) -> None:
        """Raises KafkaException where Kafka has been away for long. Silence alone is none: there may be nothing to tell."""
        if came:
            self._since = None
        elif self._since is not None and now - self._since > AWAY_SECONDS:
            consumer.list_topics(timeout=ANSWER_SECONDS)
            self._since = None
