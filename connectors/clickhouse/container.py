"""Avro object container files made by concatenation: the record bodies as Kafka holds them, never decoded here.

A container file is a header plus blocks of concatenated record bodies (Avro 1.12 specification, "Object Container Files").
Each body is preceded by where it lay, as leading fields of a wrapper schema, so ClickHouse parses everything in C++. The
position travels as one fixed-size field in the machine's byte order (struct packs it in one call; variable-length integers
would cost Python a microsecond each); the table's columns are made from it by ClickHouse.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# partition (uint16), offset (int64), timestamp in ms (int64); little-endian, as reinterpretAs… of ClickHouse reads it.
_POSITION = struct.Struct("<Hqq")
POSITION_BYTES = _POSITION.size
pack_position = _POSITION.pack

_MAGIC = b"Obj\x01"
_SYNC_BYTES = 16


def wrapper_schema(record: Mapping[str, Any], *, sealed: bool, read_as: Mapping[str, str]) -> dict[str, Any]:
    """The record's schema with our leading fields: ``_topic``, ``_topic_id``, ``_position`` and, if asked, ``_sealed``.

    ``read_as``: fields that go into a column of another name.
    """
    leading: list[dict[str, Any]] = [
        {"name": "_topic", "type": "string"},
        {"name": "_topic_id", "type": "string"},
        {"name": "_position", "type": {"type": "fixed", "name": "LuxePosition", "size": POSITION_BYTES}},
    ]
    if sealed:
        leading.append({"name": "_sealed", "type": "bytes"})
    fields = [*leading, *record["fields"]]
    return {**record, "fields": [{**field, "name": read_as.get(field["name"], field["name"])} for field in fields]}


def topic_prefix(topic: str, topic_id: str) -> bytes:
    """The encoded ``_topic`` and ``_topic_id``: the same for every record of a topic, so encoded once."""
    return encode_bytes(topic.encode()) + encode_bytes(topic_id.encode())


def encode_long(value: int) -> bytes:
    """Avro's zig-zag variable-length integer."""
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_bytes(value: bytes) -> bytes:
    """Avro's bytes (and string): length, then the bytes."""
    return encode_long(len(value)) + value


class Container:
    """Builds container files of one wrapper schema. The header is made once."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._sync = os.urandom(_SYNC_BYTES)
        metadata = {"avro.schema": json.dumps(schema).encode(), "avro.codec": b"null"}
        header = [_MAGIC, encode_long(len(metadata))]
        for name, value in metadata.items():
            header += [encode_bytes(name.encode()), encode_bytes(value)]
        self._header = b"".join([*header, b"\0", self._sync])

    def file(self, records: Sequence[bytes]) -> bytes:
        """One container file with ``records`` (wrapper bodies) in one block.

        The reader checks the sync marker behind the block, so a body that is too short or too long by even a byte fails the
        whole file instead of shifting its neighbours.
        """
        body = b"".join(records)
        return b"".join(self._parts(len(records), body))

    def _parts(self, count: int, body: bytes) -> Iterable[bytes]:
        return (self._header, encode_long(count), encode_long(len(body)), body, self._sync)
