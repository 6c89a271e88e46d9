"""Cells into typed values. An error names the column, the cell's shape and the mend; never the cell."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from connectors.exports.mapfile import Digits, Expression, Spread, template_columns

Row = Mapping[str, str]
_IDENTIFIER = re.compile(r"[A-Za-z0-9._:@-]{1,120}")
_E164 = re.compile(r"\+[1-9]\d{6,14}")
_TRUE, _FALSE = {"1", "true", "yes", "y", "t"}, {"0", "false", "no", "n", "f"}


class RowError(Exception):
    """A row that cannot become an event; ``column`` is at fault."""

    def __init__(self, column: str, problem: str, mend: str) -> None:
        super().__init__(f"{column}: {problem}; {mend}")
        self.column = column
        self.problem = problem
        self.mend = mend


def shape(cell: str) -> str:
    """What may be said of a cell: its length and kinds of characters."""
    if not cell:
        return "empty"
    kinds = [
        name
        for name, has in (
            ("digits", any(c.isdigit() for c in cell)),
            ("letters", any(c.isalpha() for c in cell)),
            ("other characters", any(not c.isalnum() for c in cell)),
        )
        if has
    ]
    return f"{len(cell)} characters, {' and '.join(kinds)}"


class Clock:
    """What a run counts from: ``now``, the file's zone, its shift in days."""

    def __init__(self, now: datetime, zone: ZoneInfo, shift_days: int) -> None:
        self.now = now
        self.zone = zone
        self.shift = timedelta(days=shift_days)


def compile_expression(expression: Expression, name: str, clock: Clock) -> Callable[[Row], Any]:
    """A function from row to value for one field. It raises RowError."""
    if "constant" in expression.model_fields_set:
        constant = _typed_constant(expression)
        return lambda _row: constant
    if expression.spread is not None:
        return _spread(expression.spread)
    if expression.digits is not None:
        return _digits(expression.digits, expression.prefix)
    if expression.template is not None:
        template = expression.template
        columns = template_columns(template)
        return lambda row: template.format_map({column: row[column] for column in columns})
    column = expression.column or name
    parse = _parser(expression, column, clock)
    values = expression.values

    def value(row: Row) -> Any:
        cell = row[column].strip()
        if values is not None:
            if cell not in values:
                raise RowError(column, f"a cell of {shape(cell)} is not among the map's values", "list it under values")
            return values[cell]
        if not cell:
            if expression.optional:
                return None
            raise RowError(column, "empty", "fill it, or say optional: true in the map")
        return parse(cell)

    return value


def _typed_constant(expression: Expression) -> Any:
    if expression.type == "decimal":
        return Decimal(str(expression.constant))
    return expression.constant


def _parser(expression: Expression, column: str, clock: Clock) -> Callable[[str], Any]:
    kind, prefix = expression.type, expression.prefix
    dates = {"date": _date, "time": _time, "instant": _instant}
    if kind in dates:
        return lambda cell: dates[kind](cell, expression, column, clock)

    def parse(cell: str) -> Any:
        problem = f"a cell of {shape(cell)} is no {kind}"
        match kind:
            case "integer":
                if re.fullmatch(r"[+-]?\d{1,18}", cell):
                    return int(cell)
            case "decimal":
                try:
                    return Decimal(cell)
                except InvalidOperation:
                    pass
            case "boolean":
                if cell.lower() in _TRUE | _FALSE:
                    return cell.lower() in _TRUE
            case "identifier":
                if _IDENTIFIER.fullmatch(cell):
                    return prefix + cell
            case "phone":
                if _E164.fullmatch(prefix + cell):
                    return prefix + cell
            case _:
                return prefix + cell
        raise RowError(column, problem, f"correct it, or map it as another type than {kind}")

    return parse


def _date(cell: str, expression: Expression, column: str, clock: Clock) -> date:
    found: date = _parsed(cell, expression, column, datetime.fromisoformat).date()
    return found + clock.shift if expression.shift else found


def _time(cell: str, expression: Expression, column: str, clock: Clock) -> str:
    found = _parsed(cell, expression, column, lambda text: time.fromisoformat(text))
    return f"{found.hour:02d}:{found.minute:02d}"


def _instant(cell: str, expression: Expression, column: str, clock: Clock) -> datetime:
    found: datetime = _parsed(cell, expression, column, datetime.fromisoformat)
    if found.tzinfo is None:
        found = found.replace(tzinfo=clock.zone)
    if expression.shift:
        found += clock.shift
    found = found.astimezone(UTC)
    return min(found, clock.now) if expression.at_most_now else found


def _parsed(cell: str, expression: Expression, column: str, iso: Callable[[str], Any]) -> Any:
    try:
        if expression.format is not None:
            return datetime.strptime(cell, expression.format)  # noqa: DTZ007 — the zone is the map's, added by the caller
        return iso(cell)
    except ValueError:
        how = f"format {expression.format}" if expression.format else "ISO 8601"
        raise RowError(column, f"a cell of {shape(cell)} is no {expression.type}", f"write it as {how}") from None


def _spread(rule: Spread) -> Callable[[Row], str]:
    start, end = (int(at[:2]) * 60 + int(at[3:]) for at in (rule.start, rule.end))
    slots = [f"{at // 60:02d}:{at % 60:02d}" for at in range(start, end, rule.step_minutes)]
    if not slots:
        raise ValueError("spread: end must lie after start")

    def pick(row: Row) -> str:
        digits = "".join(c for c in row[rule.by] if c.isdigit())
        if not digits:
            raise RowError(
                rule.by, f"a cell of {shape(row[rule.by])} has no digits to spread by", "name another column"
            )
        return slots[int(digits) % len(slots)]

    return pick


def _digits(rule: Digits, prefix: str) -> Callable[[Row], str]:
    def pick(row: Row) -> str:
        digits = "".join(c for c in row[rule.by] if c.isdigit())
        if not digits:
            raise RowError(rule.by, f"a cell of {shape(row[rule.by])} has no digits", "name another column")
        return prefix + digits[-rule.count :].zfill(rule.count)

    return pick
