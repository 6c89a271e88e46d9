"""``luxe documents``: clinics' own blank forms, which emails about forms carry."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click
import psycopg
from rich.console import Console

from cli import listing
from cli.database import in_database, operator
from connectors.postgres import documents
from connectors.postgres.documents import (
    EMAIL_LEVEL,
    MAX_DOCUMENT_BYTES,
    DocumentError,
    DocumentVersion,
    StoredDocument,
)
from connectors.postgres.records import Records
from connectors.settings import Settings

HEADINGS = ("form", "clinic", "file", "bytes", "level", "emails", "since", "by")
HISTORY_HEADINGS = ("form", "clinic", "file", "SHA-256", "level", "from", "until", "by")
_SENT = "goes with emails that name it"
_KEPT = "stays behind sign-in: its name or content would tell the treatment"


@click.group("documents")
def command() -> None:
    """Clinics' blank forms: add, list, remove, and which were when. See docs/runbooks/documents.md."""


@command.command("add")
@click.option("--clinic", required=True, help="The clinic's id.")
@click.option("--form", required=True, help="The form's name, as the event forms.due says it in form_names.")
@click.option(
    "--level",
    type=click.IntRange(1, 3),
    default=3,
    show_default=True,
    help="PHI level of name, file name and content: 3 tells what is treated and is never sent; 2 or 1 go with emails.",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def add(clinic: str, form: str, level: int, file: Path) -> None:
    """Keep FILE, a blank form as PDF (5 MiB at most), in place of the one of that name.

    Blank: with nobody's data in it. Who is sent it gets it as it is, under its own file name.
    """
    if file.stat().st_size > MAX_DOCUMENT_BYTES:  # before it is read
        raise click.ClickException(
            f"{file}: {file.stat().st_size:,} bytes; at most {MAX_DOCUMENT_BYTES:,} go with an email"
        )
    try:
        content = file.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}; make it readable") from error

    async def work(connection: psycopg.AsyncConnection, records: Records) -> str:
        try:
            return await documents.put(
                connection,
                clinic_id=clinic,
                form=form,
                filename=file.name,
                content=content,
                phi_level=level,
                uploaded_by=operator(),
            )
        except DocumentError as error:
            raise click.ClickException(f"{file}: {error}") from error

    done = in_database(Settings(), work)
    click.echo(f"{clinic}, {form}: {done}; level {level} {_SENT if level <= EMAIL_LEVEL else _KEPT}")


@command.command("list")
@click.option("--clinic", help="Of this clinic only.")
def list_documents(clinic: str | None) -> None:
    """Every form on file, and whether emails carry it."""

    async def work(connection: psycopg.AsyncConnection, records: Records) -> list[StoredDocument]:
        return await documents.stored(connection, clinic)

    def row(one: StoredDocument) -> tuple[str, ...]:
        emails = "carry it" if one.phi_level <= EMAIL_LEVEL else "never: behind sign-in"
        since = _at(one.uploaded_at)
        size = f"{one.size_bytes:,}"
        return one.form, one.clinic_id, one.filename, size, str(one.phi_level), emails, since, one.uploaded_by

    found = in_database(Settings(), work)
    listing.show(Console(), f"{len(found)} forms on file", HEADINGS, map(row, found))


@command.command("remove")
@click.option("--clinic", required=True, help="The clinic's id.")
@click.option("--form", required=True, help="The form's name.")
def remove(clinic: str, form: str) -> None:
    """Take a form off: within a minute emails go without it."""

    async def work(connection: psycopg.AsyncConnection, records: Records) -> bool:
        return await documents.remove(connection, clinic, form, removed_by=operator())

    if not in_database(Settings(), work):
        raise click.ClickException(f"{clinic}: no form of that name on file; `luxe documents list` shows them")
    click.echo(f"{clinic}, {form}: removed; emails go without it within a minute")


@command.command("history")
@click.option("--clinic", help="Of this clinic only.")
@click.option("--form", help="Under this name only.")
def history(clinic: str | None, form: str | None) -> None:
    """What was on file when, replaced and removed ones too.

    The email sink logs with each delivery the same twelve digits of the SHA-256 of every file that it carries.
    """

    async def work(connection: psycopg.AsyncConnection, records: Records) -> list[DocumentVersion]:
        return await documents.history(connection, clinic, form)

    def row(one: DocumentVersion) -> tuple[str, ...]:
        until = "now" if one.until is None else _at(one.until)
        return one.form, one.clinic_id, one.filename, one.digest, str(one.phi_level), _at(one.since), until, one.by

    found = in_database(Settings(), work)
    listing.show(Console(), f"{len(found)} forms that are or were on file", HISTORY_HEADINGS, map(row, found))


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
