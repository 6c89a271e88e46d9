"""``luxe segments``: who is found by the calendar instead of by an event; scan now, or see what a scan would tell."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any

import click
import psycopg
from rich.console import Console
from rich.table import Table

from cli.database import in_database
from connectors.postgres.records import Records
from connectors.segments import projection, runs
from connectors.segments.definitions import Segment, SegmentsError, load
from connectors.segments.runs import Clinic, Latest, Tally
from connectors.segments.scanner import Look, OutboxFull, Scanner, is_scanned
from connectors.settings import Settings
from schemas.codec import CodecError

PROGRESS_SECONDS = 1.0
# A person waits for the relay so long; then what is wrong is said, and the scan goes on later.
OUTBOX_SECONDS = 60.0
# What was useful then is useful no more; and a day ahead only a dry run looks at.
OLDEST_DAYS, FARTHEST_DAYS = 31, 366


@click.group("segments")
def command() -> None:
    """Birthdays, the inactive and the like: time-driven selections, told as events once per person and period."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: a segment in a clinic.")
def list_segments(as_json: bool) -> None:
    """Every segment in every clinic: when it is scanned, and what the latest scan found."""
    segments = _segments()

    async def work(
        connection: psycopg.AsyncConnection, _: Records
    ) -> tuple[list[Clinic], dict[tuple[str, str], Latest], dict[tuple[str, str], Tally]]:
        return await runs.clinics(connection), await runs.latest_runs(connection), await runs.latest_tallies(connection)

    clinics, latest, tallies = in_database(Settings(), work)
    table = _table("segment", "clinic", "hour", "days", "latest day", "told", "missed")
    for shipped in segments:
        for clinic in clinics:
            segment, at = shipped.at(clinic.clinic_id), (shipped.name, clinic.clinic_id)
            run, tally = latest.get(at), tallies.get(at, Tally())
            if as_json:
                click.echo(json.dumps(_listed(segment, clinic, run, tally)))
                continue
            day = "–" if run is None else f"{run.day}{'' if run.finished else ' (under way)'}"
            table.add_row(
                *(segment.name, clinic.clinic_id, _hour(segment, clinic)),
                *(str(segment.days or "–"), day, f"{tally.emitted:,}", f"{tally.missed:,}"),
            )
    if not as_json:
        Console().print(table)
        if not clinics:
            click.echo("no patients are stored; `luxe recipients import FILE` brings them in")


@command.command("run")
@click.option("--segment", "name", metavar="NAME", help="Only this one.")
@click.option("--clinic", "clinic_id", metavar="ID", help="Only in this clinic.")
@click.option("--date", "day", metavar="YYYY-MM-DD", help="As on this day of the clinic; default: its today.")
@click.option("--dry-run", is_flag=True, help="Write nothing: how many would be told, and who.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: a segment in a clinic.")
def run(name: str | None, clinic_id: str | None, day: str | None, dry_run: bool, as_json: bool) -> None:
    """Scan now, whatever the hour. Who was told in this period already is not told again, so run it as often as you like.

    A dry run lists who would be told, by recipient key.
    """
    segments = [one for one in _segments() if name in (None, one.name)]
    if not segments:
        raise click.ClickException(
            f"no segment has this name; choose from: {', '.join(one.name for one in _segments())}"
        )
    wanted = None if day is None else _day(day)

    async def work(connection: psycopg.AsyncConnection, records: Records) -> list[dict[str, Any]]:
        found = [one for one in await runs.clinics(connection) if clinic_id in (None, one.clinic_id)]
        if not found:
            raise click.ClickException("no patients are stored of this clinic; see `luxe segments list`")
        scanner = Scanner(connection, records, outbox_seconds=OUTBOX_SECONDS)
        return [
            await _scanned(connection, scanner, segment.at(clinic.clinic_id), clinic, wanted, dry_run=dry_run)
            for clinic in found
            for segment in segments
            if is_scanned(segment.at(clinic.clinic_id), clinic)
        ]

    try:
        scanned = in_database(Settings(), work)
    except (OutboxFull, CodecError) as error:
        raise click.ClickException(str(error)) from error
    _report(scanned, as_json=as_json, dry_run=dry_run)


