"""Postgres' side on a durable server (fsync on): relay, recipients, ledger, each against the rate it was built for."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import psycopg
from pydantic import SecretStr

from connectors.kafka_admin import create_topics
from connectors.postgres import deliveries, recipients
from connectors.postgres.deliveries import Attempt, Finish
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import connect, open_pool
from connectors.postgres.recipients import Recipient
from connectors.postgres.records import Records
from connectors.postgres.relay import Relay
from connectors.sealing import ensure_key_ring
from connectors.settings import Settings
from schemas.topics import BY_NAME, GATES
from tests.bench.report import Figure, rate
from tests.conftest import Stack

RECIPIENTS = 10_000
RECIPIENT_BATCH = 500
DELIVERIES = 20_000
# What a sink gathers in a few milliseconds at full speed.
DELIVERY_BATCH = 100
OUTBOX_ROWS = 50_000
RECORD_BYTES = 600

# Rates that the design asks for: a clinic group's whole list in a minute, a sink at three times its own goal.
RECIPIENTS_PER_SECOND = 2_000
DELIVERIES_PER_SECOND = 3_000
OUTBOX_PER_SECOND = 5_000


def figures(stack: Stack, say: Callable[[str], None]) -> list[Figure]:
    """Measure all three; about half a minute."""
    with tempfile.TemporaryDirectory(prefix="luxe-bench-") as folder:
        settings = stack.settings_for(Path(folder), postgres_dsn=SecretStr(stack.new_database()))
        migrate(settings, say=lambda line: None)
        ensure_key_ring(settings)
        create_topics(settings, [BY_NAME[GATES]])
        say("recipients and deliveries")
        stored, entered = asyncio.run(_writers(settings))
        say("relay")
        published = _relay(settings)
    return [
        rate("new recipients stored, sealed, with outbox", [stored], [RECIPIENTS_PER_SECOND], "rows/s", 1.0),
        rate("deliveries begun and finished", [entered], [DELIVERIES_PER_SECOND], "rows/s", 1.0),
        rate("outbox rows in Kafka and marked", [published], [OUTBOX_PER_SECOND], "rows/s", 1.0),
    ]


async def _writers(settings: Settings) -> tuple[float, float]:
    records = Records.open(settings)
    people = [
        Recipient(
            f"patient:{number}", "c1", {"first_name": "Ann", "phones": [{"e164": f"+1500555{number % 10_000:04d}"}]}
        )
        for number in range(RECIPIENTS)
    ]
    attempts = [
        Attempt(
            f"delivery-{number}", "notification", "patient:1", "c1", "appointment_confirmation", "transactional", "high",
            "sms", 0, 1, "twilio", "appointment_confirmation", 1, datetime.now(UTC),
        )
        for number in range(DELIVERIES)
    ]  # fmt: skip
    async with open_pool(settings, "bench") as pool:
        began = time.perf_counter()
        for start in range(0, RECIPIENTS, RECIPIENT_BATCH):
            async with pool.connection() as connection:
                await recipients.upsert_many(connection, records, people[start : start + RECIPIENT_BATCH])
        stored = RECIPIENTS / (time.perf_counter() - began)
        began = time.perf_counter()
        for start in range(0, DELIVERIES, DELIVERY_BATCH):
            batch = attempts[start : start + DELIVERY_BATCH]
            await deliveries.begin(pool, batch)
            await deliveries.finish(
                pool, [Finish(attempt.delivery_id, 1, "accepted", attempt.delivery_id) for attempt in batch]
            )
        entered = DELIVERIES / (time.perf_counter() - began)
    return stored, entered


def _relay(settings: Settings) -> float:
    with connect(settings, "bench") as connection:
        connection.execute("DELETE FROM outbox")
        connection.execute(
            """INSERT INTO outbox (topic, key, value)
               SELECT %s, convert_to('notification:' || n, 'UTF8'), convert_to(repeat('x', %s), 'UTF8')
               FROM generate_series(1, %s) AS n""",
            (GATES, RECORD_BYTES, OUTBOX_ROWS),
        )
        stop = Event()
        relay = Thread(target=Relay(settings).run, args=(stop,))
        began = time.perf_counter()
        relay.start()
        try:
            while _waiting(connection):
                time.sleep(0.02)
            return OUTBOX_ROWS / (time.perf_counter() - began)
        finally:
            stop.set()
            relay.join()


def _waiting(connection: psycopg.Connection) -> bool:
    return connection.execute("SELECT FROM outbox WHERE published_at IS NULL LIMIT 1").fetchone() is not None
