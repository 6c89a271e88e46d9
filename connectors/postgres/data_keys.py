"""The rows of wrapped data keys: one per recipient, and one per clinic for people without a record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import psycopg

from connectors.sealing.keyring import kek_id_of


class WrappedKey(NamedTuple):
    """A data key as it lies in Postgres."""

    subject: str
    clinic_id: str
    wrapped: bytes


async def insert(connection: psycopg.AsyncConnection, keys: Sequence[WrappedKey]) -> None:
    """Add new keys. A subject has one key: the caller holds the lock of what it belongs to."""
    if keys:
        await _register_keks(connection, {kek_id_of(key.wrapped) for key in keys})
        await connection.execute(
            """INSERT INTO data_keys (subject, clinic_id, kek_id, wrapped)
               SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bytea[])""",
            _columns(keys),
        )


async def rewrap(connection: psycopg.AsyncConnection, keys: Sequence[WrappedKey]) -> None:
    """Replace how existing keys are wrapped, after a rotation or a move to another clinic."""
    if keys:
        await _register_keks(connection, {kek_id_of(key.wrapped) for key in keys})
        await connection.execute(
            """UPDATE data_keys d SET clinic_id = n.clinic_id, kek_id = n.kek_id, wrapped = n.wrapped, wrapped_at = now()
               FROM unnest(%s::text[], %s::text[], %s::text[], %s::bytea[]) AS n (subject, clinic_id, kek_id, wrapped)
               WHERE d.subject = n.subject""",
            _columns(keys),
        )


async def find(connection: psycopg.AsyncConnection, subjects: Sequence[str]) -> dict[str, WrappedKey]:
    """The keys of those subjects that have one."""
    cursor = await connection.execute(
        "SELECT subject, clinic_id, wrapped FROM data_keys WHERE subject = ANY(%s)", (list(subjects),)
    )
    return {row[0]: WrappedKey(*row) for row in await cursor.fetchall()}


async def _register_keks(connection: psycopg.AsyncConnection, kek_ids: Iterable[str]) -> None:
    await connection.execute(
        "INSERT INTO key_encryption_keys (kek_id) SELECT unnest(%s::text[]) ON CONFLICT (kek_id) DO NOTHING",
        (sorted(kek_ids),),
    )


def _columns(keys: Sequence[WrappedKey]) -> tuple[list[str], list[str], list[str], list[bytes]]:
    return (
        [key.subject for key in keys],
        [key.clinic_id for key in keys],
        [kek_id_of(key.wrapped) for key in keys],
        [key.wrapped for key in keys],
    )
