"""``luxe keys``: the keys that seal what describes a person. See docs/runbooks/keys.md."""

from __future__ import annotations

import click
import psycopg
from rich.console import Console
from rich.table import Table

from cli.database import in_database, operator
from connectors.postgres import keys, outbox
from connectors.postgres.keys import KeysError
from connectors.postgres.outbox import OutboxDelayed
from connectors.postgres.records import Records
from connectors.settings import Settings

# How long an erasure waits to say that it is in force everywhere.
IN_FORCE_SECONDS = 10.0


@click.group("keys")
def command() -> None:
    """The encryption keys: status, rotation, erasure of a person."""


@command.command("status")
def show_status() -> None:
    """Every key-encryption key: where it is, and how many data keys it wraps. Exit 1 where one that is needed is missing."""
    found = in_database(Settings(), keys.status)
    table = Table("key", "in the ring", "state", "data keys wrapped")
    for kek in found:
        state = "active" if kek.active else "retired" if kek.retired else "old"
        table.add_row(kek.kek_id, "yes" if kek.in_ring else "no", state, f"{kek.wrapped_keys:,}")
    Console().print(table)
    lost = [kek.kek_id for kek in found if kek.wrapped_keys and not kek.in_ring]
    if lost:
        raise click.ClickException(
            f"{', '.join(lost)}: needed, and not in {Settings().kek_path}; restore the ring from its backup"
        )
    if any(not kek.active and kek.wrapped_keys for kek in found):
        click.echo("a rotation is unfinished: run `luxe keys rotate`")


@command.command("rotate")
@click.option("--retire", is_flag=True, help="Afterwards destroy the old keys; back up the new ring first.")
def rotate(retire: bool) -> None:
    """Make a new key-encryption key and wrap every data key by it. Interrupted, it is finished by running it again."""

    def progress(done: int, total: int) -> None:
        click.echo(f"wrapped {done:,} of {total:,} data keys", err=True)

    async def work(connection: psycopg.AsyncConnection, records: Records) -> tuple[str, list[str]]:
        active = await keys.rotate(connection, records, operator(), progress)
        return active, await keys.retire(connection, records, operator()) if retire else []

    try:
        active, retired = in_database(Settings(), work)
    except (KeysError, OutboxDelayed) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{active} wraps everything; back up {Settings().kek_path} now")
    if retired:
        click.echo(f"destroyed: {', '.join(retired)}")
    else:
        click.echo("old keys stay in the ring until `luxe keys rotate --retire`, or `luxe keys retire`")


@command.command("retire")
def retire_old() -> None:
    """Destroy the old key-encryption keys, which wrap nothing any more."""
    try:
        retired = in_database(Settings(), lambda connection, records: keys.retire(connection, records, operator()))
    except (KeysError, OutboxDelayed) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"destroyed: {', '.join(retired)}" if retired else "there is no old key")


@command.command("erase")
@click.argument("recipient")
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(recipient: str, yes: bool) -> None:
    """Erase a person for good.

    What was sealed for RECIPIENT (patient:<id> or staff:<id>) can never be opened again, and nothing is sent there any more.
    """
    if not yes:
        click.confirm("This cannot be undone: destroy this person's key, content and addresses?", abort=True)

    async def work(connection: psycopg.AsyncConnection, records: Records) -> bool:
        async with connection.transaction():
            ids = await keys.erase(connection, records, recipient, operator())
        try:
            await outbox.published(connection, ids, IN_FORCE_SECONDS)
        except OutboxDelayed:
            return False
        return True

    try:
        in_force = in_database(Settings(), work)
    except KeysError as error:
        raise click.ClickException(str(error)) from error
    click.echo("erased; nothing is sent to this person any more")
    if not in_force:
        click.echo("not yet in Kafka: the processes learn of it when the relay runs, see `luxe status`", err=True)
