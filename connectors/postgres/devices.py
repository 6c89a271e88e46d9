"""Devices of recipients: forgotten when the provider says that the app is gone, or when somebody else signs in on them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import psycopg

from connectors.postgres.pool import Pool
from connectors.postgres.recipients import Recipient, edit_many
from connectors.postgres.records import Records


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

    def without(found: Recipient | None) -> Recipient | None:
        if found is None:
            return None
        kept = [device for device in found.content.get("devices", ()) if device["token"] not in tokens]
        return replace(found, content={**found.content, "devices": kept})

    return (await edit_many(connection, records, dict.fromkeys(recipients, without), updated_by)).outbox_ids
