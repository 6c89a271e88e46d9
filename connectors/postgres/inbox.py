"""Inboxes of people, as they are read: by page, by what items are about, and by what changed after a version.

Every change of an inbox takes the next version of it, under the lock of its row in ``inboxes``; so versions become visible in
their order, and ``changes`` after the version last seen misses nothing. See docs/adr/0016-in-app.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, NamedTuple

import psycopg
from psycopg.rows import class_row, namedtuple_row

Acknowledge = Literal["none", "own", "shared"]
View = Literal["open", "archived", "snoozed", "all"]

# What a person's clinics are joined by on their way into a query: no id holds it.
_SEPARATOR = "\x1f"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message for an inbox, as it is stored. ``sealed``: as its ChannelMessage has it. Prints without its recipient."""

    recipient: str = field(repr=False)
    notification_id: str
    delivery_id: str
    event_id: str
    clinic_id: str
    notification_type: str
    category: str
    lane: str
    step: int
    attempt: int
    template_id: str
    template_version: int
    correlation_id: str | None
    occurred_at: datetime
    group_key: str
    acknowledge: Acknowledge
    locale: str
    sealed: bytes = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Item(Arrival):
    """An item as it lies in its inbox: what came, and what became of it."""

    number: int
    version: int
    created_at: datetime
    seen_at: datetime | None
    read_at: datetime | None
    archived_at: datetime | None
    snoozed_until: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None = field(repr=False)


ITEM_FIELDS = tuple(one.name for one in fields(Item))
ITEM_COLUMNS = ", ".join(ITEM_FIELDS)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whose inbox, and the clinics whose items they may see; None: every one's."""

    recipient: str = field(repr=False)
    clinics: frozenset[str] | None = None

    def sees(self, item: Item) -> bool:
        """Whether an item of theirs is of a clinic that they (still) work for."""
        return self.clinics is None or item.clinic_id in self.clinics

    @property
    def joined_clinics(self) -> str | None:
        """For a query: see ``VISIBLE``."""
        return None if self.clinics is None else _SEPARATOR.join(sorted(self.clinics))


class Counts(NamedTuple):
    """Of what is open: how many were not read, how many not even seen in the list; and the inbox's versions."""

    unread: int
    unseen: int
    version: int
    forgotten: int


class Group(NamedTuple):
    """What is open about one thing. ``latest``: the newest of them."""

    group_key: str
    items: int
    unread: int
    latest: Item


# Named parameters: recipient, clinics (joined, or NULL).
VISIBLE = """
    recipient = %(recipient)s AND expires_at > now()
    AND (%(clinics)s::text IS NULL OR clinic_id = ANY(string_to_array(%(clinics)s, chr(31))))
"""
_OPEN = "archived_at IS NULL AND (snoozed_until IS NULL OR snoozed_until <= now())"
_VIEWS: Mapping[View, str] = {
    "open": _OPEN,
    "archived": "archived_at IS NOT NULL",
    "snoozed": "archived_at IS NULL AND snoozed_until > now()",
    "all": "true",
}


async def page(
    connection: psycopg.AsyncConnection,
    viewer: Viewer,
    *,
    view: View = "open",
    unread: bool = False,
    group_key: str | None = None,
    before: int | None = None,
    limit: int,
) -> list[Item]:
    """Items, the newest first. ``before``: only with a lower number, that is: the next page."""
    conditions = [VISIBLE, _VIEWS[view]]
    if unread:
        conditions.append("read_at IS NULL")
    if group_key is not None:
        conditions.append("group_key = %(group_key)s")
    if before is not None:
        conditions.append("number < %(before)s")
    where = " AND ".join(conditions)
    query = f"SELECT {ITEM_COLUMNS} FROM inbox_items WHERE {where} ORDER BY number DESC LIMIT %(limit)s"  # noqa: S608
    async with connection.cursor(row_factory=class_row(Item)) as cursor:
        await cursor.execute(
            query,
            {
                **{"recipient": viewer.recipient, "clinics": viewer.joined_clinics, "limit": limit},
                **{"group_key": group_key, "before": before},
            },
        )
        return await cursor.fetchall()


async def open_alerts(connection: psycopg.AsyncConnection, viewer: Viewer, limit: int) -> list[Item]:
    """Alerts that nobody took, whatever else was done with them: critical ones first, then the newest."""
    query = f"""
        SELECT {ITEM_COLUMNS} FROM inbox_items
        WHERE {VISIBLE} AND acknowledge <> 'none' AND acknowledged_at IS NULL
        ORDER BY (lane = 'critical') DESC, number DESC LIMIT %(limit)s
    """  # noqa: S608
    async with connection.cursor(row_factory=class_row(Item)) as cursor:
        await cursor.execute(query, {"recipient": viewer.recipient, "clinics": viewer.joined_clinics, "limit": limit})
        return await cursor.fetchall()


