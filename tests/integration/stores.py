"""Stores of a test's own, on the session's stack, and a relay at work on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from pydantic import SecretStr

from connectors.kafka_admin import create_topics
from connectors.postgres.relay import Relay
from connectors.sealing import ensure_key_ring
from connectors.settings import Settings
from tests.conftest import Stack

STOP_SECONDS = 30.0


def own_stores(stack: Stack, state_dir: Path, **changes: Any) -> Settings:
    """The stack's services, a database of empty tables, a state directory of the test's own."""
    settings = stack.settings_for(state_dir, postgres_dsn=SecretStr(stack.migrated_database()), **changes)
    create_topics(settings)
    ensure_key_ring(settings)
    return settings


@contextmanager
def relaying(settings: Settings) -> Iterator[None]:
    """A relay at work."""
    stop = Event()
    thread = Thread(target=Relay(settings).run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(STOP_SECONDS)
