"""An API with a database, a key ring and a relay of its own, and callers with tokens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp.test_utils import TestClient, TestServer
from multidict import CIMultiDictProxy
from pydantic import SecretStr

from api.app import make_app
from api.resources import WITHDRAWALS
from api.secret import jwt_secret
from connectors.settings import Settings
from tests.conftest import Stack
from tests.integration.stores import STOP_SECONDS, own_stores


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> Settings:
    # A busy machine's relay takes longer than a user should wait; whoever tests the waiting sets its own.
    patience = {"api_request_seconds": 60.0, "api_in_force_seconds": 30.0}
    return own_stores(stack, tmp_path / "state", api_requests_per_second=5_000.0, **patience)


@dataclass(frozen=True)
class Reply:
    """An answer, read."""

    status: int
    headers: CIMultiDictProxy[str]
    json: Any

    @property
    def etag(self) -> str:
        return self.headers["ETag"]

    @property
    def fields(self) -> list[str]:
        """Which fields the problem names."""
        return [error["field"] for error in self.json.get("errors", [])]


class Caller:
    """Somebody with a token."""

    def __init__(self, client: TestClient[Any, Any], token: str | None) -> None:
        self._client = client
        self._token = token

    async def __call__(
        self, method: str, path: str, body: Any = None, *, content_type: str | None = None, **headers: str
    ) -> Reply:
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        if self._token is not None:
            sent["Authorization"] = f"Bearer {self._token}"
        if content_type is not None:
            sent["Content-Type"] = content_type
        data: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {} if body is None else {"json": body}
        async with self._client.request(method, path, headers=sent, **data) as response:
            text = await response.read()
            is_json = response.content_type.endswith("json") and text
            return Reply(response.status, response.headers, await response.json(content_type=None) if is_json else text)


class Api:
    """The API, and callers of every role."""

    def __init__(self, client: TestClient[Any, Any], settings: Settings) -> None:
        self._client = client
        self._settings = settings

    def token(self, role: str, subject: str, *clinics: str) -> str:
        now = int(time.time())
        claims = {
            **{"sub": subject, "role": role, "clinics": list(clinics), "aud": self._settings.api_jwt_audience},
            **{"iat": now, "exp": now + 600},
        }
        return jwt.encode(claims, jwt_secret(self._settings), "HS256")

    def caller(self, role: str, subject: str = "x", *clinics: str) -> Caller:
        return Caller(self._client, self.token(role, subject, *clinics))

    def stranger(self) -> Caller:
        return Caller(self._client, None)

    async def knows_withdrawals(self) -> None:
        """Return once what was withdrawn is read, by whomever: that may take longer than an answer waits for it."""
        assert self._client.app is not None
        await self._client.app[WITHDRAWALS].wait_until_current(90)

    @property
    def url(self) -> str:
        return str(self._client.make_url("/"))


@contextmanager
def clickhouse_with(settings: Settings, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Settings]:
    """A ClickHouse that holds these rows, in a process of its own: the engine allows one data directory in each."""
    prices = {} if settings.sms_prices_file is None else {"LUXE_SMS_PRICES_FILE": str(settings.sms_prices_file)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.api.engine"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"LUXE_STATE_DIR": str(settings.state_dir), "LUXE_CLICKHOUSE_DSN": "chdb:"} | prices,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(rows) + "\n")
        process.stdin.flush()
        said = process.stdout.readline().split()
        assert said[:1] == ["READY"], said
        yield settings.model_copy(update={"clickhouse_dsn": SecretStr("chdb:"), "clickhouse_http_port": int(said[1])})
    finally:
        process.stdin.close()
        process.wait(STOP_SECONDS)


@asynccontextmanager
async def api_on(settings: Settings) -> AsyncIterator[Api]:
    """The API with these settings."""
    async with TestClient(TestServer(make_app(settings)), timeout=aiohttp.ClientTimeout(total=60)) as client:
        yield Api(client, settings)


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with api_on(settings) as opened:
        yield opened
