"""`luxe templates`: check the texts, see one as a recipient would, publish them."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import psycopg

from cli.database import in_database
from connectors.postgres import templates
from connectors.postgres.records import Records
from connectors.settings import Settings
from schemas.definitions import definition
from schemas.events import EVENT_TYPES
from streams.catalog import Catalog
from streams.render import sms
from streams.render.ceilings import TemplateError
from streams.render.engine import CompiledTemplate
from streams.render.sources import TEMPLATES, load_templates
from streams.render.variables import Facts
from streams.rules.person import Person

folder_option = click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=TEMPLATES,
    show_default="those that come with the product",
    help="Folder of <template_id>.yaml files.",
)

# What a preview's clinic says of itself.
_CLINIC: dict[str, Any] = {
    "name": "Luxe Medical Spa",
    "phone": "(555) 010-0100",
    "email": "care@luxe.example",
    "address": "1 Main Street",
    "website": "https://luxe.example",
    "portal_url": "https://portal.luxe.example",
    "booking_url": "https://luxe.example/book",
    "logo_url": None,
    "privacy_url": "https://luxe.example/privacy",
    "service_names": {},
    "generic_service_name": "treatment",
    "currency": "USD",
}


@click.group("templates")
def command() -> None:
    """The texts of notifications: streams/render/templates/*.yaml; their form is explained in the README there."""


@command.command("check")
@folder_option
def check(folder: Path) -> None:
    """Check every file: syntax, variables, levels against each surface's ceiling; exit status 1 if anything is wrong."""
    rows = _loaded(folder)
    missing = _missing(rows) if folder == TEMPLATES else []
    if missing:
        raise click.ClickException("types that the catalogue sends by a channel without a text:\n" + "\n".join(missing))
    ids = {row["template_id"] for row in rows}
    click.echo(f"{len(ids)} templates, {len(rows)} texts: all good. Publish them with `luxe templates publish`.")


@command.command("preview")
@click.argument("template_id")
@click.option("--channel", type=click.Choice(["sms", "email", "push", "in_app"]), help="Only this one.")
@click.option("--locale", default="en-US", show_default=True, help="The recipient's, BCP 47.")
@click.option("--event", "event_type", help="The event it is about; default: the first that the catalogue names.")
@click.option("--html", is_flag=True, help="Print the HTML of the email, for a browser.")
@folder_option
def preview(
    template_id: str, channel: str | None, locale: str, event_type: str | None, html: bool, folder: Path
) -> None:
    """Show a template as a made-up recipient would get it, with the segments of the text message."""
    events = _events_of(template_id)
    if not events:
        raise click.ClickException(f"no notification type uses {template_id}; `luxe catalog list` shows all")
    if event_type is not None and event_type not in events:
        raise click.ClickException(f"{template_id} is for {', '.join(events)}")
    record = EVENT_TYPES[event_type or events[0]].record
    shown = 0
    for row in _loaded(folder):
        wanted = row["template_id"] == template_id and row["locale"].partition("-")[0] == locale.partition("-")[0]
        if wanted and channel in (None, row["channel"]):
            _show(CompiledTemplate(row), record, locale, html)
            shown += 1
    if not shown:
        raise click.ClickException(
            f"{template_id} has no such text in {locale}; without --locale you see the English one"
        )


@command.command("publish")
@folder_option
def publish(folder: Path) -> None:
    """Store what differs from the active versions as new ones; the pipeline uses them from the next event on."""
    rows = _loaded(folder)

    async def store(connection: psycopg.AsyncConnection, records: Records) -> int:
        async with connection.transaction():
            return len(await templates.publish(connection, records, rows, getpass.getuser()))

    try:
        changed = in_database(Settings(), store)
    except templates.TemplateError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{changed} records published" if changed else "nothing differs from what is active")


def _loaded(folder: Path) -> list[dict[str, Any]]:
    try:
        return load_templates(folder=folder)
    except TemplateError as error:
        raise click.ClickException(str(error)) from error


def _missing(rows: list[dict[str, Any]]) -> list[str]:
    texts = {(row["template_id"], row["channel"]) for row in rows if row["locale"] == "en"}
    return [
        f"{kind.name}: {kind.template_id}/{channel}"
        for kind in Catalog.load().types.values()
        for channel in kind.all_channels
        if (kind.template_id, channel) not in texts
    ]


def _events_of(template_id: str) -> list[str]:
    kinds = (kind for kind in Catalog.load().types.values() if kind.template_id == template_id)
    return list(dict.fromkeys(trigger.event for kind in kinds for trigger in kind.triggers))


def _show(template: CompiledTemplate, record: str, locale: str, html: bool) -> None:
    person = Person("patient:preview", 1, first_name="Sarah", last_name="Lee")
    facts = Facts(_made_up(record), person, _CLINIC, "A-1001", locale, "America/New_York")
    try:
        rendered = template.bound_to(record).render(facts)
    except TemplateError as error:
        raise click.ClickException(str(error)) from error
    if html:
        if template.channel == "email":
            click.echo(rendered.html)
        return
    click.secho(f"── {template.channel} ({template.locale})", bold=True)
    if rendered.subject is not None:
        click.secho(rendered.subject, bold=True)
    if template.channel == "sms":
        content, parts = sms.content(rendered, "")
        click.echo(content["body"])
        click.secho(f"{parts} segment{'s' * (parts > 1)}, {sms.segments(content['body']).alphabet}", dim=True)
    else:
        click.echo(rendered.body)
    if template.channel == "in_app" and rendered.html:
        click.secho("behind sign-in:", dim=True)
        click.echo(rendered.html)
    click.echo()


def _made_up(record: str) -> dict[str, Any]:
    """An event of made-up values, every optional one given."""
    return {field["name"]: _value(field) for field in definition(record)["fields"]}


def _value(field: dict[str, Any]) -> Any:
    kind = field["type"]
    if isinstance(kind, list):
        kind = next(branch for branch in kind if branch != "null")
    name = kind.get("logicalType", kind["type"]) if isinstance(kind, dict) else kind
    now = datetime.now(UTC)
    match name:
        case "timestamp-millis":
            return now
        case "date":
            return (now + timedelta(days=7)).date()
        case "decimal":
            return Decimal("120.00")
        case "boolean":
            return True
        case "int" | "long" | "float" | "double":
            return 2
        case "enum":
            return kind["symbols"][0]
        case "array":
            return ["one", "two"]
        case "map":
            return {}
    if field.get("format") == "hh:mm":
        return "14:00"
    if field["name"].endswith("url"):
        return "https://luxe.example/x"
    known = {"service": "Botox", "provider": "Dr. Smith", "currency": "USD", "patient_name": "Sarah Lee"}
    return known.get(field["name"], f"<{field['name']}>")
