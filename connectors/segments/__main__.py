"""``python -m connectors.segments``: projects events into patients' standings, and scans each clinic once a day."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from zoneinfo import ZoneInfo

import click
import psycopg

from connectors.exit_status import EXIT_SETTINGS
from connectors.logs import configure_logging
from connectors.metrics.catalogue import SEGMENT_EVENTS, SEGMENT_MISSED, SEGMENT_UNUSABLE, SEGMENTS_PROJECTED
from connectors.metrics.counting import Counts, Read, Source, one
from connectors.metrics.exporter import exporting
from connectors.postgres.pool import connect_async, where
from connectors.postgres.records import Records
from connectors.readiness import mark_ready
from connectors.sealing import KeyRingError, SealError
from connectors.segments import runs
from connectors.segments.definitions import Segment, SegmentsError, load
from connectors.segments.occasions import day_to_scan
from connectors.segments.projection import Projection
from connectors.segments.runs import Clinic, Latest, Tally
from connectors.segments.scanner import Look, Scanner, is_scanned
from connectors.settings import Settings, SettingsError
from schemas.registry import RegistryError

log = logging.getLogger("connectors.segments")

# How late a look begins after its hour at most, and how soon one that Postgres interrupted goes on.
LOOK_SECONDS = 30.0
PROGRESS_SECONDS = 10.0
# EX_CONFIG of sysexits.h: starting again does not help.


class Daily:
    """Scans every clinic for every segment once its day's hour has come. ``emitted`` and ``missed`` count by segment."""

    def __init__(self, settings: Settings, segments: tuple[Segment, ...], records: Records) -> None:
        self._settings = settings
        self._records = records
        self._segments = segments
        self.emitted = Counts(SEGMENT_EVENTS)
        self.missed = Counts(SEGMENT_MISSED)

    async def run(self) -> None:
        """Work for ever; Postgres away: says so and tries again."""
        while True:
            try:
                async with await connect_async(self._settings, "scanner") as connection:
                    while True:
                        await self.look(connection, datetime.now(UTC))
                        await asyncio.sleep(LOOK_SECONDS)
            except psycopg.OperationalError as error:
                log.warning("Postgres at %s: %s; trying again", where(self._settings), type(error).__name__)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, connection: psycopg.AsyncConnection, now: datetime) -> None:
        """Scan what is due now. Raises psycopg.Error."""
        scanner = Scanner(connection, self._records)
        latest = await runs.latest_runs(connection)
        for clinic in await runs.clinics(connection):
            for shipped in self._segments:
                segment = shipped.at(clinic.clinic_id)
                before = latest.get((segment.name, clinic.clinic_id))
                day = _due(segment, clinic.zone, before, now)
                if day is None or not is_scanned(segment, clinic):
                    continue
                last = await runs.last_finished_before(connection, segment.name, clinic.clinic_id, day)
                tally = await scanner.scan(Look(segment, clinic, day, last), progress=_progress(segment, clinic))
                self.emitted.add(segment.name, by=tally.emitted)
                self.missed.add(segment.name, by=tally.missed)
                log.log(
                    logging.WARNING if tally.missed or tally.unreadable else logging.INFO,
                    "segment %s, clinic %s, %s: looked at %d patients, told of %d, %d told before, %d missed, %d unreadable",
                    *(segment.name, clinic.clinic_id, day, tally.scanned, tally.emitted, tally.repeated),
                    *(tally.missed, tally.unreadable),
                )


def _progress(segment: Segment, clinic: Clinic) -> Callable[[Tally], None]:
    """Says how far a long look is."""
    said_at = time.monotonic()

    def progress(tally: Tally) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= PROGRESS_SECONDS:
            said_at = time.monotonic()
            log.info("segment %s, clinic %s: %d patients so far", segment.name, clinic.clinic_id, tally.scanned)

    return progress


def _due(segment: Segment, zone: ZoneInfo, before: Latest | None, now: datetime) -> date | None:
    day, finished = (None, False) if before is None else (before.day, before.finished)
    return day_to_scan(now, zone, segment.hour, day, latest_is_finished=finished)


async def _work(daily: Daily, projection: Projection) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(daily.run()), asyncio.create_task(projection.run())]
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for task in tasks:
        try:
            await task
        except asyncio.CancelledError:
            continue


@click.command()
def main() -> None:
    """Project and scan until SIGTERM or SIGINT. Run as many as you like: one projects, scanners take turns."""
    try:
        settings = Settings()
        configure_logging(settings.log_format)
        segments, records = load(settings.segments_file), Records.open(settings)
        _serve(settings, segments, records)
    except (SettingsError, SegmentsError, KeyRingError, RegistryError, SealError) as error:
        click.echo(f"segments: {error}", err=True)
        sys.exit(EXIT_SETTINGS)


def _serve(settings: Settings, segments: tuple[Segment, ...], records: Records) -> None:
    daily, projection = (
        Daily(settings, segments, records),
        Projection(settings, records, partial(mark_ready, settings, "segments")),
    )
    sources: list[Source] = [
        *(daily.emitted, daily.missed),
        Read(SEGMENTS_PROJECTED, one(lambda: projection.projected)),
        Read(SEGMENT_UNUSABLE, one(lambda: projection.unusable)),
    ]
    with exporting(settings, "segments", sources):
        asyncio.run(_work(daily, projection))


if __name__ == "__main__":
    main()
