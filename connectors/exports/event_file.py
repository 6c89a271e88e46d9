"""Events written as JSON: one object, an array of them, or one a line. Pure, given an open file; each is taken or rejected alone.

What an event made by hand need not say is filled in: when (now), which version (that moment, as a producer without versions of
its own does), where from, and an id made from what it says, so that the same file published twice is one event.
"""

from __future__ import annotations

import gzip
import json
import re
import uuid
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TextIO

from pydantic import ValidationError

from connectors.exports.cells import RowError
from connectors.exports.rows import MappedEvent, MappedRow
from schemas.definitions import UnknownRecordError, definition
from schemas.faults import fault_in_value
from schemas.models import model_of
from schemas.shapes import Violation, shape_of
from schemas.validation import check_event

SOURCE = "luxe-produce"
# A file without line breaks is read whole; what is larger is an export, and has one event a line.
MAX_WHOLE_CHARACTERS = 50_000_000
_NAMESPACE = uuid.UUID("5b7a1d52-8f0e-5c43-9a55-0f3d3a5d9c21")
_EVENT = "(event)"
_BETWEEN = re.compile(r"[\s,]*")


class EventFile:
    """Reads one file of events. ``now``: aware."""

    def __init__(self, now: datetime, correlation_id: str) -> None:
        self._now, self._correlation_id = now, correlation_id

    def rows(self, file: TextIO, skip_rows: int = 0) -> Iterator[MappedRow]:
        """Every event after the first ``skip_rows``, in order."""
        for line, value in islice(_values(file), skip_rows, None):
            try:
                if isinstance(value, RowError):
                    raise value
                yield MappedRow(line, (event_of(value, self._now, self._correlation_id),))
            except RowError as error:
                yield MappedRow(line, rejected=error)


def event_of(value: object, now: datetime, correlation_id: str | None = None) -> MappedEvent:
    """One event from its JSON. Raises RowError: the field, the shape of what stood there, and the mend."""
    if not isinstance(value, dict):
        raise RowError(_EVENT, shape_of(value), "write an event as an object with its fields")
    event_type = value.get("event_type")
    try:
        model = model_of(event_type if isinstance(event_type, str) else "")
    except UnknownRecordError:
        mend = "write one of the types that `luxe schemas list` shows, appointment.created say"
        raise RowError("event_type", _shape(value, "event_type"), mend) from None
    filled = {
        "event_id": str(uuid.uuid5(_NAMESPACE, json.dumps(value, sort_keys=True))),
        "occurred_at": now.astimezone(UTC).isoformat(),
        "source": SOURCE,
        "correlation_id": correlation_id,
        # Replaced below, once the time is read.
        "aggregate_version": 0,
        **value,
    }
    try:
        record = model.model_validate(filled).record()
    except ValidationError as error:
        raise _refused(error, value) from None
    if "aggregate_version" not in value:
        record["aggregate_version"] = int(record["occurred_at"].timestamp() * 1000)
    fault = fault_in_value(definition(model.RECORD), record)
    for violation in (*check_event(model.RECORD, record, now), *([fault] if fault else [])):
        raise RowError(*violation)
    return MappedEvent(str(event_type), record)


def _values(file: TextIO) -> Iterator[tuple[int, Any]]:
    """(line it begins on, what it holds); a RowError for what is no JSON, or no text at all."""
    try:
        yield from _read(file)
    except UnicodeDecodeError as error:
        yield 1, RowError("(file)", f"not UTF-8 (byte {error.start} of a block)", "save it as UTF-8")
    except (gzip.BadGzipFile, EOFError, zlib.error):
        yield 1, RowError("(file)", "not gzip, or cut short", ".gz is for files that are")


def _read(file: TextIO) -> Iterator[tuple[int, Any]]:
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        found = None if text.lstrip().startswith("[") else _json(text)
        if line > 1 or not (found is None or isinstance(found, RowError)):
            yield line, _json(text) if found is None else found
            continue
        # The first line is no event of its own: the file is one, over several lines, or an array.
        rest = file.read(MAX_WHOLE_CHARACTERS)
        whole = _json(text + rest) if rest or found is None else found
        if isinstance(whole, list):
            yield from _items(text + rest, line)
        elif isinstance(whole, RowError) and len(rest) == MAX_WHOLE_CHARACTERS:
            mend = "write one event a line"
            yield line, RowError("(file)", f"more than {MAX_WHOLE_CHARACTERS:,} characters in one piece", mend)
        else:
            yield line, whole
        return


def _items(text: str, line: int) -> Iterator[tuple[int, Any]]:
    """Each of an array that can be read, and the line that it begins on."""
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    line += text.count("\n", 0, at)
    while (begins := _BETWEEN.match(text, at)) is not None and text[begins.end()] != "]":
        line += text.count("\n", at, begins.end())
        value, at = decoder.raw_decode(text, begins.end())
        yield line, value
        line += text.count("\n", begins.end(), at)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno} column {error.colno} of it" if isinstance(error, json.JSONDecodeError) else "it"
        mend = f"write one object, an array of objects, or one object a line ({where} cannot be read)"
        return RowError(_EVENT, f"{len(text)} characters that are no JSON", mend)


def _refused(error: ValidationError, value: dict[str, Any]) -> RowError:
    first = error.errors(include_url=False, include_input=False)[0]
    names = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        # Its name is the sender's word, and might say anything.
        return RowError(_EVENT, f"a field of {len(names[-1])} characters that the type does not have", "leave it out")
    if not names:  # by our own rules, which name the field themselves
        return RowError(*_told(str(first["ctx"]["error"])))
    said = next((mend for kind, mend in _MENDS if first["type"].startswith(kind)), first["msg"])
    return RowError(".".join(names), _shape(value, names[0]), f"{said[:1].lower()}{said[1:]}")


# What to write instead, by how pydantic's names of errors begin.
_MENDS = (
    ("missing", "write it; it has no default"),
    ("datetime", "write a time with its zone: 2026-11-28T09:30:00Z"),
    ("timezone_aware", "write a time with its zone: 2026-11-28T09:30:00Z"),
    ("date", "write a day as YYYY-MM-DD"),
    ("string", "write a text, in quotes"),
    ("int", "write a whole number"),
    ("bool", "write true or false"),
    ("decimal", "write an amount, 12.50 say"),
    ("list", "write an array"),
    ("dict", "write an object"),
)


def _told(text: str) -> Violation:
    """A Violation from how it prints; of several, the first."""
    field, _, rest = text.removeprefix("field ").partition(": ")
    shape, _, mend = rest.partition("; ")
    return Violation(field, shape, mend.partition("; field ")[0])


def _shape(value: dict[str, Any], name: str) -> str:
    return shape_of(value[name]) if name in value else "missing"
