"""``luxe simulate``: a clinic's year in minutes, by the pipeline's own rules under a virtual clock."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cli.simulation.inputs import DAY_MS, Input, NothingToSimulate, exported, made_up
from cli.simulation.parts import PATIENTS
from cli.simulation.printing import print_tables, totals_of
from cli.simulation.running import simulate
from cli.simulation.workers import WorkerLost
from connectors.exports.mapfile import MapError, read_map
from streams.catalog import Catalog

FIRST_DAY = date(2026, 1, 1)
# Events are refused before the one (schemas/validation.py), and three years from the other there are no dates any more.
_FIRST_DAYS = (date(2000, 1, 1), date(2190, 12, 31))
# A script of fewer lines is over before processes have begun.
_SHORT = 1_000
_SHOWN_SECONDS = 0.2  # between two moves of the bar
# What only a made-up clinic has, by the parameter's name.
_MADE_UP = ("days", "first", "patients", "appointments_a_day")


@click.command("simulate")
@click.option("--days", type=click.IntRange(1, 1_000), default=30, show_default=True, help="How long, from --from on.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=1,
    show_default=True,
    help="Another seed, another clinic and provider.",
)
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
@click.option(
    "--appointments",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A practice system's export (CSV, .gz allowed) at its own dates, instead of a made-up clinic.",
)
@click.option(
    "--map",
    "map_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --appointments: its map file, as for `luxe produce`.",
)
@click.option("--limit", type=click.IntRange(1), help="With --appointments: only so many rows.")
@click.option(
    "--workers",
    type=click.IntRange(1, PATIENTS),
    help="Processes that share the work; the totals are the same. By default one for each core, for a few days one alone.",
)
@click.option("--json", "as_json", is_flag=True, help="End with one JSON line of totals instead of the tables.")
@click.pass_context
def command(
    context: click.Context,
    days: int,
    seed: int,
    first: datetime,
    patients: int,
    appointments_a_day: int,
    file: Path | None,
    map_path: Path | None,
    limit: int | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Let a clinic's days pass under a virtual clock, and print what would be sent and every rule broken: none should be.

    Intake and notify are the pipeline's own. Nothing is started, stored or sent; the provider is made up, by the seed.
    """
    began = time.monotonic()
    if file is None or map_path is None:
        if file is not None or map_path is not None or limit is not None:
            raise click.UsageError("an export needs both --appointments and --map, and only it has a --limit")
        if not _FIRST_DAYS[0] <= first.date() <= _FIRST_DAYS[1]:
            earliest, latest = _FIRST_DAYS
            raise click.BadParameter(f"choose a day from {earliest} to {latest}", param_hint="--from")
        given = made_up(seed, first.date(), days, patients, appointments_a_day)
    else:
        _refuse_made_up(context)
        given = _read(file, map_path, limit)
    if workers is None:
        workers = 1 if len(given.script) < _SHORT else _cores()
    catalog = Catalog.load()
    with _clock(given.begins_ms, given.ends_ms) as progress:
        try:
            came = simulate(
                given.script,
                begins_ms=given.begins_ms,
                ends_ms=given.ends_ms,
                seed=seed,
                catalog=catalog,
                policy=given.policy,
                workers=workers,
                progress=progress,
            )
        except WorkerLost as error:
            raise click.ClickException(str(error)) from error
    passed = round((given.ends_ms - given.begins_ms) / DAY_MS)
    totals = {"days": passed, "seed": seed, "from": str(_day(given.begins_ms))} | totals_of(given, came)
    click.echo(f"{passed} days in {time.monotonic() - began:.1f} s", err=True)
    if as_json:
        click.echo(json.dumps(totals))
    else:
        print_tables(given, came, totals)
    for shown in came.shown.values():
        for violation in shown:
            click.echo(f"violation: {violation.rule}: {violation.subject}: {violation.what}", err=True)
    if not totals["requested"]:
        click.echo("nothing was asked for: every event was refused, or there was none", err=True)
    if came.violations or not totals["requested"]:
        sys.exit(1)


def _cores() -> int:
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, PATIENTS)


def _refuse_made_up(context: click.Context) -> None:
    for parameter in context.command.params:
        given = context.get_parameter_source(str(parameter.name))
        if parameter.name in _MADE_UP and given is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"{parameter.opts[0]} is of a made-up clinic; an export has its own days and people")


def _read(file: Path, map_path: Path, limit: int | None) -> Input:
    try:
        export = read_map(map_path)
        with Console(stderr=True).status(f"reading {file.name}") as status:
            rows = 0

            def count() -> None:
                nonlocal rows
                rows += 1
                if rows % 1000 == 0:
                    status.update(f"reading {file.name}: {rows:,} rows")

            return exported(file, export, limit, count)
    except (MapError, NothingToSimulate) as error:
        raise click.ClickException(str(error)) from error


def _day(at_ms: int) -> date:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date()


@contextmanager
def _clock(begins_ms: int, ends_ms: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr that moves with the virtual clock."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[day]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # It moves when it is told to, without a thread of its own: none may run where processes are forked.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as bar:
        task = bar.add_task("simulating", total=ends_ms - begins_ms, day="")
        shown = time.monotonic()

        def show(now_ms: int) -> None:
            nonlocal shown
            if time.monotonic() - shown >= _SHOWN_SECONDS:
                shown = time.monotonic()
                bar.update(task, completed=min(now_ms, ends_ms) - begins_ms, day=str(_day(now_ms)), refresh=True)

        yield show
        bar.update(task, completed=ends_ms - begins_ms, refresh=True)
