"""What every test shares: one real stack for the session, and no sockets for unit tests.

The stack is the local one (Kafka, Postgres and the loopback provider as processes, no Docker). With
``LUXE_TEST_STACK=containers`` and a Docker engine that answers, the same fixture starts Kafka and Postgres by
testcontainers instead; the loopback provider stays a local process.
"""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from psycopg import sql
from pydantic import SecretStr

from connectors.postgres.migrate import migrate
from connectors.settings import Settings
from connectors.stack.stack import LocalStack
from tests import spreading
from tests.containers import container_stack, wants_containers
from tests.teardown_limit import TeardownLimit

TOPIC_TIMEOUT_SECONDS = 30
MIGRATED = "migrated"
"""The database that others are copied from: nobody else connects to it."""

# An example that takes 200 ms says that the machine is busy, not that a rule is wrong: no test here is one of time.
hypothesis_settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("untimed")


@pytest.hookimpl(trylast=True)  # after xdist's own
def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("dsession"):  # xdist's: this process hands the tests out
        config.pluginmanager.register(spreading.Spreading())
    config.pluginmanager.register(TeardownLimit())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        spreading.collected(config, items)


def pytest_collection_finish() -> None:
    """What is imported and collected lives to the end; the collector looking through it was a quarter of the unit tests' time."""
    gc.collect()
    gc.freeze()


@dataclass(frozen=True, slots=True)
class Stack:
    """The session's stack. Tests share it: make your own topics and databases, touch no others'."""

    settings: Settings

    @property
    def kafka_bootstrap(self) -> str:
        return self.settings.kafka_bootstrap

    @property
    def postgres_dsn(self) -> str:
        return self.settings.postgres_dsn.get_secret_value()

    @property
    def loopback_url(self) -> str:
        assert self.settings.loopback_url is not None
        return self.settings.loopback_url

    def new_topics(
        self, names: Sequence[str], partitions: int = 4, config: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Makes topics that no other test has: asked-for name → real name (the name and a random ending)."""
        ending = uuid.uuid4().hex[:8]
        real = {name: f"{name}.{ending}" for name in names}
        topics = [NewTopic(name, partitions, 1, config=dict(config or {})) for name in real.values()]
        admin = AdminClient({"bootstrap.servers": self.kafka_bootstrap})
        for made in admin.create_topics(topics, operation_timeout=TOPIC_TIMEOUT_SECONDS).values():
            made.result(TOPIC_TIMEOUT_SECONDS)
        return real

    def new_database(self) -> str:
        """Makes an empty database that no other test has, and returns its DSN."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.postgres_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self._dsn(name)

    def migrated_database(self) -> str:
        """Makes a database with our tables, empty, that no other test has, and returns its DSN.

        It is a copy: migrations are run once, and copied in a fraction of their time.
        """
        name, pattern = f"test_{uuid.uuid4().hex[:12]}", sql.Identifier(MIGRATED)
        with psycopg.connect(self.postgres_dsn, autocommit=True) as connection:
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", (MIGRATED,)).fetchone() is None:
                draft = self.new_database()
                migrate(
                    self.settings_for(self.settings.state_dir, postgres_dsn=SecretStr(draft)), say=lambda line: None
                )
                whole = sql.Identifier(draft.rpartition("/")[2])
                connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(whole, pattern))
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), pattern))
        return self._dsn(name)

    def _dsn(self, database: str) -> str:
        return f"{self.postgres_dsn.rpartition('/')[0]}/{database}"

    def settings_for(self, state_dir: Path, **changes: Any) -> Settings:
        """Settings of this stack's services with a state directory of the test's own, and any other change."""
        # The provider is the session's: a sweep for missed texts would find those of other tests.
        return self.settings.model_copy(update={"state_dir": state_dir, "inbound_sweep_seconds": 0, **changes})


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Kafka, Postgres and the loopback provider, started once, on free ports, stopped whatever happens.

    Should pytest be killed, the supervisor sees its owner gone and stops them by itself.
    """
    # Under the system's temporary folder, not pytest's: short, and removed even when pytest keeps its own.
    folder = tempfile.mkdtemp(prefix="luxe-test-")
    services = ["loopback"] if wants_containers() else ["kafka", "postgres", "loopback"]
    local = LocalStack(Path(folder) / "state", durable=False, default_ports=False, partitions=4, owner_pid=os.getpid())
    try:
        local.up(services)
        if wants_containers():
            with container_stack() as endpoints:
                yield Stack(local.settings().model_copy(update=endpoints))
        else:
            yield Stack(local.settings())
    finally:
        local.down()
        # Hundreds of databases, a thousand files each: minutes on a slow disk, past the last test's time-out.
        subprocess.Popen(["/bin/rm", "-rf", "--", folder], start_new_session=True)


@pytest.fixture(autouse=True)
def _unit_tests_open_no_sockets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In tests/unit, only the socket pairs that an asyncio loop wakes itself with may be made."""
    if "unit" not in request.path.relative_to(Path(__file__).parent).parts:
        return

    class NoNetworkSocket(socket.socket):
        def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
            # With a file number it is one half of a pair, already made by the kernel.
            if family != socket.AF_UNIX and fileno is None:
                raise AssertionError("a unit test opened a socket: it belongs in tests/integration")
            super().__init__(family, type, proto, fileno)

    monkeypatch.setattr(socket, "socket", NoNetworkSocket)
