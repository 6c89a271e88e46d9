"""Which account or sender receipts say may not send: entered by whoever takes receipts; the sinks read it, and pause that one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from connectors.postgres.pool import Pool, each_by_itself

Subject = Literal["account", "care", "marketing"]

# After so long without another refusal nothing is known any more: the next text may go, and its receipt says how it is. While
# texts wait one is tried every minute, so only who has nothing to send comes to it.
FORGOTTEN_SECONDS = 3600


class SenderRefusal(NamedTuple):
    """``code``: the provider's; ``clinic_id``: whose message met it."""

    subject: Subject
    code: str
    clinic_id: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """A text that arrived, and by whom it had been sent: these may send."""

    subjects: frozenset[Subject]
    delivery_id: str


async def enter(pool: Pool, provider: str, refusals: Sequence[SenderRefusal]) -> None:
    """They may not send, as of now. Raises psycopg.Error."""
    latest = {refusal.subject: refusal for refusal in refusals}
    if not latest:
        return
    columns = [list(column) for column in zip(*sorted(latest.values()), strict=True)]
    async with each_by_itself(pool) as connection:
        await connection.execute(
            """INSERT INTO sender_refusals (provider, subject, code, clinic_id)
               SELECT %s, n.* FROM unnest(%s::text[], %s::text[], %s::text[]) AS n (subject, code, clinic_id)
               ORDER BY n.subject
               ON CONFLICT (provider, subject) DO UPDATE
               SET code = excluded.code, clinic_id = excluded.clinic_id, refused_at = now()""",
            (provider, *columns),
        )


async def lift(pool: Pool, provider: str, arrived: Sequence[Arrived]) -> None:
    """What was taken by the provider after the refusal of its sender, and arrived, ends that. Raises psycopg.Error."""
    pairs = [(subject, one.delivery_id) for one in arrived for subject in sorted(one.subjects)]
    if not pairs:
        return
    async with each_by_itself(pool) as connection:
        await connection.execute(
            """DELETE FROM sender_refusals r
               USING deliveries d, unnest(%s::text[], %s::text[]) AS n (subject, delivery_id)
               WHERE r.provider = %s AND r.subject = n.subject AND d.delivery_id = n.delivery_id
                 AND d.updated_at > r.refused_at""",
            ([subject for subject, _ in pairs], [delivery_id for _, delivery_id in pairs], provider),
        )


async def standing(pool: Pool, provider: str) -> Collection[SenderRefusal]:
    """Those that stand. Raises psycopg.Error."""
    async with each_by_itself(pool) as connection:
        cursor = await connection.execute(
            """SELECT subject, code, clinic_id FROM sender_refusals
               WHERE provider = %s AND refused_at > now() - make_interval(secs => %s)""",
            (provider, FORGOTTEN_SECONDS),
        )
        return [SenderRefusal(*row) for row in await cursor.fetchall()]
