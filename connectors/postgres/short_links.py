"""Rows of short links: written by a sink before its call, read when one is followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import NamedTuple

from connectors.postgres.deliveries import Delivery
from connectors.postgres.pool import Pool


class ShortLink(NamedTuple):
    """One link as it is stored. ``target``: sealed; None: the picture that counts openings."""

    code: str
    delivery_id: str
    recipient: str
    target: bytes | None
    counted: bool

    def __repr__(self) -> str:
        return f"<Short link of delivery {self.delivery_id}>"


class Followed(NamedTuple):
    """A link that somebody came by. ``delivery``: None where the ledger no longer has it."""

    link: ShortLink
    created_at: datetime
    expires_at: datetime
    delivery: Delivery | None

    def __repr__(self) -> str:
        return f"<Followed link of delivery {self.link.delivery_id}>"


_DELIVERY = tuple(field.name for field in fields(Delivery))
_FIND = f"""
    SELECT l.code, l.delivery_id, l.recipient, l.target, l.counted, l.created_at, l.expires_at, d.delivery_id IS NOT NULL,
           {", ".join(f"d.{name}" for name in _DELIVERY)}
    FROM short_links l LEFT JOIN deliveries d USING (delivery_id)
    WHERE l.code = %s
"""  # noqa: S608 - names of columns, from our own class


async def keep(pool: Pool, links: Sequence[ShortLink], days: int) -> None:
    """Store links for so many days; those that are stored already are left as they are. Raises psycopg.Error."""
    first = {link.code: link for link in reversed(links)}
    columns = [[link[place] for link in first.values()] for place in range(len(ShortLink._fields))]
    async with pool.connection() as connection:
        await connection.execute(
            """INSERT INTO short_links (code, delivery_id, recipient, target, counted, expires_at)
               SELECT n.*, now() + make_interval(days => %s)
               FROM unnest(%s::text[], %s::text[], %s::text[], %s::bytea[], %s::boolean[]) AS n (code)
               ORDER BY n.code  -- one order for all, so that two workers never wait for each other
               ON CONFLICT (code) DO NOTHING""",
            (days, *columns),
        )


async def find(pool: Pool, code: str) -> Followed | None:
    """The link of a code. Raises psycopg.Error."""
    async with pool.connection() as connection:
        cursor = await connection.execute(_FIND, (code,))
        row = await cursor.fetchone()
    if row is None:
        return None
    link, (created_at, expires_at, is_known), delivery = row[:5], row[5:8], row[8:]
    return Followed(ShortLink(*link), created_at, expires_at, Delivery(*delivery) if is_known else None)
