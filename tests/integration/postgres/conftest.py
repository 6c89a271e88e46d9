"""A database of each test's own, migrated, with its key ring; and an outbox to look into."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.records import Records
from connectors.sealing import KeyRing, ensure_key_ring
from connectors.settings import Settings
from tests.conftest import Stack


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> Settings:
    """The stack's services, a database of empty tables, a state directory of the test's own."""
    return stack.settings_for(tmp_path / "state", postgres_dsn=SecretStr(stack.migrated_database()))


@pytest.fixture
def ring(settings: Settings) -> KeyRing:
    return ensure_key_ring(settings)


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    async with open_pool(settings, "test", size=4) as opened:
        yield opened


@pytest.fixture
def records(settings: Settings, ring: KeyRing) -> Records:
    return Records.open(settings)


class Outbox:
    """What the relay would publish, decoded, oldest first."""

    def __init__(self, settings: Settings, records: Records) -> None:
        self._dsn = settings.postgres_dsn.get_secret_value()
        self._codec = records.codec

    def take(self, topic: str) -> list[tuple[str, dict[str, Any] | None]]:
        """(key, record or None for a tombstone) of a topic's rows, which are then gone."""
        with psycopg.connect(self._dsn) as connection:
            rows = connection.execute(
                """WITH taken AS (DELETE FROM outbox WHERE topic = %s RETURNING id, key, value)
                   SELECT key, value FROM taken ORDER BY id""",
                (topic,),
            ).fetchall()
        return [(key.decode(), None if value is None else self._codec.decode(value).value) for key, value in rows]


@pytest.fixture
def outbox(settings: Settings, records: Records) -> Outbox:
    return Outbox(settings, records)
