"""Asking the ClickHouse of this installation over HTTP: the embedded engine's endpoint, or the server behind the DSN."""

from __future__ import annotations

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from connectors.clickhouse.client import is_embedded, is_secure
from connectors.clickhouse.endpoint import USER, password_file
from connectors.clickhouse.tables import DATABASE
from connectors.settings import Settings, SettingsError


def open_remote(settings: Settings) -> Client:
    """A client over HTTP, read-only with the embedded engine. Raises SettingsError where its password is not to be had."""
    if not is_embedded(settings):
        dsn = settings.clickhouse_dsn.get_secret_value()
        return clickhouse_connect.get_client(dsn=dsn, secure=is_secure(dsn))
    path = password_file(settings)
    try:
        password = path.read_text().strip()
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read ({error.strerror}); `luxe up` starts ClickHouse and writes it"
        ) from error
    return clickhouse_connect.get_client(
        host=settings.clickhouse_http_host,
        port=settings.clickhouse_http_port,
        username=USER,
        password=password,
        database=DATABASE,
        compress=False,
    )
