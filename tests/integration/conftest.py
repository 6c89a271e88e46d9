"""For every folder whose tests have a ``settings`` fixture: what is opened by it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from tests.integration.stores import relaying


@pytest.fixture
def relay(settings: Settings) -> Iterator[None]:
    with relaying(settings):
        yield


@pytest.fixture
def records(settings: Settings) -> Records:
    return Records.open(settings)


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    async with open_pool(settings, "test", size=4) as opened:
        yield opened
