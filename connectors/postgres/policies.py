"""Clinics' policies, and the key for people without a record that each clinic has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import psycopg
from psycopg.types.json import Jsonb

from connectors.postgres import data_keys, outbox
from connectors.postgres.data_keys import WrappedKey
from connectors.postgres.pool import Pool
from connectors.postgres.records import POLICY, SYSTEM_CLINIC, Records, clinic_subject
from schemas.shapes import Violation, shape_of
from schemas.topics import POLICIES
from schemas.validation import violations

# What a policy's row holds beside its content.
_ROW_FIELDS = frozenset({"clinic_id", "version", "wrapped_key", "updated_at", "updated_by"})


class PolicyError(Exception):
    """A policy holds something impossible; the message names the field, its shape and the mend."""


class StoredPolicy(NamedTuple):
    """What `luxe policies list` shows of one."""

    clinic_id: str
    version: int
    name: str
    time_zone: str
    updated_at: datetime
    updated_by: str


class PolicyWritten(NamedTuple):
    """``outbox_ids`` is empty where nothing changed."""

    version: int
    outbox_ids: list[int]


async def put(
    connection: psycopg.AsyncConnection, records: Records, policy: Mapping[str, Any], updated_by: str
) -> PolicyWritten:
    """Store a clinic's policy, a ClinicPolicy without version, key and change; what it lacks takes the schema's default.

    A new clinic gets its strangers key. Raises PolicyError and CodecError for a policy that does not fit its schema, SealError.
    """
    now = datetime.now(UTC)
    clinic_id = str(policy["clinic_id"])
    subject = clinic_subject(clinic_id)
    # Checks it, fills in defaults, and gives equal policies one form, before anything is written.
    draft = {**policy, "version": 1, "wrapped_key": b"", "updated_at": now, "updated_by": updated_by}
    filled = records.codec.decode_bare(POLICY, records.codec.encode_bare(POLICY, draft))
    for violation in (*violations(POLICY, filled), *weekday_faults(filled)):
        raise PolicyError(str(violation))
    content = _content(filled)
    # Serialises first writers too, who have no row to lock yet.
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (subject,))
    cursor = await connection.execute("SELECT version, content FROM policies WHERE clinic_id = %s", (clinic_id,))
    found = await cursor.fetchone()
    key = (await data_keys.find(connection, [subject])).get(subject)
    if key is None:
        key = WrappedKey(subject, clinic_id, records.ring.new_data_key(subject, clinic_id)[0])
        await data_keys.insert(connection, [key])
    else:
        # Another installation's ring must be noticed now, not when the first record cannot be opened.
        records.keys.get(key.wrapped, subject, clinic_id)
    if found is not None and found[1] == content:
        return PolicyWritten(found[0], [])
    version = found[0] + 1 if found else 1
    await connection.execute(
        """INSERT INTO policies (clinic_id, version, content, updated_at, updated_by) VALUES (%s, %s, %s, %s, %s)
           ON CONFLICT (clinic_id) DO UPDATE SET version = excluded.version, content = excluded.content,
               updated_at = excluded.updated_at, updated_by = excluded.updated_by""",
        (clinic_id, version, Jsonb(content), now, updated_by),
    )
    return PolicyWritten(version, await publish(connection, records, [clinic_id]))


def weekday_faults(policy: Mapping[str, Any]) -> Iterator[Violation]:
    """Business days could not be counted by days that are none, or by no day at all."""
    days = policy["open_weekdays"]
    if not days or len(set(days)) != len(days) or not set(days) <= set(range(1, 8)):
        yield Violation(
            "open_weekdays", shape_of(days), "name ISO weekdays, 1 (Monday) to 7, each once, and at least one"
        )


class Current(NamedTuple):
    """A policy as stored: its version, and the content without what its row holds."""

    version: int
    content: dict[str, Any]
    updated_at: datetime
    updated_by: str


async def lock(connection: psycopg.AsyncConnection, clinic_id: str) -> Current | None:
    """A clinic's policy, locked until the transaction's end; None where it has none."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (clinic_subject(clinic_id),))
    return await current(connection, clinic_id)


async def current(connection: psycopg.AsyncConnection, clinic_id: str) -> Current | None:
    """A clinic's policy; None where it has none."""
    cursor = await connection.execute(
        "SELECT version, content, updated_at, updated_by FROM policies WHERE clinic_id = %s", (clinic_id,)
    )
    row = await cursor.fetchone()
    return None if row is None else Current(*row)


async def publish(connection: psycopg.AsyncConnection, records: Records, clinic_ids: list[str]) -> list[int]:
    """Publish policies as they are stored; the caller changed them, or how their keys are wrapped."""
    cursor = await connection.execute(
        """SELECT p.clinic_id, p.version, p.content, p.updated_at, p.updated_by, k.wrapped
           FROM policies p JOIN data_keys k ON k.subject = 'clinic:' || p.clinic_id
           WHERE p.clinic_id = ANY(%s) ORDER BY p.clinic_id FOR UPDATE OF p""",
        (clinic_ids,),
    )
    rows = []
    for clinic_id, version, content, updated_at, updated_by, wrapped in await cursor.fetchall():
        record = {
            **content,
            "holidays": [date.fromisoformat(day) for day in content["holidays"]],
            "clinic_id": clinic_id,
            "version": version,
            "wrapped_key": wrapped,
            "updated_at": updated_at,
            "updated_by": updated_by,
        }
        rows.append(outbox.OutboxRow(POLICIES, clinic_id.encode(), records.encode_policy(record)))
    return await outbox.add_many(connection, rows)


async def stored(connection: psycopg.AsyncConnection) -> list[StoredPolicy]:
    """Every policy, by clinic."""
    cursor = await connection.execute(
        """SELECT clinic_id, version, content->>'name', content->>'time_zone', updated_at, updated_by
           FROM policies ORDER BY clinic_id"""
    )
    return [StoredPolicy(*row) for row in await cursor.fetchall()]


async def strangers_key(connection: psycopg.AsyncConnection, clinic_id: str) -> WrappedKey:
    """The key for people without a record at a clinic, or the system's where the clinic is unknown.

    Raises LookupError before `luxe up` has stored the system's policy.
    """
    keys = await data_keys.find(connection, [clinic_subject(clinic_id), clinic_subject(SYSTEM_CLINIC)])
    key = keys.get(clinic_subject(clinic_id)) or keys.get(clinic_subject(SYSTEM_CLINIC))
    if key is None:
        raise LookupError("no policy for any clinic is stored; run `luxe up`, which stores the first")
    return key


async def wrapped_key(pool: Pool, clinic_id: str) -> tuple[bytes, str]:
    """``strangers_key`` for sinks: the wrapped key, and the clinic it is of. Raises LookupError."""
    async with pool.connection() as connection:
        key = await strangers_key(connection, clinic_id)
    return key.wrapped, key.clinic_id


def _content(policy: Mapping[str, Any]) -> dict[str, Any]:
    """What the row's JSON holds."""
    content = {name: value for name, value in policy.items() if name not in _ROW_FIELDS}
    return content | {"holidays": [day.isoformat() for day in content["holidays"]]}
