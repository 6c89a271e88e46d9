"""Rate limits that workers share: tokens leased in blocks from one row a limit, one window at a time.

A window's leases never add up to more than its limit: its row is locked while they are made, and its number only rises. Time is
Postgres' own, so workers' clocks may differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from connectors.postgres.pool import Pool, each_by_itself


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``tokens`` in each window. ``reserved``: of these, how many are critical messages' alone at the window's start.

    ``block``: what is leased at once, where a window is not half used up yet. ``name`` says the window's length: numbers of
    windows of different lengths cannot be compared. ``kind``: what metrics call it and those like it.
    """

    name: str
    tokens: int
    window_seconds: float
    reserved: int
    block: int
    kind: str = "other"


class Want(NamedTuple):
    """What a worker needs of one limit now."""

    limit: Limit
    critical: int
    other: int


class Lease(NamedTuple):
    """``tokens`` that may be used for ``seconds`` from the moment they were asked for."""

    tokens: int
    seconds: float


def granted(want: Want, leased: int, share_left: float) -> int:
    """How many tokens a want gets when ``leased`` are gone and ``share_left`` of the window is to come (1 to 0). Pure.

    The statement below is this. What is reserved melts with the window, so that it is used up at its end. Ahead of need a block
    is given while at least half is there; after that only what is needed, so that idle workers hold little.
    """
    tokens = want.limit.tokens
    critical = max(0, min(want.critical, tokens - leased))
    open_to_all = tokens - math.floor(want.limit.reserved * share_left) - leased - critical
    ahead = 2 * open_to_all >= tokens and want.critical + want.other > 0
    other = max(want.other, want.limit.block - critical) if ahead else want.other
    return critical + max(0, min(other, open_to_all))


_MAKE = "INSERT INTO rate_limits (name) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING"
_LEASE = """
    WITH wanted AS (
        SELECT * FROM unnest(%s::text[], %s::float8[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[])
            AS w (name, seconds, tokens, reserved, block, critical, other)
    ), locked AS MATERIALIZED (
        SELECT r.name, r.window_number, r.leased FROM rate_limits r WHERE r.name = ANY(%s)
        ORDER BY r.name FOR UPDATE  -- one order for all, so that two workers never wait for each other
    ), timed AS (
        -- After the lock, so that nobody writes an older window over a newer one.
        SELECT w.*, l.window_number, l.leased, extract(epoch FROM clock_timestamp())::float8 AS now
        FROM wanted w JOIN locked l USING (name)
    ), numbered AS (
        -- A window that is not there yet was opened by a clock that was ahead, before a fail-over: the present one counts. One
        -- ahead may be another's that read the clock a moment later.
        SELECT t.*, CASE WHEN t.window_number > floor(t.now / t.seconds)::bigint + 1 THEN floor(t.now / t.seconds)::bigint
                         ELSE greatest(t.window_number, floor(t.now / t.seconds)::bigint) END AS number
        FROM timed t
    ), counted AS (
        SELECT n.*, CASE WHEN n.number = n.window_number THEN n.leased ELSE 0 END AS gone,
               greatest(0, (n.number + 1) * n.seconds - n.now) AS left_seconds
        FROM numbered n
    ), shared AS (
        SELECT c.*, greatest(0, least(c.critical, c.tokens - c.gone)) AS to_critical FROM counted c
    ), opened AS (
        SELECT s.*, s.tokens - s.gone - s.to_critical - floor(s.reserved * least(1, s.left_seconds / s.seconds))::int
                    AS open_to_all
        FROM shared s
    ), given AS (
        SELECT o.name, o.number, o.gone, o.left_seconds,
               o.to_critical + greatest(0, least(o.open_to_all,
                   CASE WHEN 2 * o.open_to_all >= o.tokens AND o.critical + o.other > 0
                        THEN greatest(o.other, o.block - o.to_critical) ELSE o.other END)) AS tokens
        FROM opened o
    ), done AS (
        UPDATE rate_limits r SET window_number = g.number, leased = g.gone + g.tokens FROM given g WHERE r.name = g.name
    )
    SELECT name, tokens, left_seconds FROM given
"""


async def make(pool: Pool, names: Sequence[str]) -> None:
    """Make the rows of limits that have none. Raises psycopg.Error."""
    async with each_by_itself(pool) as connection:
        await connection.execute(_MAKE, (sorted(names),))


async def lease(pool: Pool, wants: Sequence[Want]) -> dict[str, Lease]:
    """Limit's name → what was granted of it, in one statement. A limit without a row is not in it: ``make`` it.

    Raises psycopg.Error; what was granted then lapses unused.
    """
    names = [want.limit.name for want in wants]
    columns = (
        names,
        [want.limit.window_seconds for want in wants],
        [want.limit.tokens for want in wants],
        [want.limit.reserved for want in wants],
        [want.limit.block for want in wants],
        [want.critical for want in wants],
        [want.other for want in wants],
    )
    async with each_by_itself(pool) as connection:
        cursor = await connection.execute(_LEASE, (*columns, names))
        return {name: Lease(tokens, seconds) for name, tokens, seconds in await cursor.fetchall()}
