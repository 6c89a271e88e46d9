"""A recipients file, CSV or JSON lines, as lines of cells. What is wrong is told by line, column, shape and mend only."""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from connectors.postgres.recipient_columns import LIST_SEPARATOR, known_columns
from connectors.postgres.recipient_patch import LineProblem, Patch, Problem
from schemas.shapes import shape_of

REQUIRED_COLUMNS = ("recipient_id",)
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
DELIMITERS = (",", ";", "\t")
# A person's line has a few hundred characters; one of this size means a quote that never closes, or no line ends.
MAX_LINE_CHARACTERS = 64 * 1024
# A cell undecodable as UTF-8 is read with these stand-ins, so that its line can be told apart and the others used.
_UNDECODABLE = range(0xDC80, 0xDD00)


class RecipientFileError(Exception):
    """The file as a whole cannot be used; nothing of it was."""


class Line(NamedTuple):
    """A line of the file: what it says, or what is wrong with it."""

    number: int
    patch: Patch | None
    problem: Problem | None


def read_recipients(path: Path, region: str | None = None) -> Iterator[Line]:
    """Every line of the file but its header. Raises RecipientFileError, OSError.

    ``.jsonl``, ``.ndjson`` and ``.json`` hold one JSON object a line, anything else is CSV with comma, semicolon or tab.
    ``region``: the country of numbers that name none.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        cells = _json_lines(file) if path.suffix.lower() in JSON_SUFFIXES else _csv_lines(file)
        for number, found in cells:
            yield _line(number, found, region)


def _line(number: int, cells: Mapping[str, str] | Problem, region: str | None) -> Line:
    if isinstance(cells, Problem):
        return Line(number, None, cells)
    for column, text in cells.items():
        if any(ord(character) in _UNDECODABLE for character in text) or "\0" in text:
            return Line(number, None, Problem(column, shape_of(text), "save the file as UTF-8, without NUL characters"))
    try:
        return Line(number, Patch.read(cells, region), None)
    except LineProblem as problem:
        return Line(number, None, problem.problem)


def _csv_lines(file: TextIO) -> Iterator[tuple[int, Mapping[str, str] | Problem]]:
    first = file.readline(MAX_LINE_CHARACTERS)
    if not first.strip():
        raise RecipientFileError("line 1: empty; begin with a header of column names")
    known = frozenset(known_columns())
    headers = {mark: next(csv.reader([first], delimiter=mark)) for mark in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda mark: sum(_name(cell) in known for cell in headers[mark]))
    columns = [_name(cell) for cell in headers[delimiter]]
    _check_header(columns)
    reader = csv.reader(_bounded(file), delimiter=delimiter, strict=True)
    number = 2
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise RecipientFileError(
                f"line {number}: not CSV ({error}); close its quotes, and double a quote inside quotes"
            ) from None
        if row is None:
            return
        if len(row) == len(columns):
            yield number, dict(zip(columns, row, strict=True))
        elif row:
            yield (
                number,
                Problem("(line)", f"{len(row)} cells", f"give {len(columns)}, as the header has; quote commas"),
            )
        number = reader.line_num + 2


def _bounded(file: TextIO) -> Iterator[str]:
    """The file's lines, refusing one that would fill the memory."""
    while line := file.readline(MAX_LINE_CHARACTERS):
        if len(line) == MAX_LINE_CHARACTERS:
            raise RecipientFileError(f"a line has over {MAX_LINE_CHARACTERS} characters; end lines with a line feed")
        yield line


def _check_header(columns: list[str]) -> None:
    """Every column known, none twice, none missing. A name that is unknown may be a person's: it is not shown."""
    problems = []
    for place, column in enumerate(columns, 1):
        if column not in known_columns():
            problems.append(f"line 1, column {place}: {_unknown(column)}")
        elif column in columns[: place - 1]:
            problems.append(f"line 1, column {place}: {column} is there twice; remove one")
    problems += [f"line 1: column {name} is missing" for name in REQUIRED_COLUMNS if name not in columns]
    if problems:
        raise RecipientFileError("; ".join(problems) + ". `luxe recipients columns` lists the names")


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, known_columns(), 1, 0.75)
    return f"no known name ({len(name)} characters)" + (f"; is it {near[0]}?" if near else "")


def _name(cell: str) -> str:
    return cell.strip().lower()


def _json_lines(file: TextIO) -> Iterator[tuple[int, Mapping[str, str] | Problem]]:
    for number, text in enumerate(_bounded(file), 1):
        if text.strip():
            yield number, _json_cells(text)


def _json_cells(text: str) -> Mapping[str, str] | Problem:
    try:
        found = json.loads(text)
    except ValueError:
        return Problem("(line)", shape_of(text), "write one JSON object a line")
    if not isinstance(found, dict):
        return Problem("(line)", shape_of(found), "write one JSON object a line")
    cells: dict[str, str] = {}
    for column, value in _flat(found, ""):
        text_of = _text(value)
        if column not in known_columns():
            return Problem("(line)", "a field of " + _unknown(column), "`luxe recipients columns` lists the names")
        if text_of is None:
            return Problem(column, shape_of(value), "give text, a number, true, false, null, or a list of these")
        cells[column] = text_of
    return cells


def _flat(found: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Nested objects as dotted names."""
    for name, value in found.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{_name(name)}.")
        else:
            yield prefix + _name(name), value


def _text(value: Any) -> str | None:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str() | int():
            return str(value)
        case list():
            parts = [_text(item) for item in value]
            if any(part is None or LIST_SEPARATOR in part for part in parts):
                return None
            return LIST_SEPARATOR.join(part for part in parts if part)
        case _:
            return None
