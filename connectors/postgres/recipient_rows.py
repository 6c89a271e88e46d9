"""The recipients table and its addresses, by the batch: read, locked, stored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import psycopg


class LockedRow(NamedTuple):
    """A row as found, with its wrapped key where it has one. Version 0: made to be locked, nothing in it yet."""

    clinic_id: str
    version: int
    roles: list[str]
    active: bool
    sealed: bytes | None
    erased: bool
    key_clinic_id: str | None
    wrapped: bytes | None


class ChangedRow(NamedTuple):
    """A row as it shall be. ``addresses``: (channel, hash)."""

    recipient: str
    clinic_id: str
    version: int
    roles: list[str]
    active: bool
    updated_at: datetime
    sealed: bytes
    wrapped: bytes
    addresses: frozenset[tuple[str, str]]


async def read(connection: psycopg.AsyncConnection, recipients: Sequence[str]) -> dict[str, LockedRow]:
    """The rows of those that have one, without locking them."""
    cursor = await connection.execute(
        """SELECT r.recipient, r.clinic_id, r.version, r.roles, r.active, r.sealed, r.erased_at IS NOT NULL,
                  k.clinic_id, k.wrapped
           FROM recipients r LEFT JOIN data_keys k ON k.subject = r.recipient WHERE r.recipient = ANY(%s)""",
        (list(recipients),),
    )
    return {recipient: LockedRow(*columns) for recipient, *columns in await cursor.fetchall()}


async def lock(connection: psycopg.AsyncConnection, recipients: Sequence[str]) -> dict[str, LockedRow]:
    """Rows of all recipients, made where missing, locked until the transaction's end in the order of their keys.

    One order for all, so that two batches with the same recipients wait for each other and never for ever.
    """
    in_order = sorted(recipients)
    await connection.execute(
        """INSERT INTO recipients (recipient, clinic_id, version)
           SELECT n.recipient, '', 0 FROM unnest(%s::text[]) AS n (recipient)
           WHERE NOT EXISTS (SELECT FROM recipients r WHERE r.recipient = n.recipient) ORDER BY n.recipient
           ON CONFLICT (recipient) DO NOTHING""",
        (in_order,),
    )
    await connection.execute(
        "SELECT FROM recipients WHERE recipient = ANY(%s) ORDER BY recipient FOR UPDATE", (in_order,)
    )
    # Read after the locks are held: a row that was waited for has changed, and so may have its key.
    return await read(connection, in_order)


async def store(connection: psycopg.AsyncConnection, changes: Sequence[ChangedRow], locked: Sequence[str]) -> None:
    """Write changed rows and their addresses; rows of ``locked`` that were made to be locked and stayed empty go."""
    if changes:
        await connection.execute(
            """UPDATE recipients r
               SET clinic_id = n.clinic_id, version = n.version, roles = string_to_array(n.roles, ','),
                   active = n.active, updated_at = n.updated_at, sealed = n.sealed
               FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[], %s::boolean[], %s::timestamptz[], %s::bytea[])
                    AS n (recipient, clinic_id, version, roles, active, updated_at, sealed)
               WHERE r.recipient = n.recipient""",
            (
                [change.recipient for change in changes],
                [change.clinic_id for change in changes],
                [change.version for change in changes],
                [",".join(change.roles) for change in changes],
                [change.active for change in changes],
                [change.updated_at for change in changes],
                [change.sealed for change in changes],
            ),
        )
        await connection.execute(
            "DELETE FROM addresses WHERE recipient = ANY(%s)", ([change.recipient for change in changes],)
        )
        rows = [(channel, hash_, change.recipient) for change in changes for channel, hash_ in sorted(change.addresses)]
        await connection.execute(
            """INSERT INTO addresses (channel, address_hash, recipient)
               SELECT * FROM unnest(%s::text[], %s::text[], %s::text[])""",
            ([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]),
        )
    await connection.execute("DELETE FROM recipients WHERE recipient = ANY(%s) AND version = 0", (list(locked),))
