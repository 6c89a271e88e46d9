"""Which account or sender receipts say may not send: entered by whoever takes receipts; the sinks read it, and pause that one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from connectors.postgres.pool import Pool, each_by_itself

Subject = Literal["account", "care", "marketing"]

# What was taken longer ago says nothing of today: the next text may go, and its receipt says how it is. While texts wait one is
# tried every minute, so only who has nothing to send comes to it.
FORGOTTEN_SECONDS = 3600


class SenderRefusal(NamedTuple):
    """``code``: the provider's; ``clinic_id``: whose message met it."""

    subject: Subject
    code: str
    clinic_id: str


class Refused(NamedTuple):
    """``attempt`` of a delivery was refused, for its sender's sake."""

    refusal: SenderRefusal
    delivery_id: str
    attempt: int


class Arrived(NamedTuple):
    """``attempt`` of a delivery arrived: these may send."""

    subjects: frozenset[Subject]
    delivery_id: str
    attempt: int


async def enter(pool: Pool, provider: str, refused: Sequence[Refused]) -> None:
    """They may not send, as what was refused shows; of that what was taken last counts. Raises psycopg.Error."""
    if not refused:
        return
    rows = [(*one.refusal, one.delivery_id, one.attempt) for one in refused]
    columns = [[row[place] for row in rows] for place in range(5)]
    async with each_by_itself(pool) as connection:
        await connection.execute(
            """INSERT INTO sender_refusals AS r (provider, subject, code, clinic_id, refused_at)
               SELECT DISTINCT ON (n.subject) %s, n.subject, n.code, n.clinic_id, d.updated_at
               FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::int[])
                        AS n (subject, code, clinic_id, delivery_id, attempt)
                    JOIN deliveries d USING (delivery_id, attempt)
               WHERE d.state = 'accepted'
               ORDER BY n.subject, d.updated_at DESC
               ON CONFLICT (provider, subject) DO UPDATE
               SET code = excluded.code, clinic_id = excluded.clinic_id, refused_at = excluded.refused_at
               WHERE excluded.refused_at > r.refused_at""",
            (provider, *columns),
        )


async def lift(pool: Pool, provider: str, arrived: Sequence[Arrived]) -> None:
    """A text that the provider took after the last that it refused of its sender, and that arrived, ends that.

    Raises psycopg.Error.
    """
    if not arrived:
        return
    async with each_by_itself(pool) as connection:
        # Nearly always none stands, and then no delivery is looked up.
        cursor = await connection.execute(
            "SELECT subject FROM sender_refusals WHERE provider = %s AND refused_at >= arrived_at", (provider,)
        )
        refused = {subject for (subject,) in await cursor.fetchall()}
        rows = [(subject, one.delivery_id, one.attempt) for one in arrived for subject in one.subjects & refused]
        if not rows:
            return
        await connection.execute(
            """WITH a AS (
                   SELECT n.subject, max(d.updated_at) AS taken_at
                   FROM unnest(%s::text[], %s::text[], %s::int[]) AS n (subject, delivery_id, attempt)
                        JOIN deliveries d USING (delivery_id, attempt)
                   WHERE d.state = 'accepted' GROUP BY n.subject
               ), locked AS (  -- in one order for all, so that two never wait for each other
                   SELECT r.subject, a.taken_at FROM sender_refusals r JOIN a USING (subject)
                   WHERE r.provider = %s ORDER BY r.subject FOR UPDATE OF r
               )
               UPDATE sender_refusals r SET arrived_at = l.taken_at FROM locked l
               WHERE r.provider = %s AND r.subject = l.subject AND l.taken_at > r.refused_at""",
            (*([row[place] for row in rows] for place in range(3)), provider, provider),
        )


async def standing(pool: Pool, provider: str) -> Collection[SenderRefusal]:
    """Those that stand. Raises psycopg.Error."""
    async with each_by_itself(pool) as connection:
        cursor = await connection.execute(
            """SELECT subject, code, clinic_id FROM sender_refusals
               WHERE provider = %s AND refused_at >= arrived_at AND refused_at > now() - make_interval(secs => %s)""",
            (provider, FORGOTTEN_SECONDS),
        )
        return [SenderRefusal(*row) for row in await cursor.fetchall()]
