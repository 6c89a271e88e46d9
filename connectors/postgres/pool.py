"""Connections to Postgres: one pool a process, bounded; and how an unreachable server is named without its password."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool

from connectors.settings import Settings

# A server on the same network answers in milliseconds; past this it is away, and the caller decides whether to wait.
CONNECT_TIMEOUT_SECONDS = 10
# What every connection of ours asks of the server. A transaction forgotten for a minute would hold up the outbox relay for
# everyone; and a server must notice within ~25 s that a machine of ours vanished, or its locks would stay for two hours.
SESSION_OPTIONS = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "timezone": "UTC",
        "idle_in_transaction_session_timeout": "60s",
        "tcp_keepalives_idle": 10,
        "tcp_keepalives_interval": 5,
        "tcp_keepalives_count": 3,
    }.items()
)
# Adds to the outbox's urgent lane (migration 0007): for writers whose caller waits.
URGENT_OPTION = " -c luxe.urgent=on"
# Three sinks, webhooks, API and relay of one machine stay below Postgres' default of 100 connections.
DEFAULT_POOL_SIZE = 8

Pool = AsyncConnectionPool[psycopg.AsyncConnection]


@asynccontextmanager
async def open_pool(
    settings: Settings,
    name: str,
    *,
    size: int = DEFAULT_POOL_SIZE,
    timeout_seconds: float = 30.0,
    urgent: bool = False,
) -> AsyncIterator[Pool]:
    """A pool of up to ``size`` connections, ready. ``name`` shows in pg_stat_activity.

    ``urgent``: what its writers add to the outbox does not wait behind imports.

    ``async with pool.connection() as connection:`` is one transaction: committed at its end, rolled back by an exception.
    Raises psycopg_pool.PoolTimeout when the server does not answer within ``timeout_seconds``.
    """
    pool: Pool = AsyncConnectionPool(
        settings.postgres_dsn.get_secret_value(),
        kwargs={
            "application_name": f"luxe-{name}",
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "options": SESSION_OPTIONS + (URGENT_OPTION if urgent else ""),
        },
        min_size=1,
        max_size=size,
        timeout=timeout_seconds,
        name=name,
        open=False,
        check=AsyncConnectionPool.check_connection,
    )
    await pool.open(wait=True, timeout=timeout_seconds)
    try:
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def each_by_itself(pool: Pool) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection of the pool on which each statement is committed by the server as it ends.

    A process that stands still between statement and commit would hold its rows' locks, and all who want them, until
    ``idle_in_transaction_session_timeout``. Raises psycopg.Error.
    """
    async with pool.connection() as connection:
        await connection.set_autocommit(True)
        try:
            yield connection
        finally:
            if not connection.closed:
                await connection.set_autocommit(False)


def connect(settings: Settings, name: str) -> psycopg.Connection:
    """One synchronous connection in autocommit mode. Raises psycopg.OperationalError."""
    return psycopg.connect(
        settings.postgres_dsn.get_secret_value(),
        autocommit=True,
        application_name=f"luxe-{name}",
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        options=SESSION_OPTIONS,
    )


async def connect_async(settings: Settings, name: str) -> psycopg.AsyncConnection:
    """One asynchronous connection in autocommit mode. Raises psycopg.OperationalError."""
    return await psycopg.AsyncConnection.connect(
        settings.postgres_dsn.get_secret_value(),
        autocommit=True,
        application_name=f"luxe-{name}",
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        options=SESSION_OPTIONS,
    )


def where(settings: Settings) -> str:
    """host:port/database, for messages; never user or password."""
    parts = conninfo_to_dict(settings.postgres_dsn.get_secret_value())
    return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"
