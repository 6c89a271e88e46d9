"""``luxe recipients``: patients and staff, in from a file, and shown without what identifies them."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import click
import psycopg

from cli.database import in_database, operator
from connectors.postgres import recipients as stored_recipients
from connectors.postgres.recipient_columns import known_columns
from connectors.postgres.recipient_file import RecipientFileError, read_recipients
from connectors.postgres.recipient_import import ImportResult, import_recipients
from connectors.postgres.recipients import Recipient
from connectors.postgres.records import Records
from connectors.settings import Settings

PROGRESS_SECONDS = 1.0


@click.group("recipients")
def command() -> None:
    """Patients and staff: import them from a file, look one up."""


@command.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--region", metavar="CC", help="Country (ISO 3166, e.g. US) of phone numbers that name none.")
@click.option("--dry-run", is_flag=True, help="Check everything, store nothing.")
@click.option("--allow-rejected", is_flag=True, help="Exit 0 although lines were rejected.")
def import_file(file: Path, region: str | None, dry_run: bool, allow_rejected: bool) -> None:
    """Store the recipients of FILE: CSV with a header, or JSON lines.

    `luxe recipients columns` lists the names. An empty cell leaves what is stored. Run it as often as you like: what is stored
    like that already is left alone, and an interrupted import is finished by the next. Lines that cannot be used are listed,
    without their values, in FILE.rejected.jsonl.
    """
    shown_at = time.monotonic()

    def progress(result: ImportResult) -> None:
        nonlocal shown_at
        if time.monotonic() - shown_at >= PROGRESS_SECONDS:
            shown_at = time.monotonic()
            click.echo(f"{result.lines:,} lines: {_counts(result)}", err=True)

    async def work(connection: psycopg.AsyncConnection, records: Records) -> ImportResult:
        lines = read_recipients(file, region.upper() if region else None)
        return await import_recipients(connection, records, lines, operator(), dry_run=dry_run, progress=progress)

    try:
        result = in_database(Settings(), work)
    except RecipientFileError as error:
        raise click.ClickException(f"{file}: {error}") from error
    click.echo(f"{'would have ' if dry_run else ''}{_counts(result)}")
    rejected = file.with_name(f"{file.name}.rejected.jsonl")
    rejected.unlink(missing_ok=True)
    if result.rejected:
        _write_problems(rejected, result)
        click.echo(f"{result.rejected:,} lines were rejected: see {rejected}, mend them, run it again", err=True)
        sys.exit(0 if allow_rejected else 1)
    if not dry_run:
        click.echo("the relay publishes them to Kafka; `luxe status` shows whether it runs")


@command.command("columns")
def columns() -> None:
    """Every column that a file may have."""
    for column in known_columns():
        click.echo(column)


@command.command("show")
@click.argument("recipient")
def show(recipient: str) -> None:
    """Show how much is known of one person.

    RECIPIENT is patient:<id> or staff:<id>. Names and addresses are counted, never shown.
    """

    async def work(connection: psycopg.AsyncConnection, records: Records) -> Recipient | None:
        return (await stored_recipients.get_many(connection, records, [recipient])).get(recipient)

    found = in_database(Settings(), work)
    if found is None:
        raise click.ClickException("no such recipient, or erased; write patient:<id> or staff:<id>")
    click.echo(json.dumps(redacted(found), indent=2))


def redacted(found: Recipient) -> dict[str, object]:
    """A recipient without names, addresses and days: what is there, and what was wished and agreed to."""
    content = found.content
    preferences = content["preferences"]
    return {
        "kind": found.kind,
        "clinic_id": found.clinic_id,
        "version": found.version,
        "active": found.active,
        "roles": list(found.roles),
        "known": [name for name in ("first_name", "last_name", "birthday", "time_zone", "locale") if content[name]],
        "phones": {"count": len(content["phones"]), "verified": sum(phone["verified"] for phone in content["phones"])},
        "emails": {"count": len(content["emails"]), "verified": sum(email["verified"] for email in content["emails"])},
        "devices": len(content["devices"]),
        "preferences": "never asked" if preferences is None else "set",
        "consents": {consent["consent_type"]: consent["status"] for consent in content["consents"]},
    }


def _counts(result: ImportResult) -> str:
    return (
        f"created {result.created:,}, updated {result.updated:,}, left {result.unchanged:,} unchanged, "
        f"rejected {result.rejected:,}"
    )


def _write_problems(path: Path, result: ImportResult) -> None:
    """Private all the same: which lines of a patient list are wrong is nobody else's business."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        for number, problem in result.problems:
            file.write(json.dumps({"line": number, **problem._asdict()}) + "\n")
