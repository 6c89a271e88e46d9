"""For every folder whose tests have a ``settings`` fixture: what is opened by it."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import web_app

from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from tests.integration.stores import relaying


@pytest.fixture(autouse=True)
def _served_applications_are_let_go() -> Iterator[None]:
    """aiohttp remembers the last 1,024 that were served, and with each its Kafka clients and their threads."""
    yield
    if web_app._cached_build_middleware.cache_info().currsize:
        web_app._cached_build_middleware.cache_clear()
        gc.collect()


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
