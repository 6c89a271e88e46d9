"""The relay: everything committed reaches Kafka, in order, whatever is killed, and nothing that was rolled back does."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import psycopg
import pytest
from confluent_kafka import Message

from connectors.kafka import make_producer, read_to_end
from connectors.kafka_admin import create_topics
from connectors.postgres.outbox import OutboxDelayed, OutboxError, add, published
from connectors.postgres.outbox_sealing import sealed_row
from connectors.postgres.pool import Pool
from connectors.postgres.relay import BATCH_ROWS, Relay, delete_published
from connectors.sealing import KeyRing
from connectors.settings import Settings
from schemas.topics import AGGREGATE_GATES
from tests.conftest import Stack

pytestmark = pytest.mark.integration

DEADLINE_SECONDS = 120.0


def connected(settings: Settings) -> psycopg.Connection:
    return psycopg.connect(settings.postgres_dsn.get_secret_value(), autocommit=True)


def insert(connection: psycopg.Connection, topic: str, key: str, value: str | None) -> None:
    connection.execute(
        "INSERT INTO outbox (topic, key, value) VALUES (%s, %s, %s)",
        (topic, key.encode(), None if value is None else value.encode()),
    )


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def unpublished(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT count(*) FROM outbox WHERE published_at IS NULL").fetchone()
    assert row is not None
    return int(row[0])


def values(settings: Settings, topic: str) -> list[tuple[str, str | None]]:
    def text(message: Message) -> tuple[str, str | None]:
        key, value = message.key(), message.value()
        assert key is not None
        return key.decode(), None if value is None else value.decode()

    return [text(message) for message in read_to_end(settings, [topic])]


@contextmanager
def running(settings: Settings, batch_rows: int = BATCH_ROWS) -> Iterator[None]:
    stop = Event()
    thread = Thread(target=Relay(settings, batch_rows=batch_rows).run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(DEADLINE_SECONDS)


def test_rows_arrive_in_order_with_tombstones_and_headers(settings: Settings, stack: Stack) -> None:
    topic = stack.new_topics(["t"], partitions=1)["t"]
    with connected(settings) as connection, running(settings):
        with connection.transaction():
            insert(connection, topic, "a", "1")
            insert(connection, topic, "a", None)
            connection.execute(
                "INSERT INTO outbox (topic, key, value, headers) VALUES (%s, 'b', '2', %s)",
                (topic, '{"correlation_id": "c"}'),
            )
        wait_for(lambda: unpublished(connection) == 0)
    assert values(settings, topic) == [("a", "1"), ("a", None), ("b", "2")]
    last = list(read_to_end(settings, [topic]))[-1]
    headers = dict(last.headers() or [])
    assert headers["correlation_id"] == b"c"
    stamp = headers["occurred_at_ms"]
    assert isinstance(stamp, bytes)
    assert abs(int(stamp) / 1000 - time.time()) < 600


def test_a_row_that_commits_late_keeps_its_place(settings: Settings, stack: Stack) -> None:
    """The trap of sequences: the second transaction commits first, and must not be published first."""
    topic = stack.new_topics(["t"], partitions=1)["t"]
    with connected(settings) as slow, connected(settings) as quick, running(settings):
        with slow.transaction():
            insert(slow, topic, "k", "first")
            insert(quick, topic, "k", "second")
            time.sleep(1.0)  # far longer than the relay needs to wake
            assert values(settings, topic) == []
        wait_for(lambda: unpublished(quick) == 0)
    assert values(settings, topic) == [("k", "first"), ("k", "second")]


def test_an_open_transaction_without_outbox_rows_holds_up_nothing(settings: Settings, stack: Stack) -> None:
    topic = stack.new_topics(["t"], partitions=1)["t"]
    with (
        connected(settings) as unrelated,
        connected(settings) as connection,
        running(settings),
        unrelated.transaction(),
    ):
        unrelated.execute("INSERT INTO key_encryption_keys (kek_id) VALUES ('k9')")
        insert(connection, topic, "k", "v")
        wait_for(lambda: unpublished(connection) == 0)


def test_what_is_rolled_back_is_never_published(settings: Settings, stack: Stack) -> None:
    topic = stack.new_topics(["t"], partitions=1)["t"]
    with connected(settings) as connection, running(settings):
        with connection.transaction(force_rollback=True):
            insert(connection, topic, "k", "never")
        insert(connection, topic, "k", "ever")
        wait_for(lambda: unpublished(connection) == 0)
    assert values(settings, topic) == [("k", "ever")]


def test_small_batches_and_a_second_relay_change_nothing(settings: Settings, stack: Stack) -> None:
    topic = stack.new_topics(["t"], partitions=1)["t"]
    with connected(settings) as connection, running(settings, batch_rows=7), running(settings, batch_rows=7):
        for number in range(100):
            insert(connection, topic, "k", str(number))
        wait_for(lambda: unpublished(connection) == 0)
    assert values(settings, topic) == [("k", str(number)) for number in range(100)]


def test_published_rows_are_deleted_when_old_and_others_stay(settings: Settings, stack: Stack) -> None:
    topic = stack.new_topics(["t"], partitions=1)["t"]
    with connected(settings) as connection:
        with running(settings):
            insert(connection, topic, "k", "1")
            wait_for(lambda: unpublished(connection) == 0)
        insert(connection, topic, "k", "2")
        assert delete_published(connection, 3600) == 0
        assert delete_published(connection, 0) == 1
        assert unpublished(connection) == 1


def test_house_is_kept_by_a_relay_that_is_never_idle(settings: Settings, stack: Stack) -> None:
    topic = stack.new_topics(["t"], partitions=1)["t"]
    left: list[int] = []
    stop = Event()
    with connected(settings) as connection:
        for number in range(20):
            insert(connection, topic, "k", str(number))
        relay = Relay(settings, batch_rows=1, housekeeping=lambda its: left.append(unpublished(its)))
        thread = Thread(target=relay.run, args=(stop,))
        thread.start()
        try:
            wait_for(lambda: unpublished(connection) == 0)
        finally:
            stop.set()
            thread.join(DEADLINE_SECONDS)
    assert left == [19]  # and not again so soon


def test_a_gate_is_in_force_when_sinks_can_read_it_and_not_before(settings: Settings) -> None:
    """Behind the transaction of an owner that died nobody can read what the relay committed: so nobody is told of it yet."""
    create_topics(settings)
    owner = make_producer(settings, transactional_id=f"test-{uuid.uuid4()}", transaction_timeout_ms=120_000)
    owner.init_transactions(60)
    owner.begin_transaction()
    for partition in range(settings.kafka_partitions):
        owner.produce(AGGREGATE_GATES, b"", b"test:open", partition)
    assert owner.flush(60) == 0
    key = f"aggregate:c1:appointment:{uuid.uuid4()}"

    def times_there() -> int:
        return [message.key() for message in read_to_end(settings, [AGGREGATE_GATES])].count(key.encode())

    with connected(settings) as connection, running(settings):
        insert(connection, AGGREGATE_GATES, key, None)
        time.sleep(2.0)
        assert (unpublished(connection), times_there()) == (1, 0)
        owner.abort_transaction(60)
        wait_for(lambda: unpublished(connection) == 0)
        assert times_there() == 1


def test_it_goes_on_after_postgres_was_away(settings: Settings, stack: Stack) -> None:
    topic = stack.new_topics(["t"], partitions=1)["t"]
    database = settings.postgres_dsn.get_secret_value().rpartition("/")[2]
    with (
        connected(settings) as connection,
        psycopg.connect(stack.postgres_dsn, autocommit=True) as server,
        running(settings),
    ):
        insert(connection, topic, "k", "1")
        wait_for(lambda: unpublished(connection) == 0)
        server.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false'.encode())
        server.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = 'luxe-relay'"
        )
        insert(connection, topic, "k", "2")
        time.sleep(1.5)
        assert unpublished(connection) == 1
        server.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true'.encode())
        wait_for(lambda: unpublished(connection) == 0)
    assert values(settings, topic) == [("k", "1"), ("k", "2")]


@pytest.mark.timeout(600)  # ten starts, and then what they left
def test_ten_kills_lose_nothing_and_keep_the_order(settings: Settings, stack: Stack) -> None:
    """Four writers with overlapping transactions; the relay's process killed ten times at any moment."""
    topic = stack.new_topics(["t"], partitions=2)["t"]
    keys = [f"key-{number}" for number in range(8)]
    with connected(settings) as connection:
        connection.execute("CREATE TABLE counted (key text PRIMARY KEY, n int NOT NULL DEFAULT 0)")
        connection.execute("INSERT INTO counted (key) SELECT unnest(%s::text[])", (keys,))
    finished = threading.Event()

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with connected(settings) as writer:
            while not finished.is_set():
                with writer.transaction():
                    for key in sorted(chance.sample(keys, 2)):
                        row = writer.execute(
                            "UPDATE counted SET n = n + 1 WHERE key = %s RETURNING n", (key,)
                        ).fetchone()
                        assert row is not None
                        insert(writer, topic, key, str(row[0]))
                        time.sleep(chance.choice((0, 0, 0.001, 0.01)))

    environment = os.environ | {
        "LUXE_STATE_DIR": str(settings.state_dir),
        "LUXE_POSTGRES_DSN": settings.postgres_dsn.get_secret_value(),
        "LUXE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
    }
    writers = [Thread(target=write, args=(seed,)) for seed in range(4)]
    chance = random.Random(5)
    for thread in writers:
        thread.start()
    try:
        for _kill in range(10):
            relay = subprocess.Popen(
                [sys.executable, "-m", "connectors.postgres", "relay"], env=environment, stderr=subprocess.DEVNULL
            )
            ready = settings.state_dir / "ready" / "relay"
            wait_for(ready.exists)
            ready.unlink()
            time.sleep(chance.uniform(0.0, 0.6))
            relay.send_signal(signal.SIGKILL)
            relay.wait()
    finally:
        finished.set()
        for thread in writers:
            thread.join()
    with connected(settings) as connection, running(settings):
        wait_for(lambda: unpublished(connection) == 0)
        counts: dict[str, int] = dict(connection.execute("SELECT key, n FROM counted").fetchall())

    seen: dict[str, list[int]] = defaultdict(list)
    for key, value in values(settings, topic):
        assert value is not None
        seen[key].append(int(value))
    for key in keys:
        assert seen[key][-1] == counts[key]
        highest = 0
        for number in seen[key]:
            # Forward by one, or back to the start of a batch that is published again.
            assert number <= highest + 1
            highest = max(highest, number)
        assert highest == counts[key]


