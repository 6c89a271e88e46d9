"""``luxe produce``: a CSV export of a practice system, or events written as JSON, into Kafka."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import click
from confluent_kafka import KafkaException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from connectors.exports.event_file import EventFile
from connectors.exports.mapfile import ExportMap, MapError, read_map
from connectors.exports.publishing import (
    UNREADABLE,
    PublishError,
    Standing,
    fingerprint,
    load_standing,
    open_text,
    publish,
    standing_path,
)
from connectors.exports.rows import MappedRow, RowMapper, find_shift_days
from connectors.kafka import make_admin
from connectors.kafka_diagnosis import why_not
from connectors.settings import Settings
from schemas.codec import CodecError
from schemas.events import EVENT_TYPES
from schemas.phi import class_of
from schemas.shapes import shape_of

DRY_RUN_RECORDS = 3
# A person waits: a broker that is up answers in milliseconds.
ANSWER_SECONDS = 5.0


@click.command("produce")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--map",
    "map_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of a CSV file: its map (YAML), which column becomes which field. See docs/producers-guide.md.",
)
@click.option(
    "--dry-run", is_flag=True, help="Publish nothing: print the first records (PHI as shapes) and every rejected row."
)
@click.option(
    "--recipients-to",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Publish nothing: write the map's recipients as JSON lines (0600) for `luxe recipients import`.",
)
@click.option("--limit", type=click.IntRange(1), help="Stop after so many rows.")
@click.option("--restart", is_flag=True, help="Begin at the first row although an earlier run got further.")
@click.option("--correlation-id", help="Carried by every event to its messages; default: made from file and map.")
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write rejected rows (line, column, reason) here as JSON lines.",
)
@click.option("--json", "as_json", is_flag=True, help="End with one JSON line of the totals.")
def command(
    file: Path,
    map_path: Path | None,
    dry_run: bool,
    recipients_to: Path | None,
    limit: int | None,
    restart: bool,
    correlation_id: str | None,
    rejects: Path | None,
    as_json: bool,
) -> None:
    """Publish FILE as domain events: a CSV export as the map says, or events written as JSON (.gz allowed).

    JSON is one event, an array, or one a line; what it may leave out, docs/producers-guide.md says.

    \b
    luxe produce docs/examples/bookings.csv --map docs/examples/bookings.map.yaml
    luxe produce docs/examples/appointment.json

    Interrupted, the same command goes on where it stopped. Rejected rows are printed with their line and reason; they do not
    hold the others up, and make the exit status 1 only when every row was rejected.
    """
    try:
        export = None if map_path is None else read_map(map_path)
        if export is None and not _is_json(file):
            raise click.UsageError(f"{file.name} is no .json or .jsonl: a CSV file needs its --map")
        settings = Settings()
        name = fingerprint(file, map_path)
        kept = standing_path(settings, name)
        standing = None if restart or dry_run or recipients_to else load_standing(kept)
        now = datetime.now(UTC)
        if standing is None or (standing.done and standing.took_nothing):  # then it is told again why
            shift_days = 0
            if export is not None:
                with open_text(file, export.encoding) as text:
                    shift_days = find_shift_days(text, export, now.date())
            standing = Standing(shift_days, correlation_id or f"produce-{name}")
        source = _source(file, export, now, standing)
        if recipients_to is not None:
            _write_recipients(source, export, recipients_to)
            return
        if dry_run:
            _dry_run(source, limit)
            return
        _publish(settings, source, standing, kept, limit, rejects)
    except (MapError, PublishError) as error:
        raise click.ClickException(
            f"{error}\n  next: mend it and run the same command again; it goes on where it stopped"
        ) from error
    except CodecError as error:
        raise click.ClickException(f"the map makes events that their schema refuses: {error}") from error
    except KafkaException as error:
        raise click.ClickException(
            f"Kafka does not answer ({why_not(settings, error.args[0])}); `luxe up` starts it"
        ) from error
    if as_json:
        click.echo(
            json.dumps(
                {
                    "rows": standing.rows,
                    "events": standing.events,
                    "rejected": standing.rejected,
                    "by_type": standing.by_type,
                    "correlation_id": standing.correlation_id,
                    "shift_days": standing.shift_days,
                }
            )
        )
    if standing.took_nothing:
        why = "no event of it can be published" if map_path is None else "the map does not fit this file"
        click.echo(f"every row was rejected: {why}; try --dry-run", err=True)
        sys.exit(1)


class _Source(NamedTuple):
    """A file, how it is read, and what makes events of it."""

    file: Path
    encoding: str
    heading_lines: int
    mapper: RowMapper | EventFile

    def open(self) -> TextIO:
        return open_text(self.file, self.encoding)


def _source(file: Path, export: ExportMap | None, now: datetime, standing: Standing) -> _Source:
    if export is None:
        return _Source(file, "utf-8-sig", 0, EventFile(now, standing.correlation_id))
    mapper = RowMapper(export, now, standing.shift_days, standing.correlation_id)
    return _Source(file, export.encoding, 1, mapper)


def _is_json(file: Path) -> bool:
    return file.name.removesuffix(".gz").endswith((".json", ".jsonl", ".ndjson"))


def _publish(
    settings: Settings,
    source: _Source,
    standing: Standing,
    kept: Path,
    limit: int | None,
    rejects: Path | None,
) -> None:
    file = source.file
    if standing.done:
        left = f"; {standing.rejected} of {standing.rows} rows were rejected" if standing.rejected else ""
        click.echo(
            f"{file.name} was published already ({standing.events} events{left}); --restart publishes it again",
            err=True,
        )
        return
    if standing.rows:
        click.echo(f"going on after row {standing.rows}", err=True)
    # Asked for first: a producer would wait a minute for a broker that is not there.
    make_admin(settings).list_topics(timeout=ANSWER_SECONDS)
    total = min(_count_rows(source), limit or sys.maxsize)
    with source.open() as text, _progress() as progress, _rejects_file(rejects) as out:
        task = progress.add_task(f"publishing {file.name}", total=total, completed=standing.rows)
        rows = source.mapper.rows(text, standing.rows)
        if limit is not None:
            rows = (row for number, row in enumerate(rows, standing.rows) if number < limit)
        publish(
            settings,
            rows,
            standing,
            kept,
            on_rejected=lambda row: _report_rejected(row, out, progress.console),
            on_progress=lambda at: progress.update(task, completed=at.rows),
            to_the_end=limit is None,
        )
    click.echo(
        f"{standing.rows} rows = {standing.rows - standing.rejected} taken + {standing.rejected} rejected; "
        f"{standing.events} events published "
        f"({', '.join(f'{count} {name}' for name, count in sorted(standing.by_type.items()))}); "
        f"dates moved by {standing.shift_days} days; correlation id {standing.correlation_id}; "
        f"to Kafka at {settings.kafka_bootstrap}",
        err=True,
    )


def _dry_run(source: _Source, limit: int | None) -> None:
    taken = rejected = events = 0
    with source.open() as text:
        for number, row in enumerate(source.mapper.rows(text)):
            if limit is not None and number >= limit:
                break
            if row.rejected is not None:
                rejected += 1
                _report_rejected(row, None, None)
                continue
            if taken < DRY_RUN_RECORDS:
                for event in row.events:
                    click.echo(f"line {row.line}: {event.event_type}")
                    click.echo(json.dumps(_without_phi(event.event_type, event.value), indent=2, default=str))
            taken += 1
            events += len(row.events)
    click.echo(f"{taken + rejected} rows = {taken} taken + {rejected} rejected; {events} events would be published")
    if rejected and not taken:
        sys.exit(1)


def _without_phi(event_type: str, value: dict[str, Any]) -> dict[str, Any]:
    record = EVENT_TYPES[event_type].record
    return {
        name: found
        if found is None or class_of(record, name) == "none"
        else f"<{class_of(record, name)}: {shape_of(found)}>"
        for name, found in value.items()
    }


def _write_recipients(source: _Source, export: ExportMap | None, target: Path) -> None:
    if export is None:
        raise MapError("events written as JSON hold no recipients; write them as `luxe recipients import` takes them")
    if export.recipients is None:
        raise MapError("the map has no `recipients`; add it, see docs/producers-guide.md")
    written = 0
    with (
        source.open() as text,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out,
    ):
        for row in source.mapper.rows(text):
            if row.recipient is not None:
                out.write(json.dumps(row.recipient, default=str) + "\n")
                written += 1
    click.echo(
        f"{written} recipients written to {target} (0600: it holds PHI)\n  next: luxe recipients import {target}",
        err=True,
    )


def _report_rejected(row: MappedRow, out: TextIO | None, console: Console | None) -> None:
    if row.rejected is None:
        return
    line = f"rejected: line {row.line}: {row.rejected}"
    if console is not None:
        console.print(line, markup=False, highlight=False)
    else:
        click.echo(line)
    if out is not None:
        found = {
            "line": row.line,
            "column": row.rejected.column,
            "reason": row.rejected.problem,
            "mend": row.rejected.mend,
        }
        out.write(json.dumps(found) + "\n")


def _count_rows(source: _Source) -> int:
    # For the bar only: quoted line breaks, or an event over several lines, make it too large.
    with source.open() as text:
        try:
            return max(sum(1 for _ in text) - source.heading_lines, 1)
        except UNREADABLE:
            return 1  # whoever reads it next says what is wrong


def _rejects_file(path: Path | None) -> Any:
    return open(os.devnull if path is None else path, "a", encoding="utf-8")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
