"""From Kafka messages to container files: grouped by schema, each record checked for its frame only, bodies untouched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from connectors.clickhouse.container import Container, encode_bytes, pack_position, wrapper_schema
from connectors.clickhouse.tables import RawTable, raw_table
from schemas.codec import Codec, CodecError
from schemas.registry import Registry, UnknownSchemaIdError

_FRAME_BYTES = 5  # Confluent's magic byte and four bytes of schema id


class KafkaMessage(Protocol):
    """What is used of a confluent_kafka.Message."""

    def offset(self) -> int | None: ...
    def value(self) -> bytes | None: ...
    def key(self) -> bytes | None: ...
    def timestamp(self) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that is none of ours. Size in bytes of key and value."""

    offset: int
    timestamp_ms: int
    error_code: str
    original_bytes: int


class OutdatedError(Exception):
    """A record of our own services has a schema of a later release: this process is to be deployed anew before it goes on."""


@dataclass(slots=True)
class Chunk:
    """The records of one range that share a schema: one insert. ``bodies`` are wrapper bodies, in offset order."""

    schema_id: int
    shape: Shape
    messages: list[KafkaMessage] = field(default_factory=list, repr=False)
    values: list[bytes] = field(default_factory=list, repr=False)
    bodies: list[bytes] = field(default_factory=list, repr=False)


@dataclass(frozen=True, slots=True)
class Shape:
    """How records of one schema go in: which table, which container header."""

    table: RawTable
    container: Container


class Shapes:
    """Shapes by schema id, made when first seen.

    Raises KeyError for an id that is nobody's, UnknownSchemaIdError for one that the registry may come to know.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[int, Shape | None] = {}

    def __getitem__(self, schema_id: int) -> Shape:
        if schema_id not in self._known:
            self._known[schema_id] = self._make(schema_id)
        shape = self._known[schema_id]
        if shape is None:
            raise KeyError(schema_id)
        return shape

    def _make(self, schema_id: int) -> Shape | None:
        try:
            schema = self._registry.schema(schema_id)
        except UnknownSchemaIdError as unknown:
            if unknown.later:
                raise
            return None
        table = raw_table(schema)
        return Shape(table, Container(wrapper_schema(schema, sealed=table.sealed, read_as=table.read_as)))


# Seals whole events, given their wire bytes: one sealed value, or the error that the event would not decode with, for each.
Sealer = Callable[[Sequence[bytes]], list["bytes | CodecError"]]


def chunks(
    messages: Sequence[KafkaMessage], prefix: bytes, partition: int, shapes: Shapes, seal: Sealer, *, ours: bool = True
) -> tuple[list[Chunk], list[Unreadable]]:
    """Split one partition's messages by schema. ``prefix`` is the topic's (container.topic_prefix).

    ``ours``: only our own services write the topic. Raises OutdatedError for a later release's record on such a one.
    """
    by_frame: dict[bytes, Chunk] = {}
    unreadable: list[Unreadable] = []
    for message in messages:
        value = message.value()
        if value is None:
            unreadable.append(_unreadable(message, "tombstone"))
            continue
        frame = value[:_FRAME_BYTES]
        chunk = by_frame.get(frame)
        if chunk is None:
            if len(frame) < _FRAME_BYTES or frame[0] != 0:
                unreadable.append(_unreadable(message, "unknown_magic_byte"))
                continue
            schema_id = int.from_bytes(frame[1:], "big")
            try:
                chunk = by_frame[frame] = Chunk(schema_id, shapes[schema_id])
            except (KeyError, UnknownSchemaIdError) as unknown:
                if ours and not isinstance(unknown, KeyError):
                    raise OutdatedError(
                        f"schema id {schema_id} is unknown here, so this process is older than what it reads: deploy it "
                        "before those that write it (docs/runbooks/upgrade.md); with an HTTP registry, `luxe schemas push`"
                    ) from None
                unreadable.append(_unreadable(message, "unknown_schema_id"))
                continue
        chunk.messages.append(message)
        chunk.values.append(value)
    for chunk in by_frame.values():
        if chunk.shape.table.sealed:
            unreadable += _seal_bodies(chunk, prefix, partition, seal)
        else:
            chunk.bodies = [
                prefix + pack_position(partition, message.offset() or 0, message.timestamp()[1]) + value[_FRAME_BYTES:]
                for message, value in zip(chunk.messages, chunk.values, strict=True)
            ]
    return [chunk for chunk in by_frame.values() if chunk.bodies], unreadable


def without_undecodable(chunk: Chunk, codec: Codec) -> tuple[Chunk, list[Unreadable]]:
    """The chunk less the records that do not decode; used when ClickHouse refused the file, which it does whole."""
    kept = Chunk(chunk.schema_id, chunk.shape)
    unreadable: list[Unreadable] = []
    for message, body in zip(chunk.messages, chunk.bodies, strict=True):
        try:
            codec.decode(message.value())
        except CodecError as error:
            unreadable.append(_unreadable(message, error.code))
        else:
            kept.messages.append(message)
            kept.bodies.append(body)
    return kept, unreadable


def _seal_bodies(chunk: Chunk, prefix: bytes, partition: int, seal: Sealer) -> Iterator[Unreadable]:
    readable: list[KafkaMessage] = []
    for message, value, sealed in zip(chunk.messages, chunk.values, seal(chunk.values), strict=True):
        if isinstance(sealed, CodecError):
            yield _unreadable(message, sealed.code)
            continue
        readable.append(message)
        position = pack_position(partition, message.offset() or 0, message.timestamp()[1])
        chunk.bodies.append(prefix + position + encode_bytes(sealed) + value[_FRAME_BYTES:])
    chunk.messages = readable


def _unreadable(message: KafkaMessage, code: str) -> Unreadable:
    size = len(message.value() or b"") + len(message.key() or b"")
    return Unreadable(message.offset() or 0, message.timestamp()[1], code, size)


def rows_of(unreadable: Sequence[Unreadable], topic: str, topic_id: str, partition: int) -> list[list[Any]]:
    """Rows for the table of unreadable records; columns as UNREADABLE_COLUMNS."""
    return [[topic, topic_id, partition, u.offset, u.timestamp_ms, u.error_code, u.original_bytes] for u in unreadable]


UNREADABLE_COLUMNS = ["_topic", "_topic_id", "_partition", "_offset", "_timestamp", "error_code", "original_bytes"]
