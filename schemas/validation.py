"""Impossible values: the constraints that schemas declare, compiled once, and the sanity of an event's envelope.

Constraints of a field: ``min``/``max`` (numbers), ``minLength``/``maxLength``/``pattern``/``format`` (strings), ``maxItems``
(arrays and maps). On an array or a map all but ``maxItems`` hold for each item.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from schemas.definitions import Schema, definition, full_name, named_types
from schemas.formats import FORMATS, MENDS
from schemas.shapes import Violation, shape_of

# No clinic software is older; an earlier time is a unit mistake (seconds for milliseconds) or a clock that was never set.
OCCURRED_NOT_BEFORE = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
# A producer's clock may be wrong by its whole time zone, not by more.
OCCURRED_AHEAD = dt.timedelta(days=1)
# Days that people have appointments, birthdays and memberships on. Outside, arithmetic on dates overflows sooner or later.
DATES = (dt.date(1900, 1, 1), dt.date(2199, 12, 31))

# A check returns what to send instead, or None where the value is possible.
Check = Callable[[Any], str | None]
_Deep = Callable[[Any, str], Iterator[Violation]]


def violations(name: str, value: Mapping[str, Any]) -> list[Violation]:
    """Everything impossible in a record's value. Raises UnknownRecordError for a record that is not ours."""
    return list(_compiled(name)(value, ""))


def check_event(name: str, value: Mapping[str, Any], now: dt.datetime) -> list[Violation]:
    """``violations`` of an event, and whether it can have occurred when it says, seen from ``now`` (aware)."""
    found = violations(name, value)
    occurred_at = value.get("occurred_at")
    if not isinstance(occurred_at, dt.datetime) or occurred_at.tzinfo is None:
        found.append(Violation("occurred_at", shape_of(occurred_at), "send a datetime with its zone"))
    elif occurred_at < OCCURRED_NOT_BEFORE:
        found.append(Violation("occurred_at", "a time before 2000", "send milliseconds since 1970 of when it happened"))
    elif occurred_at > now + OCCURRED_AHEAD:
        found.append(
            Violation("occurred_at", "a time more than a day ahead", "set the producer's clock; send when it happened")
        )
    return found


@cache
def _compiled(name: str) -> _Deep:
    schema = definition(name)
    return _record(schema, {full_name(node): node for node in named_types(schema)})


def _record(schema: Schema, named: Mapping[str, Schema]) -> _Deep:
    shallow: list[tuple[str, bool, Check]] = []
    deep: list[tuple[str, _Deep]] = []
    for field in schema["fields"]:
        nullable, node = _without_null(field["type"])
        node = named.get(node, node) if isinstance(node, str) else node
        kind = node if isinstance(node, str) else node["type"]
        if kind in ("array", "map"):
            deep.append((field["name"], _collection(node, field, named)))
        elif kind == "record":
            deep.append((field["name"], _record(node, named)))
        elif check := _scalar(node, field):
            shallow.append((field["name"], nullable or "default" in field, check))

    def check_record(value: Any, path: str) -> Iterator[Violation]:
        if not isinstance(value, Mapping):
            yield Violation(path or "(record)", shape_of(value), "send a record")
            return
        prefix = f"{path}." if path else ""
        get = value.get
        for name, optional, check in shallow:
            found = get(name)
            if found is None and optional:
                continue
            mend = check(found)
            if mend is not None:
                yield Violation(prefix + name, shape_of(found), mend)
        for name, check_deep in deep:
            found = get(name)
            # A missing or null one is either allowed or refused by the codec.
            if found:
                yield from check_deep(found, prefix + name)

    return check_record


def _without_null(node: Any) -> tuple[bool, Any]:
    if isinstance(node, list):
        return "null" in node, next(branch for branch in node if branch != "null")
    return False, node


