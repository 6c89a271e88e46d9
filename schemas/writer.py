"""Avro writers for hot paths: each record schema compiled to straight-line Python, three to eight times as fast as walking it.

What is generated comes from committed schemas only. A value that does not fit is not explained here: the writer returns None, and
``schemas.codec`` takes its slower way, which names the field.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from schemas.definitions import Schema, full_name
from schemas.straight_line import Source, UnsupportedSchemaError
from schemas.strictness import INT_RANGE, LONG_RANGE

Writer = Callable[[Mapping[str, Any], bytes], bytes | None]

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
# Lengths and small numbers, which most are, are looked up.
_SMALL = 4096


class Encoded(bytes):
    """A part that was encoded before, written as it stands: a whole array, in place of its list (``encoded_array``)."""

    __slots__ = ()


def zigzag(value: int) -> bytes:
    """A number as Avro writes int and long."""
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_NUMBERS = tuple(zigzag(number) for number in range(_SMALL))


def _number(value: int) -> bytes:
    return _NUMBERS[value] if 0 <= value < _SMALL else zigzag(value)


def _millis(value: dt.datetime) -> bytes:
    delta = value - EPOCH
    return zigzag((delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000)


# One batch's "now", one event's time: each is written many times. Only on UTC's clocks: on others two moments an hour apart may
# be equal to a cache, in the hour that autumn repeats.
_millis_of_utc = lru_cache(maxsize=4096)(_millis)


def _day(value: dt.date) -> bytes:
    return zigzag(value.toordinal() - EPOCH_DAY)


def _source() -> Source:
    return Source(
        number=_number,
        numbers=_NUMBERS,
        zigzag=zigzag,
        millis=_millis,
        millis_of_utc=_millis_of_utc,
        utc=dt.UTC,
        day=_day,
        Encoded=Encoded,
        datetime=dt.datetime,
        date=dt.date,
        missing=object(),
        pack_float=struct.Struct("<f").pack,
        pack_double=struct.Struct("<d").pack,
    )


def compile_writer(schema: Schema, named: Mapping[str, Schema] = MappingProxyType({})) -> Writer:
    """The writer of a record: ``(value, header) -> header + body``, or None where the value does not fit exactly.

    ``named``: types that it refers to and does not define. Raises UnsupportedSchemaError.
    """
    source = _source()
    source.add(0, "def write(value, header):")
    parts = _record(source, 1, schema, "value", named, ())
    source.add(1, f"return b''.join((header, {', '.join(parts)}))")
    generated = source.compiled("write", f"<writer of {full_name(schema)}>")

    def write(value: Mapping[str, Any], header: bytes) -> bytes | None:
        try:
            written: bytes | None = generated(value, header)
        except (KeyError, TypeError, AttributeError, UnicodeEncodeError, OverflowError):
            return None
        return written

    return write


def compile_array_writer(record: Schema, field: str) -> Callable[[Sequence[Any]], Encoded]:
    """The writer of one array field of a record, for arrays that come again and again: encode once, keep, write often."""
    column = next(column for column in record["fields"] if column["name"] == field)
    alone = {
        "type": "record",
        "name": f"{record['name']}_{field}",
        "namespace": record["namespace"],
        "fields": [column],
    }
    write = compile_writer(alone, _definitions(record))

    def encode(items: Sequence[Any]) -> Encoded:
        written = write({field: items}, b"")
        if written is None:
            raise ValueError(f"{field}: the items do not fit their schema")
        return Encoded(written)

    return encode


# Each of these adds the lines that make one value's parts, and returns the parts: expressions of bytes, in their order.


def _record(
    source: Source, depth: int, schema: Schema, value: str, seen: Mapping[str, Schema], above: tuple[str, ...]
) -> list[str]:
    name = full_name(schema)
    if name in above:
        raise UnsupportedSchemaError(name)
    named = {**seen, **_definitions(schema)}
    known = source.named("known", frozenset(field["name"] for field in schema["fields"]))
    # A field that the schema does not have is refused, not dropped: there is none where all of the schema's are there and the
    # length is theirs, so that only records which leave out a default are looked through.
    source.add(depth, f"if len({value}) > {len(schema['fields'])}: return None")
    parts: list[str] = []
    for field in schema["fields"]:
        found = source.fresh("v")
        key = field["name"]
        if "default" in field:
            part = source.fresh("p")
            default = _default_bytes(field["type"], field["default"], named)
            source.add(depth, f"{found} = {value}.get({key!r}, missing)", f"if {found} is missing:")
            source.add(depth + 1, f"if not {value}.keys() <= {known}: return None")
            source.add(depth + 1, f"{part} = {source.named('default', default)}")
            source.add(depth, "else:")
            _one(source, depth + 1, part, _node(source, depth + 1, field["type"], found, named, (*above, name)))
            parts.append(part)
        else:
            source.add(depth, f"{found} = {value}[{key!r}]")
            parts += _node(source, depth, field["type"], found, named, (*above, name))
    return parts


def _one(source: Source, depth: int, part: str, parts: list[str]) -> None:
    """Makes one part of several, where it depends on the value how many there are."""
    source.add(depth, f"{part} = {parts[0] if len(parts) == 1 else _joined(parts)}")


def _joined(parts: list[str]) -> str:
    return f"b''.join(({', '.join((*parts, ''))}))"


def _definitions(node: Any) -> dict[str, Schema]:
    """Named types within a schema, by full name."""
    found: dict[str, Schema] = {}
    if isinstance(node, list):
        for branch in node:
            found |= _definitions(branch)
    elif isinstance(node, dict):
        if "name" in node and node.get("type") in ("record", "enum"):
            found[full_name(node)] = node
        for inner in (node.get("items"), node.get("values"), *(field["type"] for field in node.get("fields", ()))):
            found |= _definitions(inner)
    return found


def _node(
    source: Source, depth: int, node: Any, value: str, named: Mapping[str, Schema], above: tuple[str, ...]
) -> list[str]:
    if isinstance(node, list):
        other, part = next(branch for branch in node if branch != "null"), source.fresh("p")
        null, rest = (_number(0), _number(1)) if node[0] == "null" else (_number(1), _number(0))
        source.add(depth, f"if {value} is None: {part} = {null!r}", "else:")
        inner = _node(source, depth + 1, other, value, named, above)
        _one(source, depth + 1, part, [repr(rest), *inner])
        return [part]
    if isinstance(node, str):
        return (
            _node(source, depth, named[node], value, named, above)
            if node in named
            else _primitive(source, depth, node, value)
        )
    logical = node.get("logicalType")
    if logical == "timestamp-millis":
        source.add(depth, f"if type({value}) is not datetime: return None")
        return [f"(millis_of_utc({value}) if {value}.tzinfo is utc else millis({value}))"]
    if logical == "date":
        source.add(depth, f"if type({value}) is not date: return None")
        return [f"day({value})"]
    if logical is not None:
        raise UnsupportedSchemaError(logical)
    if node["type"] == "enum":
        symbols = {symbol: _number(number) for number, symbol in enumerate(node["symbols"])}
        return [f"{source.named('symbols', symbols)}[{value}]"]
    if node["type"] == "record":
        source.add(depth, f"if type({value}) is not dict: return None")
        return _record(source, depth, node, value, named, above)
    if node["type"] == "array":
        return [_array(source, depth, node["items"], value, named, above)]
    if node["type"] == "map":
        return [_map(source, depth, node["values"], value, named, above)]
    return _node(source, depth, node["type"], value, named, above)


def _primitive(source: Source, depth: int, kind: str, value: str) -> list[str]:
    if kind in ("string", "bytes"):
        data = value if kind == "bytes" else source.fresh("s")
        # Nothing but a text can be encoded.
        check = f"if type({value}) is not bytes: return None" if kind == "bytes" else f"{data} = {value}.encode()"
        source.add(depth, check)
        length = source.fresh("n")
        source.add(depth, f"{length} = len({data})")
        return [f"(numbers[{length}] if {length} < {_SMALL} else zigzag({length}))", data]
    if kind in ("int", "long"):
        low, high = INT_RANGE if kind == "int" else LONG_RANGE
        source.add(depth, f"if type({value}) is not int or not {low} <= {value} <= {high}: return None")
        return [f"(numbers[{value}] if 0 <= {value} < {_SMALL} else zigzag({value}))"]
    if kind == "boolean":
        source.add(depth, f"if type({value}) is not bool: return None")
        return [f"(b'\\x01' if {value} else b'\\x00')"]
    if kind in ("float", "double"):
        source.add(depth, f"if type({value}) not in (float, int): return None")
        return [f"pack_{kind}({value})"]
    if kind != "null":
        raise UnsupportedSchemaError(kind)
    return ["b''"]


def _array(
    source: Source, depth: int, items: Any, value: str, named: Mapping[str, Schema], above: tuple[str, ...]
) -> str:
    part, item, made = source.fresh("p"), source.fresh("i"), source.fresh("a")
    source.add(depth, f"if type({value}) is Encoded: {part} = {value}")
    source.add(depth, f"elif type({value}) not in (list, tuple): return None", f"elif {value}:")
    source.add(depth + 1, f"{made} = [number(len({value}))]", f"for {item} in {value}:")
    source.add(depth + 2, f"{made} += ({', '.join((*_node(source, depth + 2, items, item, named, above), ''))})")
    source.add(depth + 1, f"{made}.append(b'\\x00')", f"{part} = b''.join({made})")
    source.add(depth, f"else: {part} = b'\\x00'")
    return part


def _map(
    source: Source, depth: int, values: Any, value: str, named: Mapping[str, Schema], above: tuple[str, ...]
) -> str:
    part, made = source.fresh("p"), source.fresh("a")
    key, item = source.fresh("k"), source.fresh("i")
    source.add(depth, f"if type({value}) is not dict: return None", f"if {value}:")
    source.add(depth + 1, f"{made} = [number(len({value}))]", f"for {key}, {item} in {value}.items():")
    inner = [*_primitive(source, depth + 2, "string", key), *_node(source, depth + 2, values, item, named, above)]
    source.add(depth + 2, f"{made} += ({', '.join((*inner, ''))})")
    source.add(depth + 1, f"{made}.append(b'\\x00')", f"{part} = b''.join({made})")
    source.add(depth, f"else: {part} = b'\\x00'")
    return part


def _default_bytes(node: Any, default: Any, named: Mapping[str, Schema]) -> bytes:
    """How a field's default is written, from the JSON that the schema holds. A union's is of its first branch."""
    if isinstance(node, list):
        return _number(0) + _default_bytes(node[0], default, named)
    if isinstance(node, str) and node in named:
        node = named[node]
    kind = node if isinstance(node, str) else node["type"]
    if isinstance(node, dict) and node.get("logicalType") is not None:
        kind = node["type"]
        if kind not in ("int", "long"):
            raise UnsupportedSchemaError(node["logicalType"])
    match kind:
        case "null":
            return b""
        case "boolean":
            return b"\x01" if default else b"\x00"
        case "int" | "long":
            return _number(default)
        case "string":
            text: bytes = default.encode()
            return _number(len(text)) + text
        case "enum":
            return _number(node["symbols"].index(default))
        case "array" | "map" if not default:
            return b"\x00"
        case "array":
            body = b"".join(_default_bytes(node["items"], item, named) for item in default)
            return _number(len(default)) + body + b"\x00"
        case "record":
            fields = node["fields"]
            return b"".join(
                _default_bytes(field["type"], default.get(field["name"], field.get("default")), named)
                for field in fields
            )
    raise UnsupportedSchemaError(str(kind))
