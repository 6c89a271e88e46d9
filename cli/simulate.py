"""``luxe simulate``: a clinic's year in seconds, by the pipeline's own rules under a virtual clock."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cli.simulation.checks.every import Checks, checks_for
from cli.simulation.running import SIMULATED_POLICY, Ran, simulate
from cli.simulation.telling import Counted
from connectors.demo.year import script_of
from schemas.topics import CHANNELS
from streams.catalog import Catalog

DAY_MS = 24 * 60 * 60 * 1000
FIRST_DAY = date(2026, 1, 1)


@click.command("simulate")
@click.option("--days", type=click.IntRange(1, 1_000), default=30, show_default=True, help="How long, from --from on.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, another clinic and provider.")
@click.option(
    "--from",
    "first",
    type=click.DateTime(["%Y-%m-%d"]),
    default=str(FIRST_DAY),
    show_default=True,
    help="The first day.",
)
@click.option("--patients", type=click.IntRange(12, 50_000), default=400, show_default=True)
@click.option(
    "--appointments-a-day", type=click.IntRange(1, 2_000), default=20, show_default=True, help="Booked a day."
)
@click.option("--json", "as_json", is_flag=True, help="End with one JSON line of totals instead of the tables.")
def command(days: int, seed: int, first: datetime, patients: int, appointments_a_day: int, as_json: bool) -> None:
    """Let a made-up clinic's days pass under a virtual clock, and print what would be sent.

    Intake and notify are the pipeline's own. Nothing is started, stored or sent; the provider is made up, by the seed.
    """
    began = time.monotonic()
    script = script_of(seed, first.date(), days, patients, appointments_a_day)
    begins_ms = round(first.replace(tzinfo=UTC).timestamp() * 1000)
    catalog = Catalog.load()
    counted, checks = Counted(str(SIMULATED_POLICY["time_zone"])), checks_for(catalog, SIMULATED_POLICY)
    ends_ms = begins_ms + days * DAY_MS
    with _progress(begins_ms, ends_ms) as progress:
        ran = simulate(
            script,
            begins_ms=begins_ms,
            ends_ms=ends_ms,
            seed=seed,
            catalog=catalog,
            onlookers=(*checks.onlookers, counted),
            progress=progress,
        )
    checks.finish(ends_ms)
    totals = {"days": days, "seed": seed, "from": str(first.date())} | _totals(counted, checks, ran)
    click.echo(f"{days} days in {time.monotonic() - began:.1f} s", err=True)
    if as_json:
        click.echo(json.dumps(totals))
    else:
        _print(counted, totals)
    for violation in checks.shown():
        click.echo(f"violation: {violation.rule}: {violation.subject}: {violation.what}", err=True)
    if checks.violations:
        sys.exit(1)


def _totals(counted: Counted, checks: Checks, ran: Ran) -> dict[str, Any]:
    return {
        "events": counted.events.total(),
        "requested": checks.books.requested,
        "ended": checks.books.ended,
        "waiting": checks.books.waiting,
        "sent": {channel: sum(n for (_, c), n in counted.sent.items() if c == channel) for channel in CHANNELS},
        "refused_by_provider": dict(sorted(counted.refused.items())),
        "decisions": {
            outcome: sum(n for (name, _), n in counted.outcomes.items() if name == outcome)
            for outcome in ("deliver", "defer", "suppress")
        },
        "dead_letters": dict(sorted(counted.letters.items())),
        "timers": ran.timers,
        "violations": checks.violations,
    }


def _print(counted: Counted, totals: dict[str, Any]) -> None:
    console = Console()
    console.print(_table("sent", "type", sorted({name for name, _ in counted.sent}), counted.sent))
    hours = {(f"{hour:02d}", channel): count for (hour, channel), count in counted.hours.items()}
    console.print(_table("sent, by the clinic's hour", "hour", sorted({hour for hour, _ in hours}), hours))
    reasons = Table(title="decided")
    for heading in ("outcome", "reason", "decisions"):
        reasons.add_column(heading, justify="right" if heading == "decisions" else "left")
    for (outcome, reason), count in sorted(counted.outcomes.items()):
        reasons.add_row(outcome, reason, f"{count:,}")
    console.print(reasons)
    sent = sum(totals["sent"].values())
    click.echo(
        f"{totals['events']:,} events called for {totals['requested']:,} notifications; {sent:,} messages were sent."
    )
    click.echo(
        f"{totals['ended']:,} of them ended, {totals['waiting']:,} wait for their time; "
        f"{totals['violations']:,} violations were found."
    )


def _table(title: str, first: str, names: list[str], counts: Any) -> Table:
    table = Table(title=title)
    table.add_column(first)
    for channel in CHANNELS:
        table.add_column(channel, justify="right")
    for name in names:
        table.add_row(name, *(f"{counts.get((name, channel), 0):,}" for channel in CHANNELS))
    return table


@contextmanager
def _progress(begins_ms: int, ends_ms: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr that moves with the virtual clock."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[day]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("simulating", total=ends_ms - begins_ms, day="")
        shown = begins_ms

        def show(now_ms: int) -> None:
            nonlocal shown
            if now_ms - shown >= DAY_MS:
                shown = now_ms
                day = datetime.fromtimestamp(now_ms / 1000, UTC).date()
                bar.update(task, completed=now_ms - begins_ms, day=str(day))

        yield show
        bar.update(task, completed=ends_ms - begins_ms)
