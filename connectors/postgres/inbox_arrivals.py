"""What comes into inboxes, by the batch: once each, in an order that becomes visible as it is. See connectors.postgres.inbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import NamedTuple

from connectors.postgres import inbox_marks
from connectors.postgres.inbox import Arrival as Arrival
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records


class Placed(NamedTuple):
    """Where an arrival lies. ``version``: the inbox's when it last changed."""

    delivery_id: str
    version: int


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
    """Put messages into their inboxes, in one statement; where each lies, in the same order. What is there already stays.

    Raises psycopg.Error; then none was put.
    """
    first: dict[tuple[str, str], Arrival] = {}
    for arrival in arrivals:
        first.setdefault((arrival.recipient, arrival.notification_id), arrival)
    columns = [[getattr(arrival, name) for arrival in first.values()] for name in _NAMES]
    async with pool.connection() as connection:
        alerts = [one for one in first.values() if one.acknowledge == "shared"]
        for event_id, notification_type in sorted({(one.event_id, one.notification_type) for one in alerts}):
            await inbox_marks.hold_alert(connection, event_id, notification_type, shared=True)
        cursor = await connection.execute(_PUT, columns)
        placed = {(row[0], row[1]): Placed(row[2], row[3]) for row in await cursor.fetchall()}
        left = [key for key in first if key not in placed]
        if left:
            cursor = await connection.execute(_PLACED, ([one for one, _ in left], [two for _, two in left]))
            placed |= {(row[0], row[1]): Placed(row[2], row[3]) for row in await cursor.fetchall()}
        if alerts:
            await inbox_marks.note_taken(connection, records, [(one.recipient, one.notification_id) for one in alerts])
    return [placed[arrival.recipient, arrival.notification_id] for arrival in arrivals]


async def placed(pool: Pool, recipient: str, notification_id: str) -> Placed | None:
    """Where a message lies, if it was put."""
    async with pool.connection() as connection:
        cursor = await connection.execute(_PLACED, ([recipient], [notification_id]))
        row = await cursor.fetchone()
        return None if row is None else Placed(row[2], row[3])
