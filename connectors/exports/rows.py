"""Rows of an export into events and recipients: pure, given an open file. A row is taken whole or rejected whole."""

from __future__ import annotations

import csv
import gzip
import re
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, TextIO
from zoneinfo import ZoneInfo

from connectors.exports.cells import Clock, Row, RowError, compile_expression, shape
from connectors.exports.mapfile import Check, EventMap, ExportMap, MapError
from schemas.definitions import definition
from schemas.events import ENVELOPE, EVENT_TYPES
from schemas.validation import check_event

# A cell larger than this is a broken quote that swallowed the rest of the file.
MAX_CELL_CHARACTERS = 100_000
# Names the events of one row, so that the same row gives the same event ids at every run.
_NAMESPACE = uuid.UUID("8f0c9a3e-2f57-5d0e-9c59-6d1f0d6a7b11")


@dataclass(frozen=True, slots=True)
class MappedEvent:
    """One event, ready for the codec. Never printed: it holds PHI."""

    event_type: str
    value: dict[str, Any] = field(repr=False)

    @property
    def key(self) -> str:
        """The Kafka key: the subject's id."""
        return str(self.value["aggregate_id"])


@dataclass(frozen=True, slots=True)
class MappedRow:
    """What became of one row: events (and a recipient, the first time it is seen), or ``rejected``."""

    line: int
    events: tuple[MappedEvent, ...] = ()
    recipient: dict[str, Any] | None = field(default=None, repr=False)
    rejected: RowError | None = None


class RowMapper:
    """Maps the rows of one file. ``shift_days`` comes from ``find_shift_days``."""

    def __init__(self, export: ExportMap, now: datetime, shift_days: int, correlation_id: str) -> None:
        self._export = export
        self._now = now
        self._correlation_id = correlation_id
        self._clock = Clock(now, ZoneInfo(export.time_zone), shift_days)
        self._checks = [_compile_check(check) for check in export.checks]
        self._events = [self._compile_event(event) for event in export.events]
        self._recipient = {
            name: compile_expression(expression, name, self._clock)
            for name, expression in (export.recipients or {}).items()
        }
        self._seen: set[str] = set()

    def rows(self, file: TextIO, skip_rows: int = 0) -> Iterator[MappedRow]:
        """Every row after the first ``skip_rows``, in order. Raises MapError where the file lacks a column."""
        for number, (line, row) in enumerate(_read(file, self._export)):
            if number >= skip_rows:
                yield self._map(line, row)

    def _map(self, line: int, row: Row) -> MappedRow:
        try:
            _require_whole(row)
            for check in self._checks:
                check(row)
            events = tuple(event for make in self._events if (event := make(row)) is not None)
            recipient = {name: value(row) for name, value in self._recipient.items()} if self._recipient else None
        except RowError as error:
            return MappedRow(line, rejected=error)
        if recipient is not None:
            recipient_id = str(recipient["recipient_id"])
            if recipient_id in self._seen:
                recipient = None
            self._seen.add(recipient_id)
        return MappedRow(line, events, recipient)

    def _compile_event(self, event: EventMap) -> Callable[[Row], MappedEvent | None]:
        contract = EVENT_TYPES[event.type]
        schema = definition(contract.record)
        defaults = {f["name"]: f["default"] for f in schema["fields"] if "default" in f and f["name"] not in ENVELOPE}
        fields = {name: compile_expression(e, name, self._clock) for name, e in event.fields.items()}
        aggregate_id = compile_expression(event.aggregate_id, "aggregate_id", self._clock)
        version = compile_expression(event.aggregate_version, "aggregate_version", self._clock)
        occurred_at = compile_expression(event.occurred_at, "occurred_at", self._clock)
        export, when = self._export, event.when

        def make(row: Row) -> MappedEvent | None:
            if when is not None and row[when.column].strip() not in when.equals:
                return None
            subject, number = aggregate_id(row), version(row)
            value = {
                "event_id": str(uuid.uuid5(_NAMESPACE, f"{export.source}\0{event.type}\0{subject}\0{number}")),
                "event_type": event.type,
                "occurred_at": occurred_at(row),
                "schema_version": "1.0",
                "source": export.source,
                "correlation_id": self._correlation_id,
                "clinic_id": export.clinic_id,
                "aggregate_id": subject,
                "aggregate_version": number,
                "metadata": {},
                **defaults,
                **{name: field_value(row) for name, field_value in fields.items()},
            }
            for violation in check_event(contract.record, value, self._now):
                source = event.fields.get(violation.field)
                column = (source.column if source else None) or violation.field
                raise RowError(column, f"{violation.field} would be {violation.shape}", violation.mend)
            return MappedEvent(event.type, value)

        return make


