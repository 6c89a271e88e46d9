"""What comes into inboxes, by the batch: once each, in an order that becomes visible as it is. See connectors.postgres.inbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import NamedTuple

import psycopg

from connectors.postgres import inbox_marks
from connectors.postgres.inbox import Arrival as Arrival
from connectors.postgres.pool import Pool, each_by_itself
from connectors.postgres.records import Records

# Seconds. An alert is put in several statements, so its inboxes are held between them: a process that stands still meanwhile
# holds up whoever else puts into them, or takes the alert, no longer than this. Worst case it is put again: nothing is lost.
STANDSTILL_SECONDS = 5


class Placed(NamedTuple):
    """Where an arrival lies. ``version``: the inbox's when it last changed."""

    delivery_id: str
    version: int


# Recipient, notification id.
_Key = tuple[str, str]

# The columns of a message that comes, and Postgres' type of each.
_NAMES = tuple(one.name for one in fields(Arrival))
_TYPES = {"int": "int", "bytes": "bytea", "datetime": "timestamptz"}
_COLUMNS = ", ".join(_NAMES)
_ARRAYS = ", ".join(f"%s::{_TYPES.get(str(one.type), 'text')}[]" for one in fields(Arrival))

# One row an inbox is changed, and so held until the commit, in one order for all; numbers follow in the order of arrival. A
# message that is there already takes a version that nobody will see.
_PUT = f"""
    WITH n AS (
        SELECT * FROM unnest({_ARRAYS}) WITH ORDINALITY AS n ({_COLUMNS}, place)
    ), held AS (
        INSERT INTO inboxes AS b (recipient, version)
        SELECT recipient, count(*) FROM n GROUP BY recipient ORDER BY recipient
        ON CONFLICT (recipient) DO UPDATE SET version = b.version + excluded.version
        RETURNING recipient, version
    ), numbered AS (
        SELECT n.*, held.version + 1 - row_number() OVER (PARTITION BY n.recipient ORDER BY n.place DESC) AS number
        FROM n JOIN held USING (recipient)
    )
    INSERT INTO inbox_items (number, version, {_COLUMNS})
    SELECT number, number, {_COLUMNS} FROM numbered ORDER BY recipient, number
    ON CONFLICT (recipient, notification_id) DO NOTHING
    RETURNING recipient, notification_id, delivery_id, version
"""  # noqa: S608 — names of columns, from our own class
_PLACED = """
    SELECT i.recipient, i.notification_id, i.delivery_id, i.version
    FROM inbox_items i JOIN unnest(%s::text[], %s::text[]) AS n (recipient, notification_id)
         USING (recipient, notification_id)
"""


async def put(pool: Pool, records: Records, arrivals: Sequence[Arrival]) -> list[Placed]:
    """Put messages into their inboxes; where each lies, in the same order. What is there already stays.

    Without shared alerts each statement is committed by itself, so that a process that stands still holds up nobody. Raises
    psycopg.Error; then nobody knows what was put: put it again.
    """
    first: dict[_Key, Arrival] = {}
    for arrival in arrivals:
        first.setdefault((arrival.recipient, arrival.notification_id), arrival)
    alerts = [one for one in first.values() if one.acknowledge == "shared"]
    if alerts:
        placed = await _put_alerts(pool, records, first, alerts)
    else:
        async with each_by_itself(pool) as connection:
            placed = await _put(connection, first)
    return [placed[arrival.recipient, arrival.notification_id] for arrival in arrivals]


async def placed(pool: Pool, recipient: str, notification_id: str) -> Placed | None:
    """Where a message lies, if it was put."""
    async with pool.connection() as connection:
        cursor = await connection.execute(_PLACED, ([recipient], [notification_id]))
        row = await cursor.fetchone()
        return None if row is None else Placed(row[2], row[3])


async def _put_alerts(
    pool: Pool, records: Records, first: Mapping[_Key, Arrival], alerts: Sequence[Arrival]
) -> dict[_Key, Placed]:
    async with pool.connection() as connection:
        await connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{STANDSTILL_SECONDS}s'")
        for event_id, notification_type in sorted({(one.event_id, one.notification_type) for one in alerts}):
            await inbox_marks.hold_alert(connection, event_id, notification_type, shared=True)
        placed = await _put(connection, first)
        await inbox_marks.note_taken(connection, records, [(one.recipient, one.notification_id) for one in alerts])
    return placed


async def _put(connection: psycopg.AsyncConnection, first: Mapping[_Key, Arrival]) -> dict[_Key, Placed]:
    placed: dict[_Key, Placed] = {}
    left = list(first)
    while left:  # more than once only where what was there is deleted, as long expired, between the two statements
        columns = [[getattr(first[key], name) for key in left] for name in _NAMES]
        cursor = await connection.execute(_PUT, columns)
        placed |= {(row[0], row[1]): Placed(row[2], row[3]) for row in await cursor.fetchall()}
        left = [key for key in left if key not in placed]
        if left:
            cursor = await connection.execute(_PLACED, ([one for one, _ in left], [two for _, two in left]))
            placed |= {(row[0], row[1]): Placed(row[2], row[3]) for row in await cursor.fetchall()}
            left = [key for key in left if key not in placed]
    return placed
