"""``luxe catalog``: which event tells whom what; a changed catalogue checked before it is used; what one event would cause."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
import orjson
from rich.console import Console

from cli import foresight, listing
from streams.catalog import Catalog, CatalogError
from streams.catalog_table import HEADINGS, markdown, rows
from streams.rules.mapping import MappingError
from streams.rules.timing import UnknownZoneError


@click.group("catalog", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Print the notification types (no command), check a changed catalogue, or simulate an event."""
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
    listed, name = [], ""
    for row in rows(catalog):
        name = row[0] or name
        if name in names:
            listed.append(row)
    title, caption = f"{len(names)} notification types", f"catalogue version {catalog.version}"
    listing.show(Console(), title, HEADINGS, listed, caption)


@command.command("check")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check(file: Path) -> None:
    """Check a changed catalogue.

    FILE is read as a process would at its start: every fault with its line and mend; exit status 1 if any.
    """
    catalog = _loaded(file)
    click.echo(f"{file}: {len(catalog.types)} types on {len(catalog.event_types)} events, version {catalog.version}")


@command.command("simulate")
@click.argument("event", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--policy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The clinic's policy, a file for `luxe policies import`. Without one: UTC and every default.",
)
@click.option("--now", "at", metavar="TIME", help="When the event arrives, ISO 8601 with a zone. Default: now.")
@click.option(
    "--catalog", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Another catalogue."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def simulate(event: Path, policy: Path | None, at: str | None, path: Path | None, as_json: bool) -> None:
    """Print the whole calendar that one event causes; nothing is sent, stored or asked.

    EVENT is a file (`-`: standard input) with one event as JSON, as `luxe produce` takes it.
    """
    now = _moment(at)
    catalog = _loaded(path)
    happened = foresight.read_event(event, now)
    decided = foresight.policy_of(policy, happened.value["clinic_id"])
    try:
        found = foresight.simulated(catalog, happened, now, decided)
    except (MappingError, UnknownZoneError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(orjson.dumps(foresight.as_json(happened.value, found, now), option=orjson.OPT_INDENT_2).decode())
        return
    for line in foresight.as_lines(happened.value, found, now):
        click.echo(line)
    click.echo("consents, preferences, quiet hours and caps are asked when each is due: `luxe what-if`", err=True)


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC).replace(microsecond=0)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise click.BadParameter("write --now with its zone, like 2026-11-28T22:10Z")
    return found


def _loaded(path: Path | None) -> Catalog:
    try:
        return Catalog.load(path)
    except CatalogError as error:
        raise click.ClickException(str(error)) from error
