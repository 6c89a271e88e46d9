"""``luxe query``: one SQL query to ClickHouse, answered as a table, CSV or JSON."""

from __future__ import annotations

import sys

import click
from clickhouse_connect.driver.exceptions import ClickHouseError

from connectors.clickhouse.remote import open_remote
from connectors.settings import Settings, SettingsError

FORMATS = {"table": "PrettyCompactMonoBlock", "csv": "CSVWithNames", "json": "JSONEachRow"}


@click.command("query")
@click.argument("sql", required=False)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(list(FORMATS)),
    default="table",
    show_default=True,
    help="Of the answer.",
)
def command(sql: str | None, output_format: str) -> None:
    """Ask ClickHouse (read-only on the embedded stack). Without SQL, list the views to start from.

    \b
    luxe query "SELECT * FROM funnel"
    luxe query "SELECT * FROM account"
    luxe query "SELECT * FROM delivery_log WHERE status = 'failed' LIMIT 10"
    """
    sql = sql or (
        "SELECT name, total_rows, comment FROM system.tables WHERE database = 'luxe' AND (engine = 'View' OR total_rows > 0) "
        "ORDER BY engine DESC, name"
    )
    settings = Settings()
    try:
        client = open_remote(settings)
        answer = client.raw_query(sql, fmt=FORMATS[output_format])
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
    except ClickHouseError as error:
        where = f"{settings.clickhouse_http_host}:{settings.clickhouse_http_port}"
        hint = f"is it running at {where}? `luxe status` tells" if "Connection" in str(error) else "mend the query"
        raise click.ClickException(f"{str(error).splitlines()[0]}\n  next: {hint}") from error
    sys.stdout.write(answer.decode())
