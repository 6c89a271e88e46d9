"""What was sealed before contents named their schema: read, left alone while nothing changes, else written anew."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_writer

from connectors.postgres import recipients
from connectors.postgres.pool import Pool
from connectors.postgres.recipients import Recipient
from connectors.postgres.records import RECIPIENT_CONTENT, Records
from schemas.codec import CONTENT_MARK
from schemas.definitions import versions

pytestmark = pytest.mark.integration

ONE = "patient:1"
OPTED: dict[str, Any] = {"sms_opt_in": {}, "email_opt_in": {}, "push_opt_in": {}}
JANE = Recipient(ONE, "c1", {"first_name": "Jane", "preferences": {**OPTED, "quiet_hours": None}})


async def put(pool: Pool, records: Records, one: Recipient) -> recipients.Written:
    async with pool.connection() as connection:
        return await recipients.edit_many(connection, records, {ONE: lambda _found: one}, source="import")


async def sealed(pool: Pool, records: Records, plaintext: bytes | None = None) -> bytes:
    """The plaintext that lies in Postgres, after it was replaced by ``plaintext`` where there is one."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT r.sealed, k.wrapped FROM recipients r JOIN data_keys k ON k.subject = r.recipient WHERE recipient = %s",
            (ONE,),
        )
        row = await cursor.fetchone()
        assert row is not None
        key = records.keys.get(row[1], ONE, "c1")
        if plaintext is not None:
            fresh = records.seal_content(key, ONE, plaintext)
            await connection.execute("UPDATE recipients SET sealed = %s WHERE recipient = %s", (fresh, ONE))
            return plaintext
        return records.open_content(key, ONE, row[0])


async def test_a_body_alone_is_read_and_stays_until_something_changes(pool: Pool, records: Records) -> None:
    await put(pool, records, JANE)
    async with pool.connection() as connection:
        now = (await recipients.get_many(connection, records, [ONE]))[ONE]
    first = versions(RECIPIENT_CONTENT)[0]
    preferences = {name: kept for name, kept in now.content["preferences"].items() if not name.startswith("digest_")}
    body = BytesIO()
    schemaless_writer(body, parse_schema(first), {**now.content, "preferences": preferences})
    older = await sealed(pool, records, body.getvalue())

    async with pool.connection() as connection:
        assert (await recipients.get_many(connection, records, [ONE]))[ONE].content == now.content
    assert (await put(pool, records, JANE)).unchanged == [ONE]
    assert await sealed(pool, records) == older

    changed = {**JANE.content, "preferences": {**OPTED, "digest_categories": ["treatments"], "digest_hour": 18}}
    assert (await put(pool, records, Recipient(ONE, "c1", changed))).updated == [ONE]
    assert (await sealed(pool, records)).startswith(CONTENT_MARK)
