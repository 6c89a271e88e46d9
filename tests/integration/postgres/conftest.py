"""A database of each test's own, migrated, with its key ring; and an outbox to look into."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from connectors.postgres.migrate import migrate
from connectors.postgres.pool import Pool, open_pool
from connectors.sealing import KeyRing, ensure_key_ring
from connectors.settings import Settings
from tests.conftest import Stack


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> Settings:
    """The stack's services, an empty database, a state directory of the test's own."""
    changed = stack.settings_for(tmp_path / "state", postgres_dsn=SecretStr(stack.new_database()))
    migrate(changed, say=lambda line: None)
    return changed


@pytest.fixture
def ring(settings: Settings) -> KeyRing:
    return ensure_key_ring(settings)


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    async with open_pool(settings, "test", size=4) as opened:
        yield opened
