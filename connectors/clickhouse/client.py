"""A ClickHouse client for either home of the data: the engine in this process (chDB), or a server behind a DSN.

The engine allows one data directory per process and one query at a time per handle, so each purpose opens its own client.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from connectors.clickhouse import sms_prices
from connectors.clickhouse.sms_prices import SmsPrices
from connectors.clickhouse.tables import DATABASE, statements
from connectors.explaining.phrases import CHANNELS, CLOSED, MESSAGES, MOST_CLAUSES, WHOLE, WISHES
from connectors.settings import Settings, SettingsError
from schemas.definitions import definitions, topics_of

# One range is one block, or its token would stand for a part of it: no insert of ours is larger (see sinks/ingest/ingester.py).
MAX_ROWS_PER_INSERT = 1_048_576

INSERT_SETTINGS: dict[str, Any] = {
    "max_insert_block_size": MAX_ROWS_PER_INSERT,
    "min_insert_block_size_rows": MAX_ROWS_PER_INSERT,
    "min_insert_block_size_bytes": 0,
    "input_format_parallel_parsing": 0,
    "max_insert_threads": 1,
    "insert_deduplicate": 1,
    # A range has no record twice: to replace within the block is work for nothing.
    "optimize_on_insert": 0,
    "async_insert": 0,
}


def engine_directory(settings: Settings) -> Path:
    """Where the engine in this process keeps its data."""
    return settings.state_dir.absolute() / "clickhouse"


def is_embedded(settings: Settings) -> bool:
    """Whether the engine runs in this process."""
    return settings.clickhouse_dsn.get_secret_value().startswith("chdb:")


def is_secure(dsn: str) -> bool:
    """Whether a server's DSN wants TLS.

    The client library goes by the port alone (clickhouse_connect 1.12), and would send the password in clear.
    """
    return dsn.startswith(("https://", "clickhouses://"))


def open_client(settings: Settings, *, read_only: bool = False, database: str | None = None) -> Client:
    """A client with a handle of its own; ``read_only`` refuses writes, settings' changes and table functions that read files.

    Raises SettingsError for a DSN that is none.
    """
    options: dict[str, Any] = {"readonly": 1} if read_only else {}
    if is_embedded(settings):
        data = engine_directory(settings) / "data"
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        return clickhouse_connect.get_client(interface="chdb", path=str(data), database=database, settings=options)
    dsn = settings.clickhouse_dsn.get_secret_value()
    if not dsn.startswith(("http://", "https://", "clickhouse://", "clickhouses://")):
        raise SettingsError("LUXE_CLICKHOUSE_DSN: expected `chdb:` or http(s)://user:password@host:port/database")
    return clickhouse_connect.get_client(dsn=dsn, database=database, settings=options, secure=is_secure(dsn))


def private_temporary_directory(settings: Settings) -> Path:
    """Make the folder for the engine's temporary files, private and empty, and have this process use it.

    The engine takes an insert from a file, in clear: what a killed process left there is wiped at the next start.
    """
    directory = engine_directory(settings) / "tmp"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)
    tempfile.tempdir = str(directory)
    return directory


def apply_ddl(client: Client, prices: SmsPrices | None = None) -> int:
    """Create what is missing: database, a raw table for every record that travels on a topic, the read views.

    Idempotent; a table is only ever added to, a view is made anew, with these prices (None: those that are shipped).
    Returns how many statements ran.
    """
    on_topics = (schema for name, schema in definitions().items() if topics_of(name))
    ran = 0
    for statement in (*statements(on_topics), *view_statements(prices)):
        client.command(statement)
        ran += 1
    return ran


def view_statements(prices: SmsPrices | None = None) -> list[str]:
    """The read views for analysts, in the order of their files' numbers."""
    folder = files("connectors.clickhouse") / "ddl"
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    filled = {
        "{database}": DATABASE,
        "{reasons}": _array(WHOLE),
        "{phrases}": _array(WHOLE.values()),
        "{closed_reasons}": _array(CLOSED),
        "{closed_phrases}": _array(CLOSED.values()),
        "{wishes}": _array(sorted(WISHES)),
        "{channels}": _array(CHANNELS),
        "{channel_words}": _array(CHANNELS.values()),
        "{message_words}": _array(MESSAGES[channel] for channel in CHANNELS),
        "{most_clauses}": str(MOST_CLAUSES),
        "{sms_prices}": "[" + ", ".join(map(_tuple, (prices or sms_prices.load()).rows())) + "]",
    }
    texts = [entry.read_text() for entry in found]
    for name, text in filled.items():
        texts = [one.replace(name, text) for one in texts]
    return texts


def _array(texts: Iterable[str]) -> str:
    """Our own words as a literal of SQL."""
    return "[" + ", ".join(map(_text, texts)) + "]"


def _tuple(values: Iterable[str | None]) -> str:
    return "(" + ", ".join("NULL" if value is None else _text(value) for value in values) + ")"


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
