"""Deciding what the broker left undecided.

A transaction is decided when its commit or abort marker lies in the log of each partition that it wrote to. Kafka 4.1 to 4.3
can miss that: a coordinator that is finishing a transaction while a partition has no leader for a moment (every cold start
of a cluster passes through such a moment) takes the partition for deleted, writes no marker to it, and calls the transaction
complete. The client was told "committed"; committed readers wait before its records, and the next marker of the same
producer decides them, whatever it was meant for. Seen here in one of six kills of a single broker under load, as events
whose outputs were there twice: the restore did not see the last transaction, which came out of the dark with the next one.

So nothing of ours relies on a marker that may be missing:

- opening a partition aborts whatever is undecided, in every partition that this app ever wrote to, and the work is done again;
- a producer whose broker went away starts no transaction before its last one is known to be decided, and finishes none.
"""

from __future__ import annotations

import logging
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

from connectors.settings import Settings
from streams.runtime.clients import Topics, TransactionalProducer, is_end, reader, transient
from streams.runtime.errors import FatalError, fatal_from
from streams.runtime.rows import OUTPUT
from streams.runtime.store import Store

log = logging.getLogger(__name__)

# A coordinator that is well decides within milliseconds; after a cold start it first loads its log.
DECIDED_SECONDS = 20.0
_ASK_SECONDS = 0.25


def outputs_of(store: Store) -> set[str]:
    """The topics that the restored state says were ever produced to."""
    found: set[str] = set()
    for row, _ in store.items(OUTPUT):
        if row[:1] != OUTPUT:
            break
        found.add(row[1:].decode())
    return found


def outputs_between(settings: Settings, topic: str, partition: int, start: int, end: int) -> set[str]:
    """The same from changelog records that are not committed, or never will be. Blocking."""
    consumer = reader(settings, **{"isolation.level": "read_uncommitted"})
    try:
        consumer.assign([TopicPartition(topic, partition, start)])
        return _outputs_read(consumer, start, end)
    except KafkaException as error:
        raise fatal_from(f"undecided records of {topic}[{partition}]", error) from error
    finally:
        consumer.close()


def _outputs_read(consumer: Consumer, position: int, end: int) -> set[str]:
    found: set[str] = set()
    deadline = time.monotonic() + DECIDED_SECONDS
    while position < end:
        for message in consumer.consume(1000, 0.5):
            error = message.error()
            if error is None:
                key = message.key()
                if isinstance(key, bytes) and key[:1] == OUTPUT:
                    found.add(key[1:].decode())
                position = (message.offset() or 0) + 1
            elif is_end(error):
                position = message.offset() or 0
            elif not transient(error):
                raise KafkaException(error)
        if time.monotonic() > deadline:
            raise FatalError(f"undecided records cannot be read from {position} to {end}")
    return found


def settle(producer: TransactionalProducer, topics: Topics, outputs: set[str], changelog: str, partition: int) -> None:
    """Aborts whatever this producer's predecessors left undecided. Blocking. Raises FatalError when it stays undecided.

    An abort marker decides all undecided records of its producer in its partition. So a transaction writes one record to each
    partition, and is aborted: no committed reader sees it. The changelog comes last, as it is what tells the next owner.
    """
    producer.begin()
    for topic, count in sorted(topics.partitions(outputs - {changelog}).items()):
        for number in range(count):
            producer.produce(topic, b"", b"", number)
    producer.flush()
    producer.produce(changelog, b"", b"", partition)
    producer.flush()
    producer.abort_all()
    wait_decided(topics, changelog, partition)
    log.info("%s[%d]: what its last owner left undecided is aborted, and done again", changelog, partition)


def wait_decided(topics: Topics, changelog: str, partition: int) -> None:
    """Returns when no transaction is undecided. Blocking. Raises FatalError after ``DECIDED_SECONDS``."""
    deadline = time.monotonic() + DECIDED_SECONDS
    while True:
        decided, end = topics.decided_to(changelog, partition)
        if decided == end:
            return
        if time.monotonic() > deadline:
            raise FatalError(f"{changelog}[{partition}]: undecided from {decided} to {end} for {DECIDED_SECONDS:.0f} s")
        time.sleep(_ASK_SECONDS)
