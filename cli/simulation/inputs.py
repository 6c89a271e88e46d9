"""What is simulated: a made-up clinic, or a practice system's export at its own dates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from cli.setup import DEMO_POLICY
from cli.simulation.running import SIMULATED_POLICY
from connectors.demo.script import Happening, Told, Wished
from connectors.demo.year import cells_of, script_of
from connectors.exports.mapfile import ExportMap
from connectors.exports.publishing import open_text
from connectors.exports.rows import RowMapper

DAY_MS = 24 * 60 * 60 * 1000
# An export's rows are mapped as seen from the end of time: what happened then was never in its future.
_LATER = datetime(2199, 12, 31, tzinfo=UTC)
# After the last appointment: what is still tried again, or missed, comes within that.
_AFTERWARDS = timedelta(days=3)


class NothingToSimulate(Exception):
    """No row of the file became an event; the message says what to do."""


class Input(NamedTuple):
    """A script and its clinic. Times in ms since the epoch. ``rows``, ``rejected`` (column and reason → rows): of an export."""

    script: list[Happening]
    begins_ms: int
    ends_ms: int
    policy: Mapping[str, Any]
    rows: int = 0
    rejected: Mapping[str, int] = {}


def made_up(seed: int, first: date, days: int, patients: int, appointments_a_day: int) -> Input:
    """A clinic by the seed, from midnight (UTC) of ``first`` on."""
    begins_ms = _ms(datetime.combine(first, time(), UTC))
    script = script_of(seed, first, days, patients, appointments_a_day)
    return Input(script, begins_ms, begins_ms + days * DAY_MS, SIMULATED_POLICY)


def exported(
    file: Path, export: ExportMap, limit: int | None = None, on_row: Callable[[], None] = lambda: None
) -> Input:
    """An export as its map says, but at its own dates: the map's shift is for ``luxe produce``, which cannot wait a year.

    The clinic has the map's zone, and no caps or quiet hours of its own. Raises MapError, NothingToSimulate.
    """
    events: list[Told] = []
    people: list[Mapping[str, str]] = []
    rejected: Counter[str] = Counter()
    rows = 0
    last = datetime.min.replace(tzinfo=UTC)
    mapper = RowMapper(export, _LATER, 0, "simulated")
    with open_text(file, export.encoding) as text:
        for row in mapper.rows(text):
            if limit is not None and rows >= limit:
                break
            rows += 1
            on_row()
            if row.rejected is not None:
                rejected[f"{row.rejected.column}: {row.rejected.problem}"] += 1
                continue
            if row.recipient is not None:
                people.append(cells_of(row.recipient))
            for event in row.events:
                events.append(Told(_ms(event.value["occurred_at"]), event.event_type, event.value))
                last = max(last, event.value["occurred_at"], _day_of(event.value))
    if not events:
        raise NothingToSimulate("no row became an event: the map does not fit this file; try `luxe produce --dry-run`")
    events.sort(key=lambda one: one.at_ms)
    begins_ms = events[0].at_ms
    script: list[Happening] = [*(Wished(begins_ms, cells) for cells in people), *events]
    policy = DEMO_POLICY | {"clinic_id": export.clinic_id, "time_zone": export.time_zone}
    return Input(script, begins_ms, _ms(last + _AFTERWARDS), policy, rows, rejected)


def _day_of(event: Mapping[str, Any]) -> datetime:
    day = event.get("appointment_date") or event["occurred_at"].date()
    return datetime.combine(day, time.max, UTC)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
