"""The API as a process of its own, people with inboxes, and a browser that signs in as them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from playwright.async_api import Browser, Page, expect

from api.secret import jwt_secret
from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from tests.browser.chromium import chromium
from tests.conftest import Stack
from tests.integration.api.inboxes import Inboxes, inboxes_of
from tests.integration.stores import STOP_SECONDS, own_stores

START_SECONDS = 60.0
expect.set_options(timeout=60_000)  # ms; its own 5 s are little for a page, an API and Kafka on a busy machine
HEARTBEAT_SECONDS = 1.0
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 800}


class ApiProcess:
    """``python -m api``, which a test may kill and start again at the same address."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings = settings
        self.url = settings.pages_url
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {
            "LUXE_STATE_DIR": str(self.settings.state_dir),
            "LUXE_KAFKA_BOOTSTRAP": self.settings.kafka_bootstrap,
            "LUXE_POSTGRES_DSN": self.settings.postgres_dsn.get_secret_value(),
            "LUXE_API_PORT": str(self.settings.api_port),
            "LUXE_PAGES_BASE_URL": self.url,
            "LUXE_INBOX_HEARTBEAT_SECONDS": str(self.settings.inbox_heartbeat_seconds),
            "LUXE_API_JWT_SKEW_SECONDS": str(self.settings.api_jwt_skew_seconds),
            "LUXE_METRICS": "false",
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "api"], env=environment, stdout=log, stderr=log)
        ends = time.monotonic() + START_SECONDS
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.settings.api_port), timeout=1):
                    return
            except OSError:
                assert self._process.poll() is None, self._log.read_text()[-2000:]
                assert time.monotonic() < ends, "the API did not start"
                time.sleep(0.05)

    def kill(self) -> None:
        """As a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_SECONDS)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(STOP_SECONDS)

    def token(self, recipient: str, *clinics: str, seconds: int = 600) -> str:
        """As the identity provider gives it to a patient, or to somebody of the staff."""
        kind, _, subject = recipient.partition(":")
        now = int(time.time())
        claims = {"sub": subject, "role": kind, "clinics": list(clinics), "aud": self.settings.api_jwt_audience}
        return jwt.encode({**claims, "iat": now, "exp": now + seconds}, jwt_secret(self.settings), "HS256")


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> Settings:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return own_stores(
        stack,
        tmp_path / "state",
        api_port=port,
        pages_base_url=f"http://127.0.0.1:{port}",
        inbox_heartbeat_seconds=HEARTBEAT_SECONDS,
        api_jwt_skew_seconds=0,
    )


@pytest.fixture
def api(settings: Settings, tmp_path: Path) -> Iterator[ApiProcess]:
    process = ApiProcess(settings, tmp_path / "api.log")
    process.start()
    yield process
    process.stop()


@pytest.fixture
def records(settings: Settings) -> Records:
    return Records.open(settings)


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[Pool]:
    async with open_pool(settings, "test", size=4) as opened:
        yield opened


@pytest.fixture
async def inboxes(settings: Settings, pool: Pool, records: Records) -> AsyncIterator[Inboxes]:
    async with inboxes_of(settings, pool, records) as opened:
        yield opened


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as opened:
        yield opened


@asynccontextmanager
async def window(browser: Browser, **options: Any) -> AsyncIterator[Page]:
    """A window of its own, with its own cookies; whatever its console or its policy complains of fails the test."""
    context = await browser.new_context(**({"viewport": WIDE, "locale": "en-US"} | options))
    context.set_default_timeout(60_000)
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(error.message))
    page.on(
        "console",
        lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None,
    )
    try:
        yield page
        assert faults == []
    finally:
        await context.close()


async def sign_in(page: Page, api: ApiProcess, token: str) -> None:
    """By the link that `luxe token --page` prints, until the page is live."""
    await page.goto(f"{api.url}/inbox/enter#{token}")
    await page.wait_for_selector("#connection.live")
