"""The embedded engine over HTTP: real clients read from it, nobody writes through it or reads files with it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import chdb
import clickhouse_connect
import pytest
from aiohttp import web
from clickhouse_connect.driver.exceptions import DatabaseError

from connectors.clickhouse.endpoint import USER, make_app

pytestmark = pytest.mark.integration
PASSWORD = "correct horse"


@dataclass(frozen=True, slots=True)
class Served:
    port: int
    secret: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One engine for the module: a process has only one."""
    folder = tmp_path_factory.mktemp("engine")
    secret = folder / "keys.json"
    secret.write_text("the key ring")
    data = folder / "data"
    owner = chdb.connect(str(data))
    owner.query("CREATE DATABASE luxe", "TabSeparated")
    owner.query("CREATE TABLE luxe.t (n UInt64, word String) ENGINE = MergeTree ORDER BY n", "TabSeparated")
    owner.query("INSERT INTO luxe.t SELECT number, toString(number) FROM numbers(1000)", "TabSeparated")
    started, stop = threading.Event(), threading.Event()
    port: list[int] = []

    async def serve() -> None:
        runner = web.AppRunner(make_app(data, PASSWORD))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port.append(runner.addresses[0][1])
        started.set()
        await asyncio.to_thread(stop.wait)
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(30)
    yield Served(port[0], secret)
    stop.set()
    thread.join(30)
    owner.close()


def client(served: Served, password: str = PASSWORD) -> clickhouse_connect.driver.client.Client:
    return clickhouse_connect.get_client(
        host="127.0.0.1", port=served.port, username=USER, password=password, compress=False
    )


def test_a_clickhouse_client_reads_native_rows_and_parameters(served: Served) -> None:
    found = client(served).query(
        "SELECT n, word FROM t WHERE n >= {from:UInt64} ORDER BY n LIMIT 2", parameters={"from": 7}
    )
    assert found.result_rows == [(7, "7"), (8, "8")]


def test_the_format_asked_for_is_answered(served: Served) -> None:
    asked = client(served)
    assert asked.raw_query("SELECT count() AS n FROM t", fmt="JSONEachRow") == b'{"n":1000}\n'
    assert asked.raw_query("SELECT 1, 'a' FORMAT CSV") == b'1,"a"\n'


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t VALUES (1, 'x')",
        "DROP TABLE t",
        "CREATE TABLE u (a Int8) ENGINE = Memory",
        "SET readonly = 0",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SELECT * FROM executable('id', 'TSV', 'a String')",
        "SELECT 1 INTO OUTFILE '/tmp/luxe-outfile-test.txt'",
    ],
)
def test_nothing_is_written_or_changed(served: Served, statement: str) -> None:
    with pytest.raises(DatabaseError):
        client(served).command(statement)
    assert client(served).query("SELECT count() FROM t").result_rows == [(1000,)]
    assert not Path("/tmp/luxe-outfile-test.txt").exists()


def test_files_are_not_read(served: Served) -> None:
    with pytest.raises(DatabaseError, match="readonly"):
        client(served).query(
            "SELECT * FROM file({path:String}, 'LineAsString')", parameters={"path": str(served.secret)}
        )


def test_a_wrong_password_is_refused_and_says_where_the_right_one_is(served: Served) -> None:
    with pytest.raises(DatabaseError, match="analyst-password"):
        client(served, "wrong")


def test_an_error_leaves_the_handles_usable(served: Served) -> None:
    asked = client(served)
    for _ in range(10):
        with pytest.raises(DatabaseError, match="nowhere"):
            asked.query("SELECT * FROM nowhere")
    assert asked.query("SELECT count() FROM t").result_rows == [(1000,)]


def test_queries_run_side_by_side(served: Served) -> None:
    clients = [client(served) for _ in range(8)]
    answers: list[object] = []
    threads = [
        threading.Thread(
            target=lambda asked=asked: answers.extend(asked.query("SELECT count() FROM t a, t b").result_rows)
        )
        for asked in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [(1_000_000,)] * 8
