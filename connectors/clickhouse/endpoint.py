"""The embedded engine over ClickHouse's HTTP protocol, read-only: any ClickHouse client can query while ingestion runs.

Every query runs on a handle that cannot write, change settings, or read files and addresses (``readonly=1``, set before the
first query and not to be unset). A password, made once and kept beside the data, keeps other users of the machine out.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path
from typing import Any

import chdb
from aiohttp import web

from connectors.clickhouse.client import engine_directory
from connectors.clickhouse.tables import DATABASE
from connectors.settings import Settings

log = logging.getLogger(__name__)

USER = "analyst"
# Handles, so queries at once; one handle runs one query at a time. Two cores leave no use for more.
HANDLES = 4
# An analyst's query must not starve ingestion: bounded in time, memory and answer.
LIMITS = {
    "max_execution_time": 60,
    "max_memory_usage": 2 * 1024**3,
    "max_result_bytes": 256 * 1024**2,
    "max_threads": 2,
    "result_overflow_mode": "throw",
}
MAX_QUERY_BYTES = 1024 * 1024
DEFAULT_FORMAT = "TabSeparated"

# Clients send these to prepare for compression or protocol details that this endpoint has none of.
_EXCEPTION_CODE = re.compile(r"Code: (\d+)")
# readonly does not cover what the engine in a process does for its own command line.
_INTO_OUTFILE = re.compile(r"\binto\s+outfile\b", re.IGNORECASE)
# ClickHouse's codes for what is not there, which it answers with 404: table, database.
_NOT_FOUND = {60, 81}
_FORBIDDEN = {164, 497}


def password_file(settings: Settings) -> Path:
    """Where the password of the user ``analyst`` is kept (0600)."""
    return engine_directory(settings) / "analyst-password"


def ensure_password(settings: Settings) -> str:
    """The password; made the first time."""
    path = password_file(settings)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text().strip()


class QueryError(Exception):
    """The engine refused a query; ``code`` is ClickHouse's."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        found = _EXCEPTION_CODE.search(message)
        self.code = int(found.group(1)) if found else 1002


@dataclass(frozen=True, slots=True)
class Answer:
    """A query's answer in the format asked for."""

    body: bytes
    rows_read: int
    bytes_read: int


class Engine:
    """Read-only handles on the engine of this process. Blocking calls run in threads of its own."""

    def __init__(self, data_directory: Path, handles: int = HANDLES) -> None:
        self._pool = ThreadPoolExecutor(handles, thread_name_prefix="query")
        self._handles: asyncio.Queue[Any] = asyncio.Queue()
        for _ in range(handles):
            handle = chdb.connect(str(data_directory))
            handle.query(f"USE {DATABASE}", "TabSeparated")
            for name, value in LIMITS.items():
                handle.query(f"SET {name} = '{value}'", "TabSeparated")
            handle.query("SET readonly = 1", "TabSeparated")
            self._handles.put_nowait(handle)

    async def query(self, sql: str, output_format: str, parameters: dict[str, str]) -> Answer:
        """Run one query. Raises QueryError."""
        if _INTO_OUTFILE.search(sql):
            raise QueryError("Code: 164. DB::Exception: INTO OUTFILE is not to be had here. (READONLY)")
        handle = await self._handles.get()
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, _run, handle, sql, output_format, parameters
            )
        finally:
            self._handles.put_nowait(handle)

    async def close(self) -> None:
        """Wait for what runs, then close the handles."""
        self._pool.shutdown(wait=True)
        while not self._handles.empty():
            self._handles.get_nowait().close()


def _run(handle: Any, sql: str, output_format: str, parameters: dict[str, str]) -> Answer:
    try:
        result = handle.query(sql, output_format, params=parameters)
    except RuntimeError as error:
        raise QueryError(_clean(str(error))) from None
    return Answer(result.bytes() or b"", int(result.rows_read()), int(result.bytes_read()))


def _clean(message: str) -> str:
    start = message.find("Code: ")
    return message[max(start, 0) :].strip()


ENGINE: web.AppKey[Engine] = web.AppKey("engine", Engine)
PASSWORD: web.AppKey[str] = web.AppKey("password", str)


def make_app(data_directory: Path, password: str) -> web.Application:
    """The application. The engine's handles are opened at start and closed at the end."""
    app = web.Application(client_max_size=MAX_QUERY_BYTES)
    app[PASSWORD] = password

    @asynccontextmanager
    async def engine(app: web.Application) -> AsyncIterator[None]:
        app[ENGINE] = Engine(data_directory)
        yield
        await app[ENGINE].close()

    app.cleanup_ctx.append(engine)
    app.router.add_get("/ping", _ping)
    app.router.add_get("/", _query)
    app.router.add_post("/", _query)
    return app


async def _ping(_request: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")


async def _query(request: web.Request) -> web.Response:
    if not _is_authorized(request):
        return web.Response(
            status=401,
            text=f"Code: 516. DB::Exception: Authentication failed: user is `{USER}`, its password lies in the state "
            "directory, clickhouse/analyst-password. (AUTHENTICATION_FAILED)\n",
            headers={"WWW-Authenticate": 'Basic realm="ClickHouse"', "X-ClickHouse-Exception-Code": "516"},
        )
    if request.query.get("decompress") == "1":
        return web.Response(status=501, text="decompress=1 is not supported here; send the query as it is\n")
    sql = "\n".join(part for part in (request.query.get("query", ""), (await request.read()).decode()) if part).strip()
    if not sql:
        return web.Response(text="Ok.\n")
    output_format = request.query.get("default_format") or request.headers.get("X-ClickHouse-Format") or DEFAULT_FORMAT
    database = request.query.get("database") or request.headers.get("X-ClickHouse-Database") or DATABASE
    parameters = {name[6:]: value for name, value in request.query.items() if name.startswith("param_")}
    if database not in (DATABASE, "default", "system"):
        return web.Response(status=404, text=f"Code: 81. DB::Exception: Database does not exist; use {DATABASE}\n")
    try:
        answer = await request.app[ENGINE].query(sql, output_format, parameters)
    except QueryError as error:
        status = 404 if error.code in _NOT_FOUND else 403 if error.code in _FORBIDDEN else 400
        return web.Response(status=status, text=f"{error}\n", headers={"X-ClickHouse-Exception-Code": str(error.code)})
    response = web.Response(
        body=answer.body,
        headers={
            "Content-Type": "application/octet-stream",
            "X-ClickHouse-Format": output_format,
            "X-ClickHouse-Server-Display-Name": "luxe",
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Summary": f'{{"read_rows":"{answer.rows_read}","read_bytes":"{answer.bytes_read}"}}',
        },
    )
    if request.query.get("enable_http_compression") == "1":
        response.enable_compression()
    return response


def _is_authorized(request: web.Request) -> bool:
    user, password = request.query.get("user"), request.query.get("password", "")
    if "X-ClickHouse-User" in request.headers:
        user, password = request.headers["X-ClickHouse-User"], request.headers.get("X-ClickHouse-Key", "")
    authorization = request.headers.get("Authorization", "")
    if authorization.startswith("Basic "):
        try:
            user, _, password = b64decode(authorization[6:], validate=True).decode().partition(":")
        except (Base64Error, UnicodeDecodeError):
            return False
    return user == USER and compare_digest(password.encode(), request.app[PASSWORD].encode())
