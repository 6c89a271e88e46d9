"""Gates are shut while one reason is left, and say so in Kafka in the order of the changes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from connectors.postgres import gates
from connectors.postgres.gates import Suppression, address_gate
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from tests.integration.postgres.conftest import Outbox

pytestmark = pytest.mark.integration

GATE = address_gate("sms", "care", "0123456789abcdef0123456789abcdef")


async def put(pool: Pool, records: Records, *suppressions: Suppression) -> list[int]:
    async with pool.connection() as connection:
        return await gates.put(connection, records, suppressions)


async def lift(pool: Pool, records: Records, reason: gates.Reason | None = None) -> list[int]:
    async with pool.connection() as connection:
        return await gates.lift(connection, records, [GATE], reason)


async def test_start_lifts_an_opt_out_and_not_a_bounce(pool: Pool, records: Records, outbox: Outbox) -> None:
    await put(pool, records, Suppression(GATE, "hard_bounce", "webhook"))
    await put(pool, records, Suppression(GATE, "opted_out", "webhook"))
    await lift(pool, records, "opted_out")
    await lift(pool, records, "hard_bounce")
    assert [record and record["reason"] for _, record in outbox.take("gates")] == [
        "hard_bounce",
        "opted_out",
        "hard_bounce",
        None,
    ]


async def test_the_reason_that_lasts_longest_is_told(pool: Pool, records: Records, outbox: Outbox) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    await put(
        pool, records, Suppression(GATE, "manual", "operator"), Suppression(GATE, "carrier_block", "webhook", soon)
    )
    [(key, record)] = outbox.take("gates")
    assert record is not None
    assert (key, record["kind"], record["reason"], record["expires_at"]) == (GATE, "address", "manual", None)


async def test_an_expired_reason_shuts_nothing(pool: Pool, records: Records, outbox: Outbox) -> None:
    await put(pool, records, Suppression(GATE, "manual", "operator", datetime.now(UTC) - timedelta(seconds=1)))
    assert outbox.take("gates") == [(GATE, None)]


async def test_lifting_what_is_open_publishes_nothing(pool: Pool, records: Records) -> None:
    assert await lift(pool, records) == []


async def test_unknown_kinds_and_reasons_are_refused(pool: Pool, records: Records) -> None:
    with pytest.raises(ValueError, match="begins with one of"):
        await put(pool, records, Suppression("patient:1", "manual", "operator"))
    with pytest.raises(ValueError, match="reason must be one of"):
        await put(pool, records, Suppression(GATE, cast("gates.Reason", "because"), "operator"))


async def test_the_last_record_is_the_state_after_a_scuffle(pool: Pool, records: Records, outbox: Outbox) -> None:
    async def stop() -> None:
        await put(pool, Records(records.ring, records.codec), Suppression(GATE, "opted_out", "webhook"))

    async def start() -> None:
        await lift(pool, Records(records.ring, records.codec), "opted_out")

    await stop()
    await asyncio.gather(*(action() for _ in range(10) for action in (stop, start)))
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM suppressions")
        row = await cursor.fetchone()
    shut = row == (1,)
    assert (outbox.take("gates")[-1][1] is not None) == shut
