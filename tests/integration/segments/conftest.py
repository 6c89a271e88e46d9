"""A clinic in New York with patients, and what would be told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from connectors.postgres import policies
from connectors.postgres.pool import connect_async
from connectors.postgres.recipients import Recipient, get_many, upsert_many
from connectors.postgres.records import Records
from connectors.segments import standings
from connectors.segments.runs import Clinic, clinics
from connectors.segments.standing import Standing, folded
from connectors.settings import Settings
from schemas.events import EVENT_TYPES
from tests.conftest import Stack
from tests.contract.golden import golden_value
from tests.integration.outboxed import decoded
from tests.integration.stores import own_stores

CLINIC = "north"


class World(NamedTuple):
    """One test's stores. ``connection`` is in autocommit mode."""

    settings: Settings
    records: Records
    connection: psycopg.AsyncConnection

    async def patients(self, born: Sequence[date | None], clinic_id: str = CLINIC, prefix: str = "p") -> list[str]:
        """Patients with these birthdays, stored; their keys."""
        rows = [
            Recipient(f"patient:{prefix}-{number:06}", clinic_id, {"first_name": "Ada", "birthday": day})
            for number, day in enumerate(born)
        ]
        for start in range(0, len(rows), 500):
            async with self.connection.transaction():
                await upsert_many(self.connection, self.records, rows[start : start + 500])
        await self.forget_outbox()
        return [one.recipient for one in rows]

    async def visited(self, recipients: Sequence[str], at: datetime) -> None:
        async with self.connection.transaction():
            await standings.change(
                self.connection,
                self.records,
                {one: lambda _: Standing(at) for one in recipients},
                dict.fromkeys(recipients, CLINIC),
            )

    async def happened(self, recipient: str, events: Sequence[Mapping[str, Any]]) -> None:
        def fold(standing: Standing) -> Standing:
            for event in events:
                standing = folded(standing, event, NOON.date())
            return standing

        async with self.connection.transaction():
            await standings.change(self.connection, self.records, {recipient: fold}, {recipient: CLINIC})

    async def consents(self, recipient: str, consent: Mapping[str, Any]) -> None:
        async with self.connection.transaction():
            stored = (await get_many(self.connection, self.records, [recipient]))[recipient]
            content = {**stored.content, "consents": [consent]}
            await upsert_many(self.connection, self.records, [Recipient(recipient, CLINIC, content)])

    async def clinic(self, clinic_id: str = CLINIC) -> Clinic:
        return next(one for one in await clinics(self.connection) if one.clinic_id == clinic_id)

    async def forget_outbox(self) -> None:
        await self.connection.execute("DELETE FROM outbox")

    async def told(self) -> list[tuple[str, dict[str, Any]]]:
        """(topic, event) of every event in the outbox, oldest first."""
        cursor = await self.connection.execute(
            "SELECT topic, value, sealed FROM outbox WHERE topic LIKE 'events.%' ORDER BY id"
        )
        return [(row[0], decoded(self.records, *row)) for row in await cursor.fetchall()]


def golden(event_type: str, *changes: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """An event of the type, whole, with these changes."""
    value = golden_value(EVENT_TYPES[event_type].record)
    for change in changes:
        value |= change
    return value | fields


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> Settings:
    return own_stores(stack, tmp_path / "state")


@pytest.fixture
async def world(settings: Settings, records: Records) -> Any:
    async with await connect_async(settings, "test") as connection:
        async with connection.transaction():
            for clinic_id, zone in (("*", "America/Los_Angeles"), (CLINIC, "America/New_York")):
                policy = {
                    "clinic_id": clinic_id,
                    "name": "Luxe",
                    "time_zone": zone,
                    "booking_url": "https://luxe.example/book",
                }
                await policies.put(connection, records, policy, "test")
        yield World(settings, records, connection)


NOON = datetime(2026, 5, 6, 16, tzinfo=UTC)
"""Noon in New York."""
