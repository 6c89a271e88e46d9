"""Which Python values a schema takes, checked fast before encoding.

fastavro alone writes 1.5 as 1, "x" as true, a datetime without zone as local time, and integers too large for their field.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from schemas.definitions import Schema

Check = Callable[[Any], bool]

INT_RANGE = (-(2**31), 2**31 - 1)
LONG_RANGE = (-(2**63), 2**63 - 1)

_MISSING = object()
_NULL = frozenset({type(None)})
_LOGICAL: dict[str, frozenset[type]] = {
    "timestamp-millis": frozenset({dt.datetime}),
    "date": frozenset({dt.date}),
    "decimal": frozenset({Decimal}),
}
_PRIMITIVE: dict[str, frozenset[type]] = {
    "null": _NULL,
    "string": frozenset({str}),
    "bytes": frozenset({bytes}),
    "boolean": frozenset({bool}),
    "int": frozenset({int}),
    "long": frozenset({int}),
    "float": frozenset({float, int}),
    "double": frozenset({float, int}),
    "enum": frozenset({str}),
    "array": frozenset({list, tuple}),
    "map": frozenset({dict}),
    "record": frozenset({dict}),
}


def _is_aware(value: dt.datetime) -> bool:
    return value.tzinfo is not None


def _in_range(low: int, high: int) -> Check:
    return lambda value: low <= value <= high


_IN_INT = _in_range(*INT_RANGE)
_IN_LONG = _in_range(*LONG_RANGE)


def compile_strict(schema: Schema) -> Callable[[Mapping[str, Any]], bool]:
    """A check of a record schema: True where every field's value has exactly the type it should.

    False is a suspicion only (a subclass, say): schemas.faults decides then, and names the field.
    """
    return _record_check(schema, {})


def _record_check(schema: Schema, named: dict[str, tuple[frozenset[type], Check | None]]) -> Check:
    plan = [(field["name"], *_node(field["type"], named), "default" in field) for field in schema["fields"]]

    def check(value: Any) -> bool:
        get = value.get
        for name, allowed, deeper, has_default in plan:
            found = get(name, _MISSING)
            if type(found) not in allowed:
                if found is _MISSING and has_default:
                    continue
                return False
            if deeper is not None and found is not None and not deeper(found):
                return False
        return True

    return check


def _node(node: Any, named: dict[str, tuple[frozenset[type], Check | None]]) -> tuple[frozenset[type], Check | None]:
    if isinstance(node, list):
        # Ours are [null, T] only; a test holds that.
        (other,) = (branch for branch in node if branch != "null")
        allowed, deeper = _node(other, named)
        return allowed | _NULL, deeper
    if isinstance(node, str):
        if node in named:
            return named[node]
        checks = {"int": _IN_INT, "long": _IN_LONG}
        return _PRIMITIVE[node], checks.get(node)
    kind, logical = node["type"], node.get("logicalType")
    if logical in _LOGICAL:
        return _LOGICAL[logical], _is_aware if logical == "timestamp-millis" else None
    if kind == "array":
        return _PRIMITIVE[kind], _each(*_node(node["items"], named), values=False)
    if kind == "map":
        return _PRIMITIVE[kind], _each(*_node(node["values"], named), values=True)
    found: tuple[frozenset[type], Check | None] = (
        _PRIMITIVE[kind],
        _record_check(node, named) if kind == "record" else None,
    )
    if "name" in node:
        named[f"{node['namespace']}.{node['name']}"] = found
    return found


def _each(allowed: frozenset[type], deeper: Check | None, *, values: bool) -> Check:
    def check(collection: Any) -> bool:
        if values and not all(type(key) is str for key in collection):
            return False
        return all(
            type(item) in allowed and (deeper is None or item is None or deeper(item))
            for item in (collection.values() if values else collection)
        )

    return check
