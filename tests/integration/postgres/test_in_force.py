"""The barrier and the urgent lane: a write that somebody waits for is in Kafka soon, in its key's order, or is said not to be."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest
from psycopg import AsyncConnection

from connectors.kafka import read_to_end
from connectors.kafka_admin import create_topics
from connectors.postgres import gates
from connectors.postgres.gates import Suppression
from connectors.postgres.in_force import open_in_force
from connectors.postgres.outbox import OutboxDelayed
from connectors.postgres.pool import open_pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from schemas.topics import GATES
from tests.conftest import Stack
from tests.integration.postgres.test_relay import connected, running, unpublished, values, wait_for

pytestmark = pytest.mark.integration


async def add(connection: AsyncConnection, topic: str, key: str, value: str) -> int:
    """Straight into the table: these tests' topics are not in ours."""
    cursor = await connection.execute(
        "INSERT INTO outbox (topic, key, value) VALUES (%s, %s, %s) RETURNING id", (topic, key.encode(), value.encode())
    )
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def test_a_write_waits_until_kafka_has_it(settings: Settings, stack: Stack) -> None:
    topic = stack.new_topics(["t"], partitions=1)["t"]
    with running(settings):
        async with open_pool(settings, "t", urgent=True) as pool, open_in_force(settings, "t") as in_force:
            for number in range(20):
                async with pool.connection() as connection:
                    id_ = await add(connection, topic, "k", str(number))
                await in_force.wait([id_], 30.0)
                assert values(settings, topic)[-1] == ("k", str(number))
            await in_force.wait([id_], 0.0)  # it is remembered


async def test_many_wait_at_once_and_for_several_rows(settings: Settings, stack: Stack) -> None:
    topic = stack.new_topics(["t"], partitions=4)["t"]
    with running(settings):
        async with open_pool(settings, "t", urgent=True) as pool, open_in_force(settings, "t") as in_force:

            async def one(number: int) -> None:
                async with pool.connection() as connection:
                    ids = [await add(connection, topic, f"{number}-{part}", "v") for part in range(3)]
                await in_force.wait(ids, 30.0)

            await asyncio.gather(*(one(number) for number in range(200)))
    assert len(values(settings, topic)) == 600


async def test_without_a_relay_it_is_said_in_time_and_comes_into_force_later(settings: Settings, stack: Stack) -> None:
    topic = stack.new_topics(["t"], partitions=1)["t"]
    async with open_pool(settings, "t", urgent=True) as pool, open_in_force(settings, "t") as in_force:
        async with pool.connection() as connection:
            id_ = await add(connection, topic, "k", "v")
        with pytest.raises(OutboxDelayed, match="safe in Postgres"):
            await in_force.wait([id_], 0.3)
        with running(settings):
            await in_force.wait([id_], 30.0)
    assert values(settings, topic) == [("k", "v")]


async def test_what_was_published_while_nobody_listened_is_looked_up(settings: Settings, stack: Stack) -> None:
    topic = stack.new_topics(["t"], partitions=1)["t"]
    async with open_pool(settings, "t", urgent=True) as pool, open_in_force(settings, "t") as in_force:
        with running(settings):
            async with pool.connection() as connection:
                id_ = await add(connection, topic, "k", "1")
            await in_force.wait([id_], 30.0)
            async with pool.connection() as connection:
                # The listener's connection is cut, as a failover does.
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'luxe-t-in-force'"
                )
                id_ = await add(connection, topic, "k", "2")
            await in_force.wait([id_], 30.0)
    assert values(settings, topic) == [("k", "1"), ("k", "2")]


