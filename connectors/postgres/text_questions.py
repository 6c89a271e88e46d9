"""Texts and in-app messages that ask about an appointment: stored by the sink before its call, looked up for an answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import psycopg

from connectors.postgres.pool import Pool

Meant = Literal["confirm", "reschedule"]


class Question(NamedTuple):
    """One message that asked. ``address_hash``: of the number, or of the inbox. ``sealed``: its AskedAppointment; ``starts_at``:
    until then it can be answered.
    """

    delivery_id: str
    address_hash: str
    sender_class: str
    recipient: str
    clinic_id: str
    aggregate_type: str
    aggregate_id: str
    aggregate_version: int
    correlation_id: str | None
    starts_at: datetime
    sealed: bytes

    def __repr__(self) -> str:
        return f"<Question of delivery {self.delivery_id}>"


class Open(NamedTuple):
    """A question that can still be answered. ``confirmed``: an earlier text did, this version of it or a later one."""

    question: Question
    asked_at: datetime
    confirmed: bool


class Put(NamedTuple):
    """A question of a message in an inbox. ``said``: what was answered by its buttons; or a text confirmed as much."""

    notification_id: str
    question: Question
    said: Meant | None


class Answer(NamedTuple):
    """What was made of a text. ``delivery_id`` None: it could be about none, or more than one, of ``possible``."""

    at: datetime
    meant: Meant
    possible: int
    delivery_id: str | None


# What the id of an answer by an inbox's button begins with; the delivery's id follows: one answer a message.
BUTTON = "button "
# Versions of one appointment that are looked through for what the newest leaves open.
_HISTORY = 20
_COLUMNS = ", ".join(f"q.{name}" for name in Question._fields)


async def keep(pool: Pool, questions: Sequence[Question]) -> None:
    """Store questions; those that are stored already are left as they are. Raises psycopg.Error."""
    first = {question.delivery_id: question for question in reversed(questions)}
    columns = [[question[place] for question in first.values()] for place in range(len(Question._fields))]
    async with pool.connection() as connection:
        await connection.execute(
            """INSERT INTO text_questions (delivery_id, address_hash, sender_class, recipient, clinic_id, aggregate_type,
                                           aggregate_id, aggregate_version, correlation_id, starts_at, sealed)
               SELECT n.* FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
                                      %s::bigint[], %s::text[], %s::timestamptz[], %s::bytea[]) AS n (delivery_id)
               ORDER BY n.delivery_id  -- one order for all, so that two workers never wait for each other
               ON CONFLICT (delivery_id) DO NOTHING""",
            columns,
        )


async def asked_of(
    connection: psycopg.AsyncConnection, address_hash: str, sender_class: str, now: datetime, limit: int
) -> list[Open]:
    """What was asked of this number by this sender and can be answered still, the latest first; ``limit`` at most.

    A text that never left asks nothing: the ledger says so.
    """
    cursor = await connection.execute(
        f"""SELECT {_COLUMNS}, q.asked_at, EXISTS (
                SELECT FROM text_answers a JOIN text_questions o ON o.delivery_id = a.delivery_id
                WHERE a.meant = 'confirm' AND a.aggregate_version >= q.aggregate_version
                  AND (o.recipient, o.clinic_id, o.aggregate_type, o.aggregate_id)
                    = (q.recipient, q.clinic_id, q.aggregate_type, q.aggregate_id))
            FROM text_questions q JOIN deliveries d USING (delivery_id)
            WHERE q.address_hash = %s AND q.sender_class = %s AND q.starts_at > %s
              AND d.state IN ('attempting', 'accepted', 'unknown')
            ORDER BY q.asked_at DESC, q.delivery_id LIMIT %s""",  # noqa: S608 - names of columns, from our own class
        (address_hash, sender_class, now, limit),
    )
    return [Open(Question(*columns), asked_at, confirmed) for *columns, asked_at, confirmed in await cursor.fetchall()]


async def history_of(connection: psycopg.AsyncConnection, delivery_id: str) -> list[Question]:
    """A question, and behind it what was asked of the same person about older versions of the same, the newest first.

    Empty: it is forgotten.
    """
    cursor = await connection.execute(
        f"""SELECT {_COLUMNS} FROM text_questions q JOIN text_questions this
                ON (q.recipient, q.clinic_id, q.aggregate_type, q.aggregate_id)
                 = (this.recipient, this.clinic_id, this.aggregate_type, this.aggregate_id)
            WHERE this.delivery_id = %s
              AND (q.delivery_id = this.delivery_id OR q.aggregate_version < this.aggregate_version)
            ORDER BY q.aggregate_version DESC, q.delivery_id LIMIT %s""",  # noqa: S608 - as above
        (delivery_id, _HISTORY),
    )
    return [Question(*columns) for columns in await cursor.fetchall()]


async def put_to(connection: psycopg.AsyncConnection, recipient: str, notification_ids: Sequence[str]) -> list[Put]:
    """The questions of these messages of somebody's inbox; those that ask nothing, or are forgotten, are left out."""
    cursor = await connection.execute(
        f"""SELECT {_COLUMNS}, i.notification_id, COALESCE(
                (SELECT a.meant FROM text_answers a WHERE a.message_id = %s || q.delivery_id),
                (SELECT a.meant FROM text_answers a JOIN text_questions o ON o.delivery_id = a.delivery_id
                 WHERE a.meant = 'confirm' AND a.aggregate_version >= q.aggregate_version
                   AND (o.recipient, o.clinic_id, o.aggregate_type, o.aggregate_id)
                     = (q.recipient, q.clinic_id, q.aggregate_type, q.aggregate_id) LIMIT 1))
            FROM inbox_items i JOIN text_questions q USING (delivery_id)
            WHERE i.recipient = %s AND i.notification_id = ANY(%s) AND q.recipient = i.recipient
              AND i.expires_at > now()""",  # noqa: S608 - as above
        (BUTTON, recipient, list(notification_ids)),
    )
    return [
        Put(notification_id, Question(*columns), said) for *columns, notification_id, said in await cursor.fetchall()
    ]


async def answered(connection: psycopg.AsyncConnection, message_id: str) -> Answer | None:
    """What was made of a text that came before; until the transaction's end nobody else makes anything of it."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"answer {message_id}",))
    cursor = await connection.execute(
        "SELECT at, meant, possible, delivery_id FROM text_answers WHERE message_id = %s", (message_id,)
    )
    row = await cursor.fetchone()
    return None if row is None else Answer(*row)


async def answer(
    connection: psycopg.AsyncConnection,
    message_id: str,
    at: datetime,
    meant: Meant,
    possible: int,
    found: Question | None,
) -> Answer:
    """Enter what is made of a text."""
    await connection.execute(
        """INSERT INTO text_answers (message_id, at, meant, possible, delivery_id, aggregate_id, aggregate_version)
           VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        (
            *(message_id, at, meant, possible),
            *((found.delivery_id, found.aggregate_id, found.aggregate_version) if found else (None, None, None)),
        ),
    )
    return Answer(at, meant, possible, found.delivery_id if found else None)
