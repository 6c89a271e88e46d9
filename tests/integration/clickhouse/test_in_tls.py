"""A ClickHouse whose DSN says https is spoken to in TLS, whatever its port: password and rows are nobody's to read."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from pydantic import SecretStr

from connectors.clickhouse.client import open_client
from connectors.clickhouse.remote import open_remote
from connectors.settings import Settings

pytestmark = pytest.mark.integration

HANDSHAKE = b"\x16\x03"  # a TLS record with a handshake in it (RFC 8446, 5.1)


@pytest.mark.parametrize("opened", [open_client, open_remote])
@pytest.mark.parametrize(
    ("scheme", "begins"), [("https", HANDSHAKE), ("clickhouses", HANDSHAKE), ("http", b"PO"), ("clickhouse", b"PO")]
)
def test_its_scheme_says_how_it_is_spoken_to(
    tmp_path: Path, opened: Callable[[Settings], Client], scheme: str, begins: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        heard: list[bytes] = []

        def listen() -> None:
            while True:  # it is tried again
                try:
                    connection, _ = listening.accept()
                except OSError:  # shut: the test is over
                    return
                with connection:
                    heard.append(connection.recv(2))

        thread = threading.Thread(target=listen)
        thread.start()
        dsn = f"{scheme}://luxe:geheim@127.0.0.1:{listening.getsockname()[1]}/luxe"
        with contextlib.suppress(ClickHouseError, OSError):
            opened(Settings(state_dir=tmp_path, clickhouse_dsn=SecretStr(dsn)))
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert set(heard) == {begins}
