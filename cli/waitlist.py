"""``luxe waitlist``: slots that opened and whose turn it is; one slot's story; a waitlist played through in seconds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click
import psycopg
from rich.console import Console
from rich.table import Table

from cli.database import in_database
from connectors.postgres.records import Records
from connectors.settings import Settings
from connectors.waitlist.keeping import Offer, Row, SlotRows

MOST_SLOTS = 1_000


@click.group("waitlist")
def command() -> None:
    """Waitlist slots: whose turn it is, and how it came to that. See docs/waitlist.md."""


@command.command("list")
@click.option("--clinic", "clinic_id", help="Of one clinic only.")
@click.option("--all", "over", is_flag=True, help="Also those that are over: claimed, exhausted, expired, withdrawn.")
@click.option("--limit", type=click.IntRange(1, MOST_SLOTS), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each slot, one a line.")
def list_slots(clinic_id: str | None, over: bool, limit: int, as_json: bool) -> None:
    """Slots that are open or offered, those last changed first."""
    settings = Settings()

    async def work(connection: psycopg.AsyncConnection, records: Records) -> list[Row]:
        rows = SlotRows(records, settings.pages_url)
        return await rows.latest(connection, clinic_id, over=over, limit=limit)

    found = in_database(settings, work)
    if as_json:
        for row in found:
            click.echo(json.dumps(told(row)))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("slot", "clinic", "state", "offers", "left", "next look", "starts"):
        table.add_column(heading, overflow="fold")
    for row in found:
        one = told(row)
        texts = (one["slot_id"], one["clinic_id"], one["state"], one["offers"], one["waiting"])
        table.add_row(*map(str, texts), _in(row.slot.due_at), _at(row.slot.starts_at))
    Console().print(table)


@command.command("show")
@click.argument("slot")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each slot of that name, one a line.")
def show(slot: str, as_json: bool) -> None:
    """SLOT is a slot's id, or an offer's. Patients are named by their ids, as in the practice system."""
    settings = Settings()

    async def work(connection: psycopg.AsyncConnection, records: Records) -> list[tuple[Row, list[Offer]]]:
        rows = SlotRows(records, settings.pages_url)
        return [(row, await rows.offers(connection, row.about)) for row in await rows.find(connection, slot)]

    found = in_database(settings, work)
    if not found:
        raise click.ClickException("no slot or offer of that id; `luxe waitlist list --all` names those there are")
    for row, offers in found:
        if as_json:
            click.echo(json.dumps(told(row) | {"offers_made": [_offer(one) for one in offers]}))
            continue
        click.echo(f"{row.about.slot_id} of {row.about.clinic_id}: {row.slot.state}, starts {_at(row.slot.starts_at)}")
        for offer in offers:
            click.echo(
                f"  offer {offer.number}  {offer.made_at:%H:%M:%S} to {offer.ends_at:%H:%M:%S} UTC  "
                f"{offer.patient_id}  {offer.outcome or 'stands'}  (luxe explain --about waitlist:{offer.offer_id})"
            )
        for one in row.slot.candidates:
            if one.standing in ("waiting", "skipped"):
                click.echo(f"  {one.standing}  {one.patient_id}{'  ' + one.reason if one.reason else ''}")


@command.command("play")
@click.option(
    "--window", "window_seconds", type=click.IntRange(2, 600), default=6, show_default=True, metavar="SECONDS"
)
@click.option("--json", "as_json", is_flag=True, help="End with one JSON line of what happened.")
def play(window_seconds: int, as_json: bool) -> None:
    """Play a waitlist of five with one slot on the running stack, half an hour in a few seconds, and tell what happens.

    The first lets her time pass, the second passes it on, the third is too late, the fourth claims it while all the others try
    to, the fifth is never asked. Made-up patients of the clinic `clinic-waitlist-play`; providers are the stack's own.
    """
    from cli.waitlist_play import Play

    played = in_database(Settings(), Play(Settings(), window_seconds, click.echo).run)
    if as_json:
        click.echo(json.dumps(played.as_json()))
    if played.faults:
        raise click.ClickException("; ".join(played.faults))


def told(row: Row) -> dict[str, Any]:
    """A slot for a list. Nobody's id."""
    slot = row.slot
    return {
        "slot_id": row.about.slot_id,
        "clinic_id": row.about.clinic_id,
        "state": slot.state,
        "offers": slot.offer_number,
        "waiting": sum(one.standing == "waiting" for one in slot.candidates),
        "skipped": sum(one.standing == "skipped" for one in slot.candidates),
        "due_at": None if slot.due_at is None else slot.due_at.isoformat(),
        "starts_at": None if slot.starts_at is None else slot.starts_at.isoformat(),
    }


def _offer(offer: Offer) -> dict[str, Any]:
    return {
        "offer_id": offer.offer_id,
        "number": offer.number,
        "patient_id": offer.patient_id,
        "made_at": offer.made_at.isoformat(),
        "ends_at": offer.ends_at.isoformat(),
        "outcome": offer.outcome,
    }


def _at(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"


def _in(moment: datetime | None) -> str:
    return "-" if moment is None else f"in {max(0, round((moment - datetime.now(UTC)).total_seconds()))} s"
