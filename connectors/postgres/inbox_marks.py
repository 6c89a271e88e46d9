"""What people do with their inbox: read, see, archive, snooze, acknowledge. Each change takes a version; what others must know of
it (read, acknowledged) goes to Kafka through the outbox, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

import psycopg
from psycopg.rows import class_row

from connectors.postgres import outbox
from connectors.postgres.inbox import ITEM_COLUMNS, ITEM_FIELDS, VISIBLE, Item, Viewer, delivery_of
from connectors.postgres.outbox import OutboxRow
from connectors.postgres.records import Records
from connectors.statuses import delivery_status
from schemas.topics import STATUS

Mark = Literal["read", "unread", "seen", "archive", "unarchive", "snooze", "unsnooze"]

PROVIDER = "in_app"
# Of "all of them", how many a transaction changes: the inbox's row is held meanwhile, and each read one is an outbox row.
MARK_ROWS = 500


class _Change(NamedTuple):
    """What is set, and of which items it is not so yet."""

    sets: str
    unless: str


_READ = "read_at = now(), seen_at = coalesce(seen_at, now()), first_read_at = coalesce(first_read_at, now())"
_MARKS: Mapping[Mark, _Change] = {
    "read": _Change(_READ, "read_at IS NOT NULL"),
    "unread": _Change("read_at = NULL", "read_at IS NULL"),
    "seen": _Change("seen_at = now()", "seen_at IS NOT NULL"),
    "archive": _Change("archived_at = now(), snoozed_until = NULL", "archived_at IS NOT NULL"),
    "unarchive": _Change("archived_at = NULL", "archived_at IS NULL"),
    "snooze": _Change("snoozed_until = %(until)s", "snoozed_until IS NOT DISTINCT FROM %(until)s"),
    "unsnooze": _Change("snoozed_until = NULL", "snoozed_until IS NULL"),
}


@dataclass(frozen=True, slots=True)
class Marked:
    """What was changed. ``versions``: recipient → the inbox's version now, of every inbox that changed."""

    items: Sequence[Item]
    versions: Mapping[str, int]

    def __repr__(self) -> str:
        return f"Marked({len(self.items)} items, {len(self.versions)} inboxes)"


NOTHING = Marked((), {})


async def mark(
    connection: psycopg.AsyncConnection,
    records: Records,
    viewer: Viewer,
    how: Mark,
    *,
    notification_id: str | None = None,
    up_to: int | None = None,
    until: datetime | None = None,
) -> Marked:
    """Mark one item, or of all those with numbers ``up_to`` the oldest MARK_ROWS that are not marked so yet; what changed.

    ``until``: of snoozing. Raises SealError, CodecError, OutboxError.
    """
    held = await _hold(connection, [viewer.recipient])
    if not held:
        return NOTHING
    change = _MARKS[how]
    which = "number <= %(up_to)s" if notification_id is None else "notification_id = %(notification_id)s"
    query = f"""
        WITH wanted AS (
            SELECT notification_id, %(version)s + row_number() OVER (ORDER BY number) AS version
            FROM (
                SELECT notification_id, number FROM inbox_items WHERE {VISIBLE} AND {which} AND NOT ({change.unless})
                ORDER BY number LIMIT %(limit)s
            ) AS waiting
        )
        UPDATE inbox_items i SET {change.sets}, version = wanted.version
        FROM wanted WHERE i.recipient = %(recipient)s AND i.notification_id = wanted.notification_id
        RETURNING {_of("i")}, first_read_at = now()
    """  # noqa: S608
    cursor = await connection.execute(
        query,
        {
            **{"recipient": viewer.recipient, "clinics": viewer.joined_clinics, "version": held[viewer.recipient]},
            **{"notification_id": notification_id, "up_to": up_to, "until": until, "limit": MARK_ROWS},
        },
    )
    rows = await cursor.fetchall()
    if not rows:
        return NOTHING
    items = [Item(*of) for *of, _ in rows]
    await connection.execute(
        "UPDATE inboxes SET version = version + %s WHERE recipient = %s", (len(items), viewer.recipient)
    )
    if how == "read":
        read = [item for item, (*_, first) in zip(items, rows, strict=True) if first]
        await _tell(connection, records, read, "read")
    return Marked(items, {viewer.recipient: max(item.version for item in items)})


