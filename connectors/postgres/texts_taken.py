"""Which texts from phones were taken, and up to when the provider was asked for those that were not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import psycopg

# One sweep at a time, whichever process.
_SWEEP_LOCK = 7305808869232311


class Swept(NamedTuple):
    """Everything received before ``through`` is taken; ``at``: when a sweep was last whole."""

    through: datetime
    at: datetime


async def known(connection: psycopg.AsyncConnection, message_ids: Sequence[str]) -> set[str]:
    """Those of them that were taken."""
    cursor = await connection.execute(
        "SELECT message_id FROM texts_taken WHERE message_id = ANY(%s)", (list(message_ids),)
    )
    return {message_id for (message_id,) in await cursor.fetchall()}


async def remember(connection: psycopg.AsyncConnection, message_id: str) -> None:
    """It is taken: what follows from it is durable."""
    await connection.execute("INSERT INTO texts_taken (message_id) VALUES (%s) ON CONFLICT DO NOTHING", (message_id,))


async def try_lock(connection: psycopg.AsyncConnection) -> bool:
    """Be the one that sweeps, until ``unlock`` or the connection's end; False: another one does."""
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (_SWEEP_LOCK,))
    return await cursor.fetchone() == (True,)


async def unlock(connection: psycopg.AsyncConnection) -> None:
    """Let others sweep."""
    await connection.execute("SELECT pg_advisory_unlock(%s)", (_SWEEP_LOCK,))


async def swept(connection: psycopg.AsyncConnection) -> Swept:
    """How far it is."""
    cursor = await connection.execute("SELECT through, swept_at FROM inbound_sweep")
    [row] = await cursor.fetchall()  # the migration wrote it
    return Swept(*row)


async def advance(connection: psycopg.AsyncConnection, to: Swept) -> None:
    """Everything before ``to.through`` is durable."""
    await connection.execute(
        "UPDATE inbound_sweep SET through = greatest(through, %s), swept_at = greatest(swept_at, %s)", to
    )


async def clinics_senders(connection: psycopg.AsyncConnection) -> list[str]:
    """Clinics' own marketing senders."""
    cursor = await connection.execute(
        """SELECT DISTINCT content->>'sms_marketing_sender' FROM policies
           WHERE content->>'sms_marketing_sender' IS NOT NULL ORDER BY 1"""
    )
    return [sender for (sender,) in await cursor.fetchall()]