async def find(connection: psycopg.AsyncConnection, viewer: Viewer, notification_id: str) -> Item | None:
    """One item, whether open or not; None where it is not there, or expired."""
    query = f"SELECT {ITEM_COLUMNS} FROM inbox_items WHERE {VISIBLE} AND notification_id = %(notification_id)s"  # noqa: S608
    async with connection.cursor(row_factory=class_row(Item)) as cursor:
        await cursor.execute(
            query,
            {
                **{"recipient": viewer.recipient, "clinics": viewer.joined_clinics},
                "notification_id": notification_id,
            },
        )
        return await cursor.fetchone()


async def groups(connection: psycopg.AsyncConnection, viewer: Viewer, *, before: int | None, limit: int) -> list[Group]:
    """What is open, by what it is about; that with the newest item first. ``before``: only with a lower newest number."""
    query = f"""
        WITH mine AS (
            SELECT *, row_number() OVER (PARTITION BY group_key ORDER BY number DESC) AS place,
                   count(*) OVER (PARTITION BY group_key) AS items,
                   count(*) FILTER (WHERE read_at IS NULL) OVER (PARTITION BY group_key) AS unread
            FROM inbox_items WHERE {VISIBLE} AND {_OPEN}
        )
        SELECT items, unread, {ITEM_COLUMNS} FROM mine
        WHERE place = 1 AND (%(before)s::bigint IS NULL OR number < %(before)s) ORDER BY number DESC LIMIT %(limit)s
    """  # noqa: S608
    wanted = {"recipient": viewer.recipient, "clinics": viewer.joined_clinics, "before": before, "limit": limit}
    cursor = await connection.execute(query, wanted)
    rows = await cursor.fetchall()
    return [Group(latest.group_key, items, unread, latest) for items, unread, *of in rows for latest in (Item(*of),)]


# One row for each viewer asked about: parameters are recipients and their joined clinics.
_COUNTS = f"""
    SELECT coalesce(c.unread, 0) AS unread, coalesce(c.unseen, 0) AS unseen, coalesce(b.version, 0) AS version,
           coalesce(b.forgotten, 0) AS forgotten
    FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS w (recipient, clinics, place)
    LEFT JOIN inboxes b ON b.recipient = w.recipient
    CROSS JOIN LATERAL (
        SELECT count(*) AS unread, count(*) FILTER (WHERE seen_at IS NULL) AS unseen FROM inbox_items i
        WHERE i.recipient = w.recipient AND i.read_at IS NULL AND {_OPEN} AND i.expires_at > now()
          AND (w.clinics IS NULL OR i.clinic_id = ANY(string_to_array(w.clinics, chr(31))))
    ) AS c
    ORDER BY w.place
"""  # noqa: S608
_CHANGES = f"""
    SELECT w.place - 1 AS place, i.*
    FROM unnest(%s::text[], %s::bigint[]) WITH ORDINALITY AS w (recipient, after, place)
    CROSS JOIN LATERAL (
        SELECT {ITEM_COLUMNS} FROM inbox_items i
        WHERE i.recipient = w.recipient AND i.version > w.after ORDER BY i.version LIMIT %s
    ) AS i
    ORDER BY w.place, i.version
"""  # noqa: S608


async def counts(connection: psycopg.AsyncConnection, viewers: Sequence[Viewer]) -> list[Counts]:
    """For each viewer, in the same order."""
    async with connection.cursor(row_factory=namedtuple_row) as cursor:
        await cursor.execute(
            _COUNTS, ([viewer.recipient for viewer in viewers], [viewer.joined_clinics for viewer in viewers])
        )
        return [Counts(*row) for row in await cursor.fetchall()]


async def changes(
    connection: psycopg.AsyncConnection, after: Sequence[tuple[str, int]], limit: int
) -> list[list[Item]]:
    """For each (recipient, version): what changed after it, in the order of versions, at most ``limit``; expired items too.

    A list of ``limit`` items may not be all: ask again after its last version.
    """
    found: list[list[Item]] = [[] for _ in after]
    cursor = await connection.execute(
        _CHANGES, ([recipient for recipient, _ in after], [version for _, version in after], limit)
    )
    for place, *columns in await cursor.fetchall():
        found[place].append(Item(*columns))
    return found


async def versions(connection: psycopg.AsyncConnection, recipients: Sequence[str]) -> dict[str, int]:
    """The versions of those inboxes that have one."""
    cursor = await connection.execute(
        "SELECT recipient, version FROM inboxes WHERE recipient = ANY(%s)", (list(recipients),)
    )
    return dict(await cursor.fetchall())


def delivery_of(item: Item) -> dict[str, Any]:
    """What a status says of an item's delivery: see connectors.statuses.DELIVERY_FIELDS."""
    return {name: getattr(item, name) for name in ITEM_FIELDS if name != "sealed"} | {"channel": "in_app"}
