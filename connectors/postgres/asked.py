"""What somebody asked to be sent: found again by its idempotency key, or by its notification.

A row is written in the transaction that adds its event to the outbox, so there is never one without the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString, NamedTuple

import psycopg


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. ``body_hash``: keyed, of what was sent with the key. Prints without its recipient."""

    request_id: str
    body_hash: bytes
    notification_id: str
    notification_type: str
    recipient: str
    clinic_id: str
    asked_at: datetime

    def __repr__(self) -> str:
        return f"Asked({self.notification_id}, {self.notification_type})"


class Found(NamedTuple):
    """A request as stored. ``outbox_id`` None: its event is in Kafka; else it is still on its way there."""

    asked: Asked
    outbox_id: int | None


_COLUMNS: LiteralString = """
    SELECT a.request_id, a.body_hash, a.notification_id, a.notification_type, a.recipient, a.clinic_id, a.asked_at, o.id
    FROM asked_notifications a LEFT JOIN outbox o ON o.id = a.outbox_id AND o.published_at IS NULL
"""


async def find(connection: psycopg.AsyncConnection, request_id: str) -> Found | None:
    """The request that was made under this id."""
    cursor = await connection.execute(_COLUMNS + "WHERE a.request_id = %s", (request_id,))
    row = await cursor.fetchone()
    return None if row is None else Found(Asked(*row[:-1]), row[-1])


async def find_by_notification(connection: psycopg.AsyncConnection, notification_id: str) -> Found | None:
    """The request that asked for this notification."""
    cursor = await connection.execute(_COLUMNS + "WHERE a.notification_id = %s", (notification_id,))
    row = await cursor.fetchone()
    return None if row is None else Found(Asked(*row[:-1]), row[-1])


async def add(connection: psycopg.AsyncConnection, asked: Asked) -> bool:
    """Store it. False: one is stored under its id already; then nothing was changed, and what is stored is visible now."""
    cursor = await connection.execute(
        """INSERT INTO asked_notifications
               (request_id, body_hash, notification_id, notification_type, recipient, clinic_id, asked_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (request_id) DO NOTHING""",
        (
            *(asked.request_id, asked.body_hash, asked.notification_id, asked.notification_type),
            *(asked.recipient, asked.clinic_id, asked.asked_at),
        ),
    )
    return cursor.rowcount == 1


async def note_event(connection: psycopg.AsyncConnection, request_id: str, outbox_id: int) -> None:
    """Its event's row, added in the same transaction."""
    await connection.execute(
        "UPDATE asked_notifications SET outbox_id = %s WHERE request_id = %s", (outbox_id, request_id)
    )
