"""Avro readers for hot paths: each record schema compiled to straight-line Python, thrice as fast as fastavro walking it.

What is generated comes from committed schemas only. Bytes that are anything but plain are not explained here: the reader returns
None, and ``schemas.codec`` takes its slower way, which reads them or names the field at fault.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Callable, Mapping
from typing import Any

from schemas.definitions import Schema, full_name, named_types
from schemas.straight_line import Source, UnsupportedSchemaError
from schemas.writer import EPOCH, EPOCH_DAY

Reader = Callable[[bytes, int], dict[str, Any] | None]
"""(data, where the body begins) → the record, None where it does not end with the data, or is not plain."""

# Seven bits each: what fits a long whatever its sign. A ninth and tenth byte are for numbers that nobody sends.
_LONGEST = 8
# What bytes that are not such a record run into.
REFUSED = (LookupError, UnicodeDecodeError, OverflowError, ValueError, struct.error)
# Symbols whose number is one byte.
_ONE_BYTE = 64


def number_at(data: bytes, at: int) -> tuple[int, int]:
    """An int or long that begins there, and where it ends. Raises IndexError."""
    rest = shift = 0
    for end in range(at + 1, at + 1 + _LONGEST):
        byte = data[end - 1]
        rest |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (rest >> 1) ^ -(rest & 1), end
        shift += 7
    raise IndexError("a number of more than eight bytes")


def length_at(data: bytes, at: int) -> tuple[int, int]:
    """A length that begins there, and where it ends. Raises IndexError, for a negative one too."""
    length, end = number_at(data, at)
    if length < 0:
        raise IndexError("a negative length")
    return length, end


# A timestamp's bytes → the moment. An event's times are in all of its requests, a batch's "now" in all that it made.
_INSTANTS: dict[bytes, dt.datetime] = {}
_INSTANTS_KEPT = 4096
# What the years 1989 to 2527 take. No number of six bytes is the beginning of a longer one.
_INSTANT_BYTES = 6


def instant_at(data: bytes, at: int) -> tuple[dt.datetime, int]:
    """A timestamp-millis that begins there, and where it ends. Raises IndexError, OverflowError."""
    ms, end = number_at(data, at)
    moment = EPOCH + dt.timedelta(milliseconds=ms)
    if end - at == _INSTANT_BYTES:
        if len(_INSTANTS) >= _INSTANTS_KEPT:
            _INSTANTS.clear()
        _INSTANTS[data[at:end]] = moment
    return moment, end


def _day(days: int) -> dt.date:
    return dt.date.fromordinal(EPOCH_DAY + days)


def compile_reader(schema: Schema) -> Reader:
    """The reader of a record. Raises UnsupportedSchemaError: a decimal, a recursive record, an item without bytes."""
    source = Source(
        number_at=number_at,
        length_at=length_at,
        instants=_INSTANTS,
        instant_at=instant_at,
        day=_day,
        REFUSED=REFUSED,
        float_at=struct.Struct("<f").unpack_from,
        double_at=struct.Struct("<d").unpack_from,
    )
    source.add(0, "def read(data, at):", "    try:")
    _Compiling(source, {full_name(node): node for node in named_types(schema)}).node(2, schema, "found", ())
    source.add(1, "except REFUSED:", "    return None")
    source.add(1, "return found if at == len(data) else None")
    return source.compiled("read", f"<reader of {full_name(schema)}>")


class _Compiling:
    """One schema's lines. ``named``: its types by full name."""

    def __init__(self, source: Source, named: Mapping[str, Schema]) -> None:
        self._source, self._named = source, named

    def node(self, depth: int, node: Any, into: str, above: tuple[str, ...]) -> None:
        """Lines that read one value into that name. ``above``: the records it lies in."""
        if isinstance(node, list):
            self._union(depth, node, into, above)
        elif isinstance(node, str) and node not in self._named:
            self._primitive(depth, node, into)
        elif isinstance(node, str):
            self.node(depth, self._named[node], into, above)
        elif (logical := node.get("logicalType")) is not None:
            self._logical(depth, logical, into)
        elif node["type"] == "record":
            self._record(depth, node, into, above)
        elif node["type"] == "enum":
            # One byte, and an even one: of a symbol, and no negative number.
            symbols = {number << 1: symbol for number, symbol in enumerate(node["symbols"][:_ONE_BYTE])}
            self._source.add(depth, f"{into} = {self._source.named('symbols', symbols)}[data[at]]", "at += 1")
        elif node["type"] in ("array", "map"):
            self._items(depth, node, into, above)
        else:
            self.node(depth, node["type"], into, above)

    def _logical(self, depth: int, logical: str, into: str) -> None:
        if logical == "timestamp-millis":
            self._source.add(depth, f"{into} = instants.get(data[at:at + {_INSTANT_BYTES}])")
            self._source.add(depth, f"if {into} is None: {into}, at = instant_at(data, at)")
            self._source.add(depth, f"else: at += {_INSTANT_BYTES}")
        elif logical == "date":
            self._number(depth, into)
            self._source.add(depth, f"{into} = day({into})")
        else:
            raise UnsupportedSchemaError(logical)

    def _primitive(self, depth: int, kind: str, into: str) -> None:
        add = self._source.add
        if kind in ("string", "bytes"):
            end, decode = self._source.fresh("e"), ".decode()" if kind == "string" else ""
            add(depth, f"{end} = data[at]", f"if {end} & 129: {end}, at = length_at(data, at)")
            add(depth, "else:", "    at += 1", f"    {end} >>= 1")
            add(depth, f"{end} += at", f"{into} = data[at:{end}]{decode}", f"at = {end}")
        elif kind in ("int", "long"):
            self._number(depth, into)
        elif kind == "boolean":
            add(depth, f"{into} = (False, True)[data[at]]", "at += 1")
        elif kind in ("float", "double"):
            add(depth, f"{into} = {kind}_at(data, at)[0]", f"at += {4 if kind == 'float' else 8}")
        elif kind == "null":
            add(depth, f"{into} = None")
        else:
            raise UnsupportedSchemaError(kind)

    def _number(self, depth: int, into: str) -> None:
        self._source.add(depth, f"{into} = data[at]", "at += 1")
        self._source.add(depth, f"if {into} > 127: {into}, at = number_at(data, at - 1)")
        self._source.add(depth, f"else: {into} = ({into} >> 1) ^ -({into} & 1)")

    def _length(self, depth: int, into: str) -> None:
        self._source.add(depth, f"{into} = data[at]", "at += 1")
        self._source.add(depth, f"if {into} & 129: {into}, at = length_at(data, at - 1)")
        self._source.add(depth, f"else: {into} >>= 1")

    def _record(self, depth: int, schema: Schema, into: str, above: tuple[str, ...]) -> None:
        name = full_name(schema)
        if name in above:
            raise UnsupportedSchemaError(name)
        values: list[str] = []
        for field in schema["fields"]:
            value = self._source.fresh("v")
            self.node(depth, field["type"], value, (*above, name))
            values.append(f"{field['name']!r}: {value}")
        self._source.add(depth, f"{into} = {{{', '.join(values)}}}")

    def _union(self, depth: int, branches: list[Any], into: str, above: tuple[str, ...]) -> None:
        if len(branches) != 2 or "null" not in branches:
            raise UnsupportedSchemaError("a union of other than null and one type")
        null, which = branches.index("null"), self._source.fresh("b")
        self._source.add(depth, f"{which} = data[at]", "at += 1")
        self._source.add(depth, f"if {which} == {null << 1}: {into} = None", f"elif {which} == {(1 - null) << 1}:")
        self.node(depth + 1, branches[1 - null], into, above)
        self._source.add(depth, "else: raise IndexError")

    def _items(self, depth: int, node: Schema, into: str, above: tuple[str, ...]) -> None:
        """An array or a map, of one block: nearly nobody writes more, or says how long a block is."""
        is_map = node["type"] == "map"
        inner = node["values"] if is_map else node["items"]
        if not is_map and not self._has_bytes(inner):
            raise UnsupportedSchemaError("items without bytes: their number would be bounded by nothing")
        count, key, item = self._source.fresh("n"), self._source.fresh("k"), self._source.fresh("i")
        add = self._source.add
        add(depth, f"{into} = {'{}' if is_map else '[]'}")
        self._length(depth, count)
        add(depth, f"if {count}:", f"    for _ in range({count}):")
        if is_map:
            self._primitive(depth + 2, "string", key)
        self.node(depth + 2, inner, item, above)
        add(depth + 2, f"{into}[{key}] = {item}" if is_map else f"{into}.append({item})")
        add(depth + 1, "if data[at]: raise IndexError", "at += 1")

    def _has_bytes(self, node: Any) -> bool:
        """Does every such value take at least a byte?"""
        if isinstance(node, list):
            return True  # its branch
        if isinstance(node, str) and node not in self._named:
            return node != "null"
        whole = self._named[node] if isinstance(node, str) else node
        if whole["type"] == "record":
            return any(self._has_bytes(field["type"]) for field in whole["fields"])
        return whole["type"] in ("enum", "array", "map") or self._has_bytes(whole["type"])