def _collection(node: Schema, field: Schema, named: Mapping[str, Schema]) -> _Deep:
    is_map = node["type"] == "map"
    inner = node["values"] if is_map else node["items"]
    inner = named.get(inner, inner) if isinstance(inner, str) else inner
    of_record = isinstance(inner, dict) and inner["type"] == "record"
    check_deep = _record(inner, named) if of_record else None
    check = None if of_record else _scalar(inner, field)
    at_most = field.get("maxItems")

    def check_collection(value: Any, path: str) -> Iterator[Violation]:
        if not isinstance(value, dict if is_map else (list, tuple)):
            yield Violation(path, shape_of(value), "send a map" if is_map else "send an array")
            return
        if at_most is not None and len(value) > at_most:
            yield Violation(path, shape_of(value), f"send at most {at_most} items")
        if is_map and any(type(key) is not str or "\0" in key for key in value):
            yield Violation(path, "a key that is no text", "send keys that are text without NUL characters")
        items: Iterable[Any] = value.values() if isinstance(value, dict) else value
        for index, item in enumerate(items):
            # A map's keys are the sender's words: they are not shown.
            at = f"{path}{{}}" if is_map else f"{path}[{index}]"
            if check_deep is not None:
                yield from check_deep(item, at)
            elif check is not None and (mend := check(item)) is not None:
                yield Violation(at, shape_of(item), mend)

    return check_collection


def _scalar(node: Any, field: Schema) -> Check | None:
    kind = node if isinstance(node, str) else node["type"]
    logical = None if isinstance(node, str) else node.get("logicalType")
    if logical == "date":
        return _date
    if logical == "timestamp-millis":
        return _timestamp
    if logical == "decimal":
        return _number(field, Decimal)
    if kind == "string":
        return _string(field)
    if kind == "enum":
        return _symbol(frozenset(node["symbols"]))
    if kind in ("int", "long"):
        return _number(field, int)
    if kind in ("float", "double"):
        return _number(field, float)
    return None


def _date(value: Any) -> str | None:
    if type(value) is dt.date and DATES[0] <= value <= DATES[1]:
        return None
    return f"send a date from {DATES[0].year} to {DATES[1].year}"


def _timestamp(value: Any) -> str | None:
    if isinstance(value, dt.datetime) and value.tzinfo is not None and DATES[0].year <= value.year <= DATES[1].year:
        return None
    return f"send a datetime with its zone, from {DATES[0].year} to {DATES[1].year}"


def _symbol(symbols: frozenset[str]) -> Check:
    mend = f"send one of {', '.join(sorted(symbols))}"
    return lambda value: None if value in symbols else mend


def _number(field: Schema, kind: type) -> Check:
    low, high = field.get("min"), field.get("max")
    wanted = {int: "an integer", float: "a number", Decimal: "a decimal"}[kind]
    accepted: tuple[type, ...] = (int, float) if kind is float else (kind,)
    bounds = " and ".join(
        part for part in (low is not None and f"at least {low}", high is not None and f"at most {high}") if part
    )
    mend = f"send {wanted}" + (f" of {bounds}" if bounds else "")

    def check(value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, accepted):
            return mend
        # NaN passes every bound, and neither it nor infinity is an amount.
        if isinstance(value, float | Decimal) and not math.isfinite(value):
            return mend
        if (low is not None and value < low) or (high is not None and value > high):
            return mend
        return None

    return check


def _string(field: Schema) -> Check:
    low, high = field.get("minLength", 0), field.get("maxLength")
    fits = FORMATS[field["format"]] if "format" in field else None
    # `$` alone would let a trailing newline through.
    search = re.compile(field["pattern"].replace("$", r"\Z")).search if "pattern" in field else None

    def check(value: Any) -> str | None:
        if not isinstance(value, str):
            return "send a string"
        if low and (len(value) < low or not value.strip()):
            return f"send at least {low} characters, not only spaces"
        if high is not None and len(value) > high:
            return f"send at most {high} characters"
        if "\0" in value:
            return "send text without NUL characters"
        if fits is not None and not fits(value):
            return MENDS[field["format"]]
        if search is not None and search(value) is None:
            return f"send text that matches {field['pattern']}"
        return None

    return check
