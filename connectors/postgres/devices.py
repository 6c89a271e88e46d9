"""Devices of a recipient: registered by her app, forgotten when the provider says that the app is gone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from connectors.postgres.pool import Pool
from connectors.postgres.recipients import Recipient, edit_many
from connectors.postgres.records import Records


async def forget(pool: Pool, records: Records, recipient: str, tokens: Collection[str], updated_by: str) -> None:
    """Remove devices by their tokens; those that are not there are no error. Published as every change of a recipient.

    Raises SealError where what is stored cannot be opened.
    """

    def without(found: Recipient | None) -> Recipient | None:
        if found is None:
            return None
        kept = [device for device in found.content.get("devices", ()) if device["token"] not in tokens]
        return replace(found, content={**found.content, "devices": kept})

    async with pool.connection() as connection:
        await edit_many(connection, records, {recipient: without}, updated_by, source="webhook")