async def test_an_opt_out_does_not_wait_behind_an_import_nor_behind_a_slow_writer(
    settings: Settings, stack: Stack
) -> None:
    topic, urgent = (stack.new_topics([name], partitions=1)[name] for name in ("bulk", "urgent"))
    with connected(settings) as slow, connected(settings) as bulk:
        bulk.execute(
            """INSERT INTO outbox (topic, key, value)
               SELECT %s, ('k' || n)::bytea, repeat('v', 500)::bytea FROM generate_series(1, 20000) AS n""",
            (topic,),
        )
        async with open_pool(settings, "t", urgent=True) as pool, open_in_force(settings, "t") as in_force:
            with slow.transaction():
                # An import that has added a row and takes its time: everything that is not urgent waits for it.
                slow.execute("INSERT INTO outbox (topic, key, value) VALUES (%s, 'slow', 'v')", (topic,))
                async with pool.connection() as connection:
                    id_ = await add(connection, urgent, "k", "out")
                with running(settings):
                    await in_force.wait([id_], 30.0)
                    assert values(settings, urgent) == [("k", "out")]
                    assert unpublished(bulk) >= 20_000
            with running(settings):
                await asyncio.to_thread(wait_for, lambda: unpublished(bulk) == 0)
    assert len(values(settings, topic)) == 20_001


async def test_an_urgent_row_takes_what_is_older_under_its_key_with_it(settings: Settings, stack: Stack) -> None:
    topic = stack.new_topics(["t"], partitions=1)["t"]
    with connected(settings) as bulk:
        for value in ("1", "2"):
            for key in ("a", "b"):
                bulk.execute(
                    "INSERT INTO outbox (topic, key, value) VALUES (%s, %s, %s)", (topic, key.encode(), value.encode())
                )
        async with open_pool(settings, "t", urgent=True) as pool, pool.connection() as connection:
            await add(connection, topic, "b", "3")
        bulk.execute("INSERT INTO outbox (topic, key, value) VALUES (%s, 'b', '4')", (topic,))
        with running(settings, batch_rows=1):
            await asyncio.to_thread(wait_for, lambda: unpublished(bulk) == 0)
    found = values(settings, topic)
    assert [value for key, value in found if key == "b"] == ["1", "2", "3", "4"]
    assert found[:3] == [("b", "1"), ("b", "2"), ("b", "3")]
    assert [value for key, value in found if key == "a"] == ["1", "2"]


@contextmanager
def relays_that_die(settings: Settings, kills: int) -> Iterator[None]:
    """One relay process after another, the first ``kills`` of them killed at work."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("LUXE_")} | {
        "LUXE_POSTGRES_DSN": settings.postgres_dsn.get_secret_value(),
        "LUXE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "LUXE_STATE_DIR": str(settings.state_dir),
    }
    stop = Event()

    def run() -> None:
        for number in range(kills + 1):
            relay = subprocess.Popen([sys.executable, "-m", "connectors.postgres", "relay"], env=environment)
            stop.wait(random.uniform(1.5, 3.0) if number < kills else None)
            relay.kill()
            relay.wait()

    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


async def test_a_relay_killed_between_row_and_kafka_loses_and_reorders_nothing(
    settings: Settings, records: Records
) -> None:
    """Changes of the same few gates by both lanes, under kills: all that was answered is in Kafka, and the last one holds."""
    create_topics(settings)
    keys = [f"consent:patient:{uuid.uuid4()}:sms_marketing" for _ in range(5)]

    async def write(urgent: bool, rounds: int) -> None:
        async with open_pool(settings, "t", urgent=urgent) as pool, open_in_force(settings, "t") as in_force:
            for number in range(rounds):
                change = Suppression(random.choice(keys), "opted_out", f"{urgent}-{number}")
                async with pool.connection() as connection:
                    ids = await gates.put(connection, records, [change])
                await in_force.wait(ids, 60.0)

    with relays_that_die(settings, kills=4):
        await asyncio.gather(write(True, 300), write(True, 300), write(False, 300))
    heard: dict[str, str] = {}
    for message in read_to_end(settings, [GATES]):
        key, value = message.key(), message.value()
        if key is not None and value is not None and key.decode() in keys:
            heard[key.decode()] = records.codec.decode(value).value["source"]
    with connected(settings) as connection:
        stored: dict[str, str] = dict(connection.execute("SELECT gate_key, source FROM suppressions").fetchall())
    assert heard == stored
