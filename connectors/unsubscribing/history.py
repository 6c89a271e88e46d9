"""The history of every no and every yes again (table ``opt_outs``): appended to, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

import psycopg

Action = Literal["out", "in"]
Path = Literal["text", "link", "one_click", "page", "provider"]


@dataclass(frozen=True, slots=True)
class OptOut:
    """One entry. ``scope``: category:<opt-in>, channel, everything, or sender:<class>[,<class>] (``*``: any sender).

    ``at``: when it was said elsewhere; None: now. Prints without people.
    """

    action: Action
    path: Path
    actor: str
    recipients: Sequence[str]
    channel: str
    scope: str
    address_hash: str | None = None
    message_id: str | None = None
    notification_id: str | None = None
    at: datetime | None = None

    def __repr__(self) -> str:
        return f"OptOut({self.action}, {self.path}, {self.channel}, {self.scope})"


class Noted(NamedTuple):
    """What was entered for a provider's message id."""

    action: Action
    scope: str
    address_hash: str
    recipients: list[str]


async def append(connection: psycopg.AsyncConnection, entry: OptOut) -> None:
    """Add an entry, in the transaction of what it changed."""
    await connection.execute(
        """INSERT INTO opt_outs
               (action, path, actor, recipients, channel, scope, address_hash, message_id, notification_id, at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, coalesce(%s, now()))""",
        (
            entry.action,
            entry.path,
            entry.actor,
            list(entry.recipients),
            entry.channel,
            entry.scope,
            entry.address_hash,
            entry.message_id,
            entry.notification_id,
            entry.at,
        ),
    )


async def passed_on(connection: psycopg.AsyncConnection, message_id: str) -> None:
    """Remember that a text was a message for people, though its word could be a wish."""
    await connection.execute(
        "INSERT INTO texts_passed_on (message_id) VALUES (%s) ON CONFLICT DO NOTHING", (message_id,)
    )


async def was_passed_on(connection: psycopg.AsyncConnection, message_id: str) -> bool:
    """Whether it was: then it stays one, whoever posts it again and whatever was said since."""
    cursor = await connection.execute("SELECT 1 FROM texts_passed_on WHERE message_id = %s", (message_id,))
    return await cursor.fetchone() is not None


async def in_turn(connection: psycopg.AsyncConnection, address_hash: str) -> None:
    """Until the transaction's end nobody else carries out what is said of this address."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"opt-out of {address_hash}",))


async def said_yes_since(
    connection: psycopg.AsyncConnection, address_hash: str, sender_class: str, moment: datetime
) -> bool:
    """Whether this address was opened again for this class of sender after that."""
    cursor = await connection.execute(
        "SELECT 1 FROM opt_outs WHERE address_hash = %s AND action = 'in' AND scope = %s AND at > %s LIMIT 1",
        (address_hash, f"sender:{sender_class}", moment),
    )
    return await cursor.fetchone() is not None


async def said_no_since(connection: psycopg.AsyncConnection, address_hash: str, moment: datetime) -> bool:
    """Whether a no came from this address after that."""
    cursor = await connection.execute(
        "SELECT 1 FROM opt_outs WHERE address_hash = %s AND action = 'out' AND at >= %s LIMIT 1", (address_hash, moment)
    )
    return await cursor.fetchone() is not None


async def noted(connection: psycopg.AsyncConnection, message_id: str) -> Noted | None:
    """What was made of a text that came before; until the transaction's end nobody else makes anything of it."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"opt-out {message_id}",))
    cursor = await connection.execute(
        "SELECT action, scope, coalesce(address_hash, ''), recipients FROM opt_outs WHERE message_id = %s",
        (message_id,),
    )
    row = await cursor.fetchone()
    return None if row is None else Noted(*row)
