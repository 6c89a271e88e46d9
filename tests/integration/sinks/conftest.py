"""One rig for all the sinks' tests; each test has people and messages of its own."""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from connectors.kafka_admin import create_topics
from connectors.loopback.signing import SERVICE_ACCOUNT_FILE
from connectors.postgres.migrate import migrate
from connectors.sealing import ensure_key_ring
from tests.conftest import Stack
from tests.integration.sinks.outgoing import Outbox
from tests.integration.sinks.rig import Eye, Provider, Rig, free_port, loopback, webhooks


@pytest.fixture(scope="session")
def rig(stack: Stack) -> Iterator[Rig]:
    """Provider, webhooks and an empty database; sinks are started by the tests."""
    with tempfile.TemporaryDirectory(prefix="luxe-sinks-") as folder:
        port = free_port()
        with loopback(Path(folder) / "provider", port) as (provider_url, public_key):
            settings = stack.settings_for(
                Path(folder) / "state",
                postgres_dsn=SecretStr(stack.new_database()),
                twilio_base_url=provider_url,
                sendgrid_base_url=provider_url,
                sendgrid_webhook_public_key=public_key,
                fcm_base_url=provider_url,
                fcm_service_account_file=Path(folder) / "provider" / SERVICE_ACCOUNT_FILE,
                webhook_port=port,
                public_base_url=f"http://127.0.0.1:{port}",
            )
            ensure_key_ring(settings)
            migrate(settings)
            create_topics(settings)
            eye = Eye(settings)
            with webhooks(settings):
                made = Rig(settings, Provider(provider_url), eye)
                try:
                    yield made
                finally:
                    for channel in list(made.running):
                        made.end(channel)
                    eye.close()


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
