"""Hypothesis strategies made from schemas: values of the right types, or values that the constraints allow too."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from hypothesis import strategies as st

from schemas.definitions import Schema, definition, full_name, named_types
from schemas.strictness import INT_RANGE, LONG_RANGE

Strategy = st.SearchStrategy[Any]

# Text as JSON and UTF-8 carry it: no halves of surrogate pairs.
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_PLAIN = st.characters(exclude_categories=["Cs", "Cc", "Z"])
_ZONES = sorted(zoneinfo.available_timezones())
_INSTANTS = st.datetimes(dt.datetime(1900, 1, 2), dt.datetime(2199, 12, 30), timezones=st.just(dt.UTC)).map(  # noqa: DTZ001
    lambda found: found.replace(microsecond=found.microsecond // 1000 * 1000)
)
_DAYS = st.dates(dt.date(1900, 1, 1), dt.date(2199, 12, 31))
_FORMATS: dict[str, Strategy] = {
    "uuid": st.uuids().map(str),
    "iana-zone": st.sampled_from(_ZONES),
    "e164": st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True),
    "email": st.from_regex(r"[a-z0-9.+-]{1,20}@[a-z0-9-]{1,20}\.[a-z]{2,6}", fullmatch=True),
    "hh:mm": st.times().map(lambda found: f"{found:%H:%M}"),
    "locale": st.sampled_from(["en", "en-US", "es-MX", "zh-Hant-TW", "es-419"]),
}


@cache
def records(name: str, *, possible: bool = False) -> Strategy:
    """Values of a record; ``possible``: such as its constraints allow, too."""
    schema = definition(name)
    return _node(schema, {}, {full_name(node): node for node in named_types(schema)}, possible)


def _node(node: Any, field: Schema, named: Mapping[str, Schema], possible: bool) -> Strategy:
    if isinstance(node, list):
        return st.one_of(*(_node(branch, field, named, possible) for branch in node))
    if isinstance(node, str) and node in named:
        node = named[node]
    kind = node if isinstance(node, str) else node["type"]
    logical = None if isinstance(node, str) else node.get("logicalType")
    match logical or kind:
        case "timestamp-millis":
            return _INSTANTS
        case "date":
            return _DAYS
        case "decimal":
            low = Decimal(field.get("min", -(10**9))) if possible else -(10**9)
            return st.decimals(low, 10**9, places=node["scale"])
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "int" | "long":
            low, high = INT_RANGE if kind == "int" else LONG_RANGE
            if possible:
                low, high = field.get("min", low), field.get("max", high)
            return st.integers(low, high)
        case "float" | "double":
            return st.floats(field.get("min", 0), 10**9) if possible else st.floats(allow_nan=False)
        case "bytes":
            return st.binary(max_size=40)
        case "string":
            return _string(field, possible)
        case "enum":
            return st.sampled_from(node["symbols"])
        case "array":
            return st.lists(_node(node["items"], field, named, possible), max_size=4)
        case "map":
            keys = st.text(_PLAIN, max_size=10) if possible else _TEXT
            return st.dictionaries(keys, _node(node["values"], field, named, possible), max_size=4)
        case _:
            return st.fixed_dictionaries(
                {inner["name"]: _node(inner["type"], inner, named, possible) for inner in node["fields"]}
            )


def _string(field: Schema, possible: bool) -> Strategy:
    if not possible:
        return _TEXT
    if "format" in field:
        return _FORMATS[field["format"]]
    if field.get("pattern", "").startswith("^https?"):
        return st.from_regex(r"https?://[a-z.]{1,20}/[a-z0-9/?=&%-]{0,20}", fullmatch=True)
    if "pattern" in field:
        return st.from_regex(field["pattern"].replace("$", r"\Z").replace(".+", "[a-z]{1,9}"))
    return st.text(_PLAIN, min_size=field.get("minLength", 0), max_size=min(20, field.get("maxLength", 20)))
