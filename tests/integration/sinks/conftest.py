"""One rig for all the sinks' tests; each test has people and messages of its own."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator

import pytest

from tests.conftest import Stack
from tests.integration.sinks.outgoing import Outbox
from tests.integration.sinks.rig import Rig, opened


@pytest.fixture(scope="session")
def rig(stack: Stack) -> Iterator[Rig]:
    """Provider, webhooks and an empty database; sinks are started by the tests."""
    with opened(stack) as made:
        yield made


@pytest.fixture(scope="session")
def outbox(rig: Rig) -> Outbox:
    """Makes messages."""
    return asyncio.run(Outbox.open(rig.settings))


@pytest.fixture
def patient(outbox: Outbox) -> str:
    """Somebody nobody wrote to yet."""
    recipient = f"patient:{uuid.uuid4()}"
    asyncio.run(outbox.make_keys([recipient]))
    return recipient


@pytest.fixture(autouse=True)
def _well_behaved(rig: Rig) -> Iterator[None]:
    yield
    rig.provider.behave()