async def acknowledge(
    connection: psycopg.AsyncConnection, records: Records, viewer: Viewer, notification_id: str
) -> Marked | None:
    """Take an alert: it expires, where it is shared for everybody it was sent to. None: it is no alert, or not there.

    One that somebody took before stays theirs: nothing changes. Raises CodecError, OutboxError.
    """
    alert = await _alert(connection, viewer, notification_id)
    if alert is None or alert.acknowledge == "none":
        return None
    if alert.acknowledge == "shared":
        await hold_alert(connection, alert.event_id, alert.notification_type, shared=False)
    cursor = await connection.execute(
        """SELECT recipient FROM inbox_items
           WHERE event_id = %(event_id)s AND notification_type = %(type)s AND clinic_id = %(clinic_id)s
             AND acknowledge = 'shared'""",
        {"event_id": alert.event_id, "type": alert.notification_type, "clinic_id": alert.clinic_id},
    )
    everybody = {recipient for (recipient,) in await cursor.fetchall()} if alert.acknowledge == "shared" else set()
    held = await _hold(connection, [*(everybody | {viewer.recipient})])
    update = f"""
        UPDATE inbox_items i
        SET acknowledged_at = now(), acknowledged_by = %s, expires_at = least(expires_at, now()), version = b.version + 1
        FROM inboxes b
        WHERE b.recipient = i.recipient AND i.recipient = ANY(%s) AND i.acknowledged_at IS NULL
          AND (i.event_id, i.notification_type, i.clinic_id) = (%s, %s, %s)
        RETURNING {_of("i")}
    """  # noqa: S608
    cursor = await connection.execute(
        update,
        (viewer.recipient, list(held), alert.event_id, alert.notification_type, alert.clinic_id),
    )
    items = [Item(*row) for row in await cursor.fetchall()]
    if not items:  # somebody was first
        taken = await _alert(connection, viewer, notification_id)
        return None if taken is None else Marked((taken,), {})
    changed = {item.recipient: item.version for item in items}
    await connection.execute("UPDATE inboxes SET version = version + 1 WHERE recipient = ANY(%s)", (list(changed),))
    await _tell(connection, records, items, "acknowledged")
    return Marked(items, changed)


async def note_taken(connection: psycopg.AsyncConnection, records: Records, alerts: Sequence[tuple[str, str]]) -> None:
    """Of shared alerts just put, (recipient, notification id), those that somebody took already come as taken, and expired."""
    query = f"""
        UPDATE inbox_items i
        SET acknowledged_at = taken.acknowledged_at, acknowledged_by = taken.acknowledged_by,
            expires_at = least(i.expires_at, now())
        FROM inbox_items taken, unnest(%s::text[], %s::text[]) AS n (recipient, notification_id)
        WHERE (i.recipient, i.notification_id) = (n.recipient, n.notification_id) AND i.acknowledged_at IS NULL
          AND taken.acknowledge = 'shared' AND taken.acknowledged_at IS NOT NULL
          AND (taken.event_id, taken.notification_type, taken.clinic_id) = (i.event_id, i.notification_type, i.clinic_id)
        RETURNING {_of("i")}
    """  # noqa: S608
    cursor = await connection.execute(query, ([one for one, _ in alerts], [two for _, two in alerts]))
    late = {(row[0], row[1]): Item(*row) for row in await cursor.fetchall()}
    if late:
        await _tell(connection, records, list(late.values()), "acknowledged")


async def hold_alert(
    connection: psycopg.AsyncConnection, event_id: str, notification_type: str, *, shared: bool
) -> None:
    """Until the transaction ends: who puts an alert holds it with others who do (``shared``), who takes it alone.

    So an alert that comes into one inbox while it is taken in another is either seen by who takes it, or sees that it is taken.
    """
    lock = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    await connection.execute(f"SELECT {lock}(hashtextextended(%s, 0))", (f"alert:{event_id}:{notification_type}",))


async def _alert(connection: psycopg.AsyncConnection, viewer: Viewer, notification_id: str) -> Item | None:
    """An item that has not expired, unless by being taken."""
    query = f"""
        SELECT {ITEM_COLUMNS} FROM inbox_items
        WHERE recipient = %(recipient)s AND notification_id = %(notification_id)s
          AND (%(clinics)s::text IS NULL OR clinic_id = ANY(string_to_array(%(clinics)s, chr(31))))
          AND (expires_at > now() OR acknowledged_at IS NOT NULL)
    """  # noqa: S608
    asked = {"recipient": viewer.recipient, "clinics": viewer.joined_clinics, "notification_id": notification_id}
    async with connection.cursor(row_factory=class_row(Item)) as finding:
        await finding.execute(query, asked)
        return await finding.fetchone()


async def _hold(connection: psycopg.AsyncConnection, recipients: Sequence[str]) -> dict[str, int]:
    """The inboxes' versions, held until the commit; in one order for all, so that two never wait for each other."""
    cursor = await connection.execute(
        "SELECT recipient, version FROM inboxes WHERE recipient = ANY(%s) ORDER BY recipient FOR UPDATE",
        (list(recipients),),
    )
    return dict(await cursor.fetchall())


async def _tell(connection: psycopg.AsyncConnection, records: Records, items: Sequence[Item], status: str) -> None:
    """Statuses of their deliveries, once the transaction is committed."""
    cursor = await connection.execute("SELECT now()")
    row = await cursor.fetchone()
    now: Any = row[0] if row else None
    rows = []
    for item in items:
        said = delivery_status(
            delivery_of(item),
            status,
            status_at=now,
            recorded_at=now,
            provider=PROVIDER,
            provider_message_id=item.delivery_id,
        )
        headers = {"occurred_at_ms": str(int(item.occurred_at.timestamp() * 1000))}
        if item.correlation_id is not None:
            headers["correlation_id"] = item.correlation_id
        rows.append(OutboxRow(STATUS, item.recipient.encode(), records.encode_status(said), headers))
    await outbox.add_many(connection, rows)


def _of(table: str) -> str:
    return ", ".join(f"{table}.{name}" for name in ITEM_FIELDS)