async def test_a_writer_can_wait_until_kafka_has_it(settings: Settings, pool: Pool) -> None:
    async with pool.connection() as connection:
        id_ = await add(connection, "gates", b"notification:test", None)
        with pytest.raises(psycopg.ProgrammingError, match="inside a transaction"):
            await published(connection, [id_])
    async with pool.connection() as connection:
        with pytest.raises(OutboxDelayed, match="safe in Postgres"):
            await published(connection, [id_], timeout_seconds=0.1)
        await connection.execute("UPDATE outbox SET published_at = now()")
        await connection.commit()
        await published(connection, [id_], timeout_seconds=0.1)


async def test_a_row_that_no_topic_would_take_is_refused_at_once(pool: Pool) -> None:
    async with pool.connection() as connection:
        with pytest.raises(OutboxError, match="topic table"):
            await add(connection, "no-such-topic", b"k", b"v")
        with pytest.raises(OutboxError, match="empty key"):
            await add(connection, "gates", b"", b"v")
        with pytest.raises(OutboxError, match="takes 4194304"):
            await add(connection, "gates", b"k", bytes(4 * 1024 * 1024))


def test_a_sealed_row_is_opened_by_the_relay(settings: Settings, stack: Stack, ring: KeyRing) -> None:
    topic = stack.new_topics(["t"], partitions=1)["t"]
    row = sealed_row(ring, topic, b"k", b"Zebediah")
    with connected(settings) as connection, running(settings):
        connection.execute(
            "INSERT INTO outbox (topic, key, value, sealed) VALUES (%s, %s, %s, true)", (row.topic, row.key, row.value)
        )
        wait_for(lambda: unpublished(connection) == 0)
        (kept,) = connection.execute("SELECT value FROM outbox WHERE topic = %s", (topic,)).fetchone() or (b"",)
    assert values(settings, topic) == [("k", "Zebediah")]
    assert b"Zebediah" not in kept
