"""Devices of recipients, and what their badges show. Forgotten when the provider says that the app is gone, or when somebody
else signs in on them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import psycopg

from connectors.postgres import inbox
from connectors.postgres.pool import Pool
from connectors.postgres.recipients import Edit, Recipient, edit_many
from connectors.postgres.records import Records


class Held(NamedTuple):
    """``devices``: (recipient, hash of a token). ``unread``: recipient → items of the open inbox, of those who have one."""

    devices: frozenset[tuple[str, str]]
    unread: Mapping[str, int]


async def held(pool: Pool, recipients: Sequence[str], hashes: Sequence[str]) -> Held:
    """The devices, by their tokens' keyed hashes, that are registered for one of the recipients now, and how many items of
    their inboxes are unread now; asked in one round trip.
    """
    async with pool.connection() as connection, connection.pipeline():
        cursor = await connection.execute(
            "SELECT recipient, address_hash FROM addresses"
            " WHERE channel = 'push' AND recipient = ANY(%s) AND address_hash = ANY(%s)",
            (list(recipients), list(hashes)),
        )
        unread = await unread_of(connection, recipients)
        return Held(frozenset(await cursor.fetchall()), unread)


async def unread_of(connection: psycopg.AsyncConnection, recipients: Sequence[str]) -> dict[str, int]:
    """Recipient → unread items of the open inbox; who never had an inbox is left out: their apps' badges are not ours.

    Of staff, items of every clinic count: which they work for, only their token says.
    """
    counts = await inbox.counts(connection, [inbox.Viewer(recipient) for recipient in recipients])
    return {recipient: count.unread for recipient, count in zip(recipients, counts, strict=True) if count.version}


async def forget(pool: Pool, records: Records, recipient: str, tokens: Collection[str], updated_by: str) -> None:
    """Remove devices by their tokens; those that are not there are no error. Published as every change of a recipient.

    Raises SealError where what is stored cannot be opened.
    """
    async with pool.connection() as connection:
        await forget_in(connection, records, [recipient], tokens, updated_by)


async def forget_in(
    connection: psycopg.AsyncConnection,
    records: Records,
    recipients: Sequence[str],
    tokens: Collection[str],
    updated_by: str,
) -> list[int]:
    """The same of several recipients, in the caller's transaction; ids of the outbox rows. Raises SealError."""

    edits = dict.fromkeys(recipients, without(tokens))
    return (await edit_many(connection, records, edits, updated_by)).outbox_ids


def without(tokens: Collection[str]) -> Edit:
    """The edit that removes devices by their tokens."""

    def edit(found: Recipient | None) -> Recipient | None:
        if found is None:
            return None
        kept = [device for device in found.content.get("devices", ()) if device["token"] not in tokens]
        return replace(found, content={**found.content, "devices": kept})

    return edit


async def claim(connection: psycopg.AsyncConnection, token_hash: str) -> None:
    """Hold others off this device until the transaction ends: of two who register it at once, one is first."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"device:{token_hash}",))