@command.command("rebuild")
def rebuild() -> None:
    """Read the events that Kafka still has (7 days) into patients' standings again, onto what is known of them.

    Safe at any time: an event that was read before changes nothing.
    """
    try:
        in_database(Settings(), lambda connection, _: projection.rebuild(connection))
    except projection.LeadTakenError as error:
        raise click.ClickException(f"{error}; stop the service `segments` and run it again") from error
    click.echo("the process `segments` begins anew with the oldest events; `luxe status` shows whether it runs")


async def _scanned(
    connection: psycopg.AsyncConnection,
    scanner: Scanner,
    segment: Segment,
    clinic: Clinic,
    wanted: date | None,
    *,
    dry_run: bool,
) -> dict[str, Any]:
    today = datetime.now(clinic.zone).date()
    day = wanted or today
    newest = today + timedelta(days=FARTHEST_DAYS if dry_run else 0)
    if not today - timedelta(days=OLDEST_DAYS) <= day <= newest:
        raise click.ClickException(
            f"--date: {(day - today).days:+} days from today in clinic {clinic.clinic_id}; choose one from {OLDEST_DAYS} days "
            + ("ago to a year ahead" if dry_run else "ago to today; a day ahead can be tried with --dry-run")
        )
    last = await runs.last_finished_before(connection, segment.name, clinic.clinic_id, day)
    look, progress = Look(segment, clinic, day, last), _progress(segment, clinic)
    people: Sequence[str] = ()
    if dry_run:
        tally, people = await scanner.preview(look, progress)
    else:
        tally = await scanner.scan(look, again=True, progress=progress)
    found = {"segment": segment.name, "clinic_id": clinic.clinic_id, "date": day.isoformat(), **asdict(tally)}
    return found | ({"recipients": list(people)} if dry_run else {})


def _progress(segment: Segment, clinic: Clinic) -> Callable[[Tally], None]:
    shown_at = time.monotonic()

    def progress(tally: Tally) -> None:
        nonlocal shown_at
        if time.monotonic() - shown_at >= PROGRESS_SECONDS:
            shown_at = time.monotonic()
            click.echo(
                f"{segment.name}, {clinic.clinic_id}: {tally.scanned:,} patients, {tally.emitted:,} due", err=True
            )

    return progress


def _report(scanned: Sequence[dict[str, Any]], *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        for one in scanned:
            click.echo(json.dumps(one))
    else:
        table = _table("segment", "clinic", "day", "people", "to tell" if dry_run else "told", "before")
        for heading in ("missed", "unreadable"):
            table.add_column(heading, overflow="fold")
        for one in scanned:
            counts = (one[name] for name in ("scanned", "emitted", "repeated", "missed", "unreadable"))
            table.add_row(one["segment"], one["clinic_id"], one["date"], *(f"{count:,}" for count in counts))
        Console().print(table)
        for one in scanned:
            for recipient in one.get("recipients", ()):
                click.echo(f"{one['segment']} {recipient}")
    unreadable = sum(one["unreadable"] for one in scanned)
    if unreadable:
        raise click.ClickException(
            f"{unreadable} patients' records cannot be opened; `luxe keys status` shows whether a key is missing"
        )
    if not as_json:
        click.echo(
            "nothing was written; without --dry-run they are told"
            if dry_run
            else "the relay publishes them to Kafka; what becomes of each, `luxe explain` says"
        )


def _table(*headings: str) -> Table:
    """Names and days whole, on a narrow screen and in a file too."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=heading in ("segment", "clinic", "day"), overflow="fold")
    return table


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise click.ClickException(f"--date: a text of {len(text)} characters; write a day as YYYY-MM-DD") from None


def _segments() -> tuple[Segment, ...]:
    try:
        return load(Settings().segments_file)
    except SegmentsError as error:
        raise click.ClickException(str(error)) from error


def _hour(segment: Segment, clinic: Clinic) -> str:
    if not segment.enabled:
        return "off"
    return f"{segment.hour:02}:00" if is_scanned(segment, clinic) else "no portal_url"


def _listed(segment: Segment, clinic: Clinic, run: Latest | None, tally: Tally) -> dict[str, Any]:
    return {
        "segment": segment.name,
        "clinic_id": clinic.clinic_id,
        "enabled": is_scanned(segment, clinic),
        "hour": segment.hour,
        "time_zone": clinic.zone.key,
        "days": segment.days,
        "event": segment.event,
        "latest_day": None if run is None else run.day.isoformat(),
        "finished": None if run is None else run.finished,
        **asdict(tally),
    }
