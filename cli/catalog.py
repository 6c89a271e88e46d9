"""``luxe catalog``: which event tells whom what; a changed catalogue checked before it is used."""

from __future__ import annotations

from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.table import Table

from streams.catalog import Catalog, CatalogError
from streams.catalog_table import HEADINGS, markdown, rows


@click.group("catalog", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Print the notification types (no command), or check a changed catalogue."""
    if context.invoked_subcommand is None:
        context.invoke(list_types)


@command.command("list")
@click.option("--event", help="Only what this event tells, e.g. appointment.created.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, a type each.")
@click.option("--markdown", "as_markdown", is_flag=True, help="The table as in docs/catalogue.md.")
def list_types(event: str | None = None, as_json: bool = False, as_markdown: bool = False) -> None:
    """Every notification type: on which event, for whom, when, until when, on which channels."""
    catalog = Catalog.load()
    if as_markdown:
        click.echo(markdown(catalog), nl=False)
        return
    told = catalog.types.values() if event is None else [entry.type for entry in catalog.for_event(event)]
    if not told:
        raise click.ClickException(f"no notification type hangs on {event}; `luxe catalog list` shows all")
    if as_json:
        for kind in told:
            click.echo(orjson.dumps(kind.model_dump(), default=str).decode())
        return
    names = {kind.name for kind in told}
    table = Table(title=f"{len(names)} notification types", caption=f"catalogue version {catalog.version}")
    for heading in HEADINGS:
        table.add_column(heading, overflow="fold")
    name = ""
    for row in rows(catalog):
        name = row[0] or name
        if name in names:
            table.add_row(*row)
    Console().print(table)


@command.command("check")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check(file: Path) -> None:
    """Check a changed catalogue.

    FILE is read as a process would at its start: every fault with its line and mend; exit status 1 if any.
    """
    try:
        catalog = Catalog.load(file)
    except CatalogError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{file}: {len(catalog.types)} types on {len(catalog.event_types)} events, version {catalog.version}")