def find_shift_days(file: TextIO, export: ExportMap, today: date) -> int:
    """By how many days the file's dates move. Reads the whole file where the shift names a column's earliest date."""
    shift = export.shift
    if shift is None:
        return 0
    if shift.days is not None:
        return shift.days
    column = shift.column or ""
    earliest: date | None = None
    for _, row in _read(file, export):
        try:
            found = _as_date(row[column], shift.format)
        except ValueError:
            continue  # the row is rejected, with its reason, when it is mapped
        earliest = found if earliest is None else min(earliest, found)
    if earliest is None:
        raise MapError(f"shift: column {column} holds no date; name another, or give its format")
    target = today + timedelta(days=1) if shift.earliest_on == "tomorrow" else shift.earliest_on
    if not isinstance(target, date):
        raise MapError("shift: earliest_on must be a date or `tomorrow`")
    return (target - earliest).days


def _read(file: TextIO, export: ExportMap) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    reader = csv.DictReader(file, delimiter=export.delimiter, strict=True)
    try:
        header = reader.fieldnames or []
        missing = sorted(export.columns() - set(header))
        if missing:
            raise MapError(f"the file has no column {', '.join(missing)}; it has {', '.join(header) or 'no header'}")
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise MapError(f"line {reader.line_num + 1}: not CSV ({error}); check quotes and the map's delimiter") from None
    except UnicodeDecodeError as error:
        raise MapError(
            f"after line {reader.line_num}: not {export.encoding} (byte {error.start} of the block); set the map's encoding"
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise MapError(f"after line {reader.line_num}: not gzip, or cut short; .gz is for files that are") from None


def _require_whole(row: Row) -> None:
    # csv.DictReader fills missing cells with None and keeps surplus ones under the key None.
    if None in row.values() or None in row:
        raise RowError("row", "more or fewer cells than the header", "give it one cell a column; quote the delimiter")


def _as_date(cell: str, date_format: str | None) -> date:
    if date_format is not None:
        return datetime.strptime(cell.strip(), date_format).date()  # noqa: DTZ007 — only its date is used
    return datetime.fromisoformat(cell.strip()).date()


def _compile_check(check: Check) -> Callable[[Row], None]:
    pattern = re.compile(check.pattern) if check.pattern else None

    def hold(row: Row) -> None:
        cell = row[check.column].strip()
        if pattern is not None and not pattern.fullmatch(cell):
            raise RowError(check.column, f"{check.reason} ({shape(cell)})", "correct the row")
        try:
            if check.minimum is not None and float(cell) < check.minimum:
                raise RowError(check.column, f"{check.reason} (below {check.minimum:g})", "correct the row")
            if check.maximum is not None and float(cell) > check.maximum:
                raise RowError(check.column, f"{check.reason} (above {check.maximum:g})", "correct the row")
            if check.not_before is not None and _as_date(cell, None) < _as_date(row[check.not_before], None):
                raise RowError(check.column, f"{check.reason} (before {check.not_before})", "correct the row")
        except ValueError:
            raise RowError(check.column, f"a cell of {shape(cell)} cannot be checked", "correct the row") from None

    return hold
