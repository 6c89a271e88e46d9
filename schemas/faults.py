"""Where exactly a value or a body does not fit its schema. Slow and careful: used once something was refused already."""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Iterator, Mapping
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro

from schemas.definitions import Schema, full_name, named_types
from schemas.shapes import Violation, shape_of
from schemas.strictness import INT_RANGE, LONG_RANGE

# What fastavro raises for bytes or values that do not fit; anything else is a defect of ours and goes up as it is.
REFUSALS = (EOFError, LookupError, ArithmeticError, ValueError, TypeError, AttributeError, struct.error)

# The longest Avro integer.
_INTEGER_BYTES = 10

_WANTED = {
    "null": "null",
    "string": "a string",
    "bytes": "bytes",
    "boolean": "true or false",
    "int": "a 32-bit integer",
    "long": "a 64-bit integer",
    "float": "a number",
    "double": "a number",
    "array": "an array",
    "map": "a map with string keys",
    "record": "a record",
}


def fault_in_value(schema: Schema, value: object) -> Violation | None:
    """First field of a value that its record schema does not take; None where all fit."""
    named = {full_name(node): node for node in named_types(schema)}
    return next(_value_faults(schema, value, "", named), None)


def _value_faults(node: Any, value: Any, path: str, named: Mapping[str, Schema]) -> Iterator[Violation]:
    at = path or "(record)"
    if isinstance(node, list):
        if value is None and "null" in node:
            return
        branches = [branch for branch in node if branch != "null"]
        yield from _value_faults(branches[0], value, path, named)
        return
    if isinstance(node, str) and node in named:
        node = named[node]
    kind = node if isinstance(node, str) else node["type"]
    logical = None if isinstance(node, str) else node.get("logicalType")
    if kind == "record":
        yield from _record_faults(node, value, path, named)
    elif logical:
        yield from _logical_faults(node, value, at)
    elif kind == "enum":
        if not isinstance(value, str) or value not in node["symbols"]:
            yield Violation(at, shape_of(value), f"send one of {', '.join(node['symbols'])}")
    elif not _fits(kind, value):
        yield Violation(at, shape_of(value), f"send {_WANTED[kind]}")
    elif kind == "array":
        for index, item in enumerate(value):
            yield from _value_faults(node["items"], item, f"{path}[{index}]", named)
    elif kind == "map":
        for item in value.values():
            # A map's keys are the sender's words: they are not shown.
            yield from _value_faults(node["values"], item, f"{path}{{}}", named)
    elif kind == "string" and not _is_encodable(value):
        yield Violation(at, shape_of(value), "send valid Unicode (it holds half of a surrogate pair)")


def _record_faults(node: Schema, value: Any, path: str, named: Mapping[str, Schema]) -> Iterator[Violation]:
    if not isinstance(value, Mapping):
        yield Violation(path or "(record)", shape_of(value), "send a record")
        return
    prefix = f"{path}." if path else ""
    for field in node["fields"]:
        name = field["name"]
        if name in value:
            yield from _value_faults(field["type"], value[name], prefix + name, named)
        elif "default" not in field:
            yield Violation(prefix + name, "missing", "send it; it has no default")
    extra = len(value.keys() - {field["name"] for field in node["fields"]})
    if extra:
        yield Violation(path or "(record)", f"{extra} fields the schema does not have", "leave them out")


def _logical_faults(node: Schema, value: Any, at: str) -> Iterator[Violation]:
    match node["logicalType"]:
        case "timestamp-millis":
            if not isinstance(value, dt.datetime) or value.tzinfo is None:
                shape = "datetime without zone" if isinstance(value, dt.datetime) else shape_of(value)
                yield Violation(at, shape, "send a datetime with its zone")
        case "date":
            if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
                yield Violation(at, shape_of(value), "send a date without a time of day")
        case "decimal":
            scale, precision = node["scale"], node["precision"]
            mend = f"send a decimal with at most {scale} places and {precision} digits"
            if not isinstance(value, Decimal):
                yield Violation(at, shape_of(value), mend)
            elif not value.is_finite():
                yield Violation(at, "not a number", mend)
            else:
                _, digits, exponent = value.as_tuple()
                if -int(exponent) > scale or len(digits) + int(exponent) + scale > precision:
                    yield Violation(at, f"decimal of {len(digits)} digits and {-int(exponent)} places", mend)


def _fits(kind: str, value: Any) -> bool:
    match kind:
        case "null":
            return value is None
        case "string":
            return isinstance(value, str)
        case "bytes":
            return isinstance(value, bytes)
        case "boolean":
            return isinstance(value, bool)
        case "int" | "long":
            low, high = INT_RANGE if kind == "int" else LONG_RANGE
            return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        case "float" | "double":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "array":
            return isinstance(value, list | tuple)
        case _:
            return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def fault_in_body(schema: Schema, body: bytes) -> Violation | None:
    """First top-level field of an Avro body that cannot be read; None where all can. ``schema`` as fastavro parsed it."""
    fields = schema["fields"]
    readable, count = 0, len(fields) + 1
    while count - readable > 1:
        # The first fields read, or do not, whatever follows them: so the one at fault is found by halving.
        middle = (readable + count) // 2
        if _refusal(schema, middle, body) is None:
            readable = middle
        else:
            count = middle
    if readable == len(fields):
        return None
    name, refusal = fields[readable]["name"], _refusal(schema, readable + 1, body)
    if ends_too_soon(schema, body):
        return Violation(name, f"the record ends within it, after {len(body)} bytes", "send the whole record")
    if isinstance(refusal, UnicodeDecodeError):
        return Violation(name, "bytes that are not UTF-8", "send strings in UTF-8")
    return Violation(name, "bytes that no value has", "write it with the schema whose id the record names")


def ends_too_soon(schema: Schema, body: bytes) -> bool:
    """Whether a body that cannot be read would have gone on: fastavro says EOF, or, within an integer, something else."""
    fields = len(schema["fields"])
    if isinstance(_refusal(schema, fields, body), EOFError):
        return True
    # Zeros end an open integer, and every length and index read from them is 0: what still cannot be read is not cut off.
    longer = _refusal(schema, fields, body + bytes(_INTEGER_BYTES))
    return longer is None or isinstance(longer, EOFError)


def _refusal(schema: Schema, fields: int, body: bytes) -> Exception | None:
    """Why the first so many fields cannot be read, or None."""
    try:
        fastavro.schemaless_reader(BytesIO(body), {**schema, "fields": schema["fields"][:fields]}, None)
    except REFUSALS as refusal:
        return refusal
    return None
