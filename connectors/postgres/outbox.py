"""The outbox's writers' side: rows for Kafka, added in the transaction of the change they tell of. See docs/adr/0005-outbox.md.

Order: rows are published in the order of their ids. So a writer first locks what a record's key stands for (its own row), then
adds; two changes of one recipient then reach Kafka in the order in which they were made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.json import Jsonb

from schemas.topics import BY_NAME

# Held, shared, by every transaction with outbox rows: migration 0001 takes it, the relay looks who holds it.
WRITERS_LOCK = 7305808869232275

# A published row is in Kafka within ~10 ms; asking more often than this only burdens the server.
_FIRST_POLL_SECONDS = 0.004
_LAST_POLL_SECONDS = 0.05


class OutboxError(Exception):
    """A row that could never be published, refused before it blocks all behind it. Names topic and sizes."""


class OutboxDelayed(TimeoutError):
    """Rows are safe in Postgres but not yet in Kafka: the relay, or Kafka, is away."""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One record for Kafka. ``value`` None is a tombstone; ``sealed``: the relay opens it (outbox_sealing.py)."""

    topic: str
    key: bytes
    value: bytes | None = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    sealed: bool = False


async def add(
    connection: psycopg.AsyncConnection,
    topic: str,
    key: bytes,
    value: bytes | None,
    headers: Mapping[str, str] | None = None,
) -> int:
    """Add one row to the caller's transaction; its id. Raises OutboxError."""
    return (await add_many(connection, [OutboxRow(topic, key, value, headers or {})]))[0]


async def add_many(connection: psycopg.AsyncConnection, rows: Sequence[OutboxRow]) -> list[int]:
    """Add rows to the caller's transaction, in their order; their ids. Raises OutboxError."""
    if not rows:
        return []
    for row in rows:
        _check(row)
    cursor = await connection.execute(
        """INSERT INTO outbox (topic, key, value, headers, sealed)
           SELECT topic, key, value, headers, sealed
           FROM unnest(%s::text[], %s::bytea[], %s::bytea[], %s::jsonb[], %s::boolean[])
                WITH ORDINALITY AS r (topic, key, value, headers, sealed, place)
           ORDER BY place
           RETURNING id""",
        (
            [row.topic for row in rows],
            [row.key for row in rows],
            [row.value for row in rows],
            [Jsonb(dict(row.headers)) for row in rows],
            [row.sealed for row in rows],
        ),
    )
    return sorted(id_ for (id_,) in await cursor.fetchall())


async def published(connection: psycopg.AsyncConnection, ids: Sequence[int], timeout_seconds: float = 5.0) -> None:
    """Return once all rows are in Kafka. Raises OutboxDelayed after ``timeout_seconds``.

    Call it after the commit, with a connection that is in no transaction: what is not committed is never published.
    """
    await _none_left(
        connection,
        "SELECT count(*) FROM outbox WHERE id = ANY(%s) AND published_at IS NULL",
        list(ids),
        timeout_seconds,
    )


async def drained(connection: psycopg.AsyncConnection, topics: Sequence[str], timeout_seconds: float = 30.0) -> None:
    """Return once everything committed for these topics is in Kafka. Raises OutboxDelayed. As ``published`` otherwise."""
    await _none_left(
        connection,
        "SELECT count(*) FROM outbox WHERE topic = ANY(%s) AND published_at IS NULL",
        list(topics),
        timeout_seconds,
    )


async def _none_left(
    connection: psycopg.AsyncConnection, query: LiteralString, wanted: list[int] | list[str], timeout_seconds: float
) -> None:
    if connection.info.transaction_status != TransactionStatus.IDLE:
        raise psycopg.ProgrammingError("waiting inside a transaction would wait for what it holds back itself")
    deadline = time.monotonic() + timeout_seconds
    pause = _FIRST_POLL_SECONDS
    while True:
        async with connection.transaction():
            row = await (await connection.execute(query, (wanted,))).fetchone()
        waiting = row[0] if row else 0
        if not waiting:
            return
        if time.monotonic() >= deadline:
            raise OutboxDelayed(
                f"{waiting} records are not in Kafka after {timeout_seconds:g} s; they are safe in Postgres and follow when "
                "relay and Kafka are up: see `luxe status`"
            )
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LAST_POLL_SECONDS)


def _check(row: OutboxRow) -> None:
    topic = BY_NAME.get(row.topic)
    if topic is None:
        raise OutboxError(f"topic {row.topic} is not in the topic table (schemas/topics.py)")
    if not row.key:
        raise OutboxError(f"a record for {row.topic} has an empty key; every topic of ours is keyed")
    size = len(row.key) + len(row.value or b"") + sum(len(name) + len(text) for name, text in row.headers.items())
    # Kafka counts the framing of a batch too.
    if size + 1024 > topic.max_message_bytes:
        raise OutboxError(f"a record for {row.topic} has {size} bytes, its topic takes {topic.max_message_bytes}")
