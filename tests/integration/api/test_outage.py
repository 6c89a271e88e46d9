"""Postgres away for a while: writes answer 503, reads too, nothing is lost, and all goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from api.app import make_app
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from tests.integration.api.conftest import Api
from tests.integration.api.people import patient
from tests.integration.api.test_preferences import MERGE, in_kafka, of

pytestmark = pytest.mark.integration

RECOVERY_SECONDS = 60.0


class Line:
    """A network between the API and Postgres that can be cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._open: set[asyncio.StreamWriter] = set()
        self._up = True

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._up:
            writer.close()
            return
        there, back = await asyncio.open_connection(*self._target)
        ends = {writer, back}
        self._open |= ends
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        self._open -= ends

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def cut(self) -> None:
        self._up = False
        for writer in list(self._open):
            writer.transport.abort()

    def mend(self) -> None:
        self._up = True


@asynccontextmanager
async def behind_a_line(settings: Settings, request_seconds: float = 10.0) -> AsyncIterator[tuple[Api, Line]]:
    dsn = settings.postgres_dsn.get_secret_value()
    at = urlsplit(dsn)
    line = Line(str(at.hostname), int(at.port or 5432))
    server = await asyncio.start_server(line.carry, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    through = settings.model_copy(
        update={
            "postgres_dsn": SecretStr(dsn.replace(f"{at.hostname}:{at.port}", f"127.0.0.1:{port}")),
            "api_request_seconds": request_seconds,  # unless told, as users have it
        }
    )
    async with server, TestClient(TestServer(make_app(through))) as client:
        yield Api(client, through), line
        line.cut()


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("relay")
async def test_postgres_away_for_a_while(settings: Settings, pool: Pool, records: Records) -> None:
    id_ = await patient(pool, records)
    # A write before the line is cut may take a busy machine longer than users wait.
    async with behind_a_line(settings, request_seconds=20.0) as (api, line):
        jane = api.caller("patient", id_)
        before = await jane("GET", of(id_))
        change = {"quietHours": {"enabled": True}, "language": "es-ES"}

        answered: list[int] = []

        async def keep_writing() -> None:
            for number in range(200):
                reply = await jane("PATCH", of(id_), {"language": f"en-{number:03}"}, content_type=MERGE, If_Match="*")
                answered.append(reply.status)
                if reply.status == 503:
                    assert int(reply.headers["Retry-After"]) > 0
                    return

        writing = asyncio.create_task(keep_writing())
        while len(answered) < 10:
            assert not writing.done()
            await asyncio.sleep(0.01)
        line.cut()
        await writing
        assert set(answered[:-1]) == {200}
        assert answered[-1] == 503
        # What was answered 200 is there, and so may be the one that was not.
        kept = in_kafka(settings, records, id_)["locale"]
        assert kept in {f"en-{len(answered) - 2:03}", f"en-{len(answered) - 1:03}"}

        for _ in range(3):
            away = await jane("PATCH", of(id_), change, content_type=MERGE, If_Match="*")
            assert (away.status, away.headers["Content-Type"]) == (503, "application/problem+json")
        assert (await jane("GET", of(id_))).status == 503
        assert (await api.stranger()("GET", "/readyz")).json["away"] == ["postgres"]
        assert (await api.stranger()("GET", "/healthz")).status == 200

        line.mend()
        deadline = asyncio.get_running_loop().time() + RECOVERY_SECONDS
        while (reply := await jane("PATCH", of(id_), change, content_type=MERGE, If_Match="*")).status != 200:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.5)
        assert reply.json["language"] == "es-ES"
        assert reply.etag != before.etag
        assert in_kafka(settings, records, id_)["preferences"]["quiet_hours"]["enabled"] is True
