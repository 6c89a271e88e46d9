"""Confluent wire format: ``0x00`` + 4-byte schema id + Avro body. Strict both ways; errors name field, shape and mend only.

What is sealed within a record names its schema too, behind a mark of its own: the body alone, as once it was, begins otherwise.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, Literal

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.read import SchemaResolutionError

from schemas.definitions import (
    Schema,
    definition,
    definitions,
    fingerprint,
    full_name,
    is_recursive,
    topics_of,
    versions,
)
from schemas.faults import REFUSALS, ends_too_soon, fault_in_body, fault_in_value
from schemas.hardening import hardened
from schemas.reader import Reader, compile_reader
from schemas.registry import Registry, UnknownSchemaIdError
from schemas.shapes import Violation
from schemas.straight_line import UnsupportedSchemaError
from schemas.strictness import compile_strict
from schemas.topics import BY_NAME, DEAD_LETTER_MAX_MESSAGE_BYTES, PIPELINE_MAX_MESSAGE_BYTES
from schemas.writer import Writer, compile_writer

MAGIC = b"\x00"
# Before the schema id of what is sealed. Bodies without one lie in stores for years: each of them begins with the branch of a
# union or a length, which Avro writes as an even number, and this is an odd one. (Avro's own single-object mark, C3 01, has a
# second byte that no id of ours begins with.) A test holds it for every version of every sealed record.
CONTENT_MARK = b"\xc3"
HEADER_BYTES = 5
# One event: two hundred times what a full one takes. Topics let larger ones in, so that they become dead letters that explain
# themselves.
EVENT_MAX_BYTES = 1024 * 1024

CodecErrorCode = Literal[
    "unknown_magic_byte",
    "unknown_schema_id",
    "truncated_record",
    "oversized_record",
    "invalid_utf8",
    "trailing_bytes",
    "tombstone",
    "schema_violation",
]

_schema_id_at = struct.Struct(">I").unpack_from
_pack_schema_id = struct.Struct(">I").pack


class CodecError(Exception):
    """A record cannot be read or written. ``code`` is enumerated, ``field`` the field at fault where one is known."""

    def __init__(
        self,
        code: CodecErrorCode,
        explanation: str,
        *,
        field: str | None = None,
        schema_id: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(explanation)
        self.code: CodecErrorCode = code
        self.field = field
        self.schema_id = schema_id
        self.name = name


class LaterSchemaError(CodecError):
    """Its schema is one that this process does not know yet (``unknown_schema_id``): in what our own services write, nothing is

    wrong with the record. This process is older than its writer; who is to lose nothing waits, or ends, and is deployed anew.
    """


class Decoded:
    """A record as read: its schema id, full name and value. Prints without the value, which may be PHI."""

    __slots__ = ("name", "schema_id", "value")

    def __init__(self, schema_id: int, name: str, value: dict[str, Any]) -> None:
        self.schema_id = schema_id
        self.name = name
        self.value = value

    def __repr__(self) -> str:
        return f"<Decoded {self.name} id={self.schema_id}>"


class _Reader:
    """How bytes with one schema id are read. ``target`` is our own version where the writer's differs, else None.

    ``plain``: the quick way for what is plain and in our own version; None: there is none.
    """

    __slots__ = ("name", "plain", "target", "writer")

    def __init__(self, schema: Schema) -> None:
        if is_recursive(schema):
            raise CodecError("schema_violation", f"{schema['name']}: recursive schemas are not read")
        self.name = full_name(schema)
        self.writer = hardened(schema)
        ours = definitions().get(self.name)
        differs = ours is not None and fingerprint(ours) != fingerprint(schema)
        self.target: Any = parse_schema(ours) if ours is not None and differs else None
        self.plain = None if differs else _compiled_reader(schema)


def max_record_bytes(name: str, event_max_bytes: int = EVENT_MAX_BYTES) -> int:
    """Largest record of a kind, in bytes: events have our own limit, pipeline records that of their topic."""
    if name.startswith("luxe.pipeline.DeadLetter"):
        return DEAD_LETTER_MAX_MESSAGE_BYTES
    if name.startswith("luxe.pipeline."):
        return max((BY_NAME[topic].max_message_bytes for topic in topics_of(name)), default=PIPELINE_MAX_MESSAGE_BYTES)
    return event_max_bytes


class Codec:
    """Encodes and decodes records by the schemas of one registry. ``max_bytes`` bounds one event, header included."""

    def __init__(self, registry: Registry, max_bytes: int = EVENT_MAX_BYTES) -> None:
        self._registry = registry
        self._max_bytes = max_bytes
        self._readers: dict[int, _Reader] = {}
        self._bare_readers: dict[str, _Reader] = {}
        self._first_readers: dict[str, _Reader] = {}
        self._encoders: dict[tuple[str, str], Callable[[Mapping[str, Any]], bytes]] = {}
        self._bare_encoders: dict[str, Callable[[Mapping[str, Any]], bytes]] = {}
        self._content_encoders: dict[str, Callable[[Mapping[str, Any]], bytes]] = {}

    def encode(self, topic: str, name: str, value: Mapping[str, Any]) -> bytes:
        """A record as its topic carries it. Raises CodecError (schema_violation, oversized_record), RegistryError."""
        return self.encoder(topic, name)(value)

    def encoder(self, topic: str, name: str) -> Callable[[Mapping[str, Any]], bytes]:
        """``encode`` for one topic and record, with everything looked up before. Raises RegistryError."""
        found = self._encoders.get((topic, name))
        if found is None:
            header = MAGIC + _pack_schema_id(self._registry.id_of(topic, name))
            found = self._encoders[topic, name] = self._make_encoder(header, name)
        return found

    def encode_bare(self, name: str, value: Mapping[str, Any]) -> bytes:
        """A record's Avro body alone, for rows of our own state. Raises CodecError."""
        found = self._bare_encoders.get(name)
        if found is None:
            found = self._bare_encoders[name] = self._make_encoder(b"", name)
        return found(value)

    def decode(self, data: bytes | None) -> Decoded:
        """A record in our own version of its schema (the writer's, for records we do not have). Raises CodecError.

        RegistryUnavailableError goes up as it is: then nothing is wrong with the record.
        """
        if data is None:
            raise CodecError("tombstone", "no value: a tombstone; this topic carries records only")
        size = len(data)
        if size < HEADER_BYTES or data[0]:
            raise _header_error(data)
        schema_id: int = _schema_id_at(data, 1)[0]
        reader = self._readers.get(schema_id) or self._load(schema_id)
        if size > self._max_bytes and size > (limit := max_record_bytes(reader.name, self._max_bytes)):
            raise _oversized(reader.name, size, limit, schema_id)
        if reader.plain is not None and (plain := reader.plain(data, HEADER_BYTES)) is not None:
            return Decoded(schema_id, reader.name, plain)
        body = BytesIO(data)
        body.seek(HEADER_BYTES)
        try:
            value: Any = schemaless_reader(body, reader.writer, reader.target)
        except SchemaResolutionError:
            fault = CodecError(
                "schema_violation",
                f"{reader.name} id {schema_id}: this version cannot be read as ours",
                schema_id=schema_id,
                name=reader.name,
            )
        except REFUSALS as refusal:
            fault = _body_error(refusal, reader, data[HEADER_BYTES:], schema_id)
        else:
            if body.tell() == size:
                return Decoded(schema_id, reader.name, value)
            fault = _trailing(reader.name, size - body.tell(), schema_id)
        # Raised out here, so that fastavro's error, whose text may hold a value, does not hang on ours as its context.
        raise fault

    def decode_bare(self, name: str, data: bytes) -> dict[str, Any]:
        """The value of a bare Avro body, written with our current schema. Raises CodecError."""
        reader = self._bare_readers.get(name)
        if reader is None:
            reader = self._bare_readers[name] = _Reader(definition(name))
        return self._body(reader, data, 0, None)

    def encode_content(self, name: str, value: Mapping[str, Any]) -> bytes:
        """A record as it is sealed within another: its schema's id, then its body. Raises CodecError, RegistryError."""
        return self.content_encoder(name)(value)

    def content_encoder(self, name: str) -> Callable[[Mapping[str, Any]], bytes]:
        """``encode_content`` for one record, with everything looked up before. Raises RegistryError."""
        found = self._content_encoders.get(name)
        if found is None:
            header = CONTENT_MARK + _pack_schema_id(self._registry.id_of("", name))
            found = self._content_encoders[name] = self._make_encoder(header, name)
        return found

    def decode_content(self, name: str, data: bytes) -> dict[str, Any]:
        """What was sealed, in our own version of its schema; a body alone is of the first version. Raises CodecError."""
        if data[:1] != CONTENT_MARK:
            reader = self._first_readers.get(name)
            if reader is None:
                reader = self._first_readers[name] = _Reader(versions(name)[0])
            return self._body(reader, data, 0, None)
        if len(data) < HEADER_BYTES:
            raise CodecError(
                "truncated_record", f"{name}: only {len(data)} bytes; mark and id alone take {HEADER_BYTES}"
            )
        schema_id: int = _schema_id_at(data, 1)[0]
        reader = self._readers.get(schema_id) or self._load(schema_id)
        if reader.name != name:
            raise CodecError(
                "schema_violation",
                f"{reader.name} is sealed where {name} belongs",
                schema_id=schema_id,
                name=reader.name,
            )
        return self._body(reader, data, HEADER_BYTES, schema_id)

    def _body(self, reader: _Reader, data: bytes, start: int, schema_id: int | None) -> dict[str, Any]:
        name = reader.name
        if len(data) > (limit := max_record_bytes(name, self._max_bytes)):
            raise _oversized(name, len(data), limit, schema_id)
        if reader.plain is not None and (plain := reader.plain(data, start)) is not None:
            return plain
        body = BytesIO(data)
        body.seek(start)
        try:
            value: Any = schemaless_reader(body, reader.writer, reader.target)
        except SchemaResolutionError:
            fault = CodecError(
                "schema_violation", f"{name}: this version cannot be read as ours", schema_id=schema_id, name=name
            )
        except REFUSALS as refusal:
            fault = _body_error(refusal, reader, data[start:], schema_id)
        else:
            if body.tell() == len(data):
                return dict(value)
            fault = _trailing(name, len(data) - body.tell(), schema_id)
        raise fault

    def _load(self, schema_id: int) -> _Reader:
        try:
            schema = self._registry.schema(schema_id)
        except UnknownSchemaIdError as unknown:
            kind = LaterSchemaError if unknown.later else CodecError
            raise kind(
                "unknown_schema_id",
                f"schema id {schema_id} is not in the registry; register the producer's schema (`luxe schemas push`), "
                "then replay",
                schema_id=schema_id,
            ) from None
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise CodecError(
                "schema_violation", f"schema id {schema_id} is not a record; send a record", schema_id=schema_id
            )
        reader = self._readers[schema_id] = _Reader(schema)
        return reader

    def _make_encoder(self, header: bytes, name: str) -> Callable[[Mapping[str, Any]], bytes]:
        raw = definition(name)
        schema = parse_schema(raw)
        accepts = compile_strict(raw)
        limit = max_record_bytes(name, self._max_bytes)
        compiled = _compiled_writer(raw)

        def encode(value: Mapping[str, Any]) -> bytes:
            violation: Violation | None
            fast = None if compiled is None else compiled(value, header)
            if fast is not None and len(fast) <= limit:
                return fast
            if accepts(value) or (violation := fault_in_value(raw, value)) is None:
                body = BytesIO(header)
                body.seek(len(header))
                try:
                    schemaless_writer(body, schema, value, strict_allow_default=True)
                except REFUSALS:
                    violation = fault_in_value(raw, value)
                else:
                    data = body.getvalue()
                    if len(data) > limit:
                        raise _oversized(name, len(data), limit, None)
                    return data
            field = violation.field if violation else None
            raise CodecError(
                "schema_violation",
                f"{name}: {violation or 'the value does not fit its schema'}",
                field=field,
                name=name,
            )

        return encode


def _compiled_reader(schema: Schema) -> Reader | None:
    try:
        return compile_reader(schema)
    except UnsupportedSchemaError:
        return None  # fastavro reads it


def _compiled_writer(raw: Schema) -> Writer | None:
    try:
        return compile_writer(raw)
    except UnsupportedSchemaError:
        return None  # fastavro writes it


def _header_error(data: bytes) -> CodecError:
    if not data:
        return CodecError("truncated_record", "empty value; send magic byte 0, a 4-byte schema id and an Avro body")
    if data[0]:
        return CodecError(
            "unknown_magic_byte",
            f"{len(data)} bytes that do not begin with magic byte 0; send Confluent's Avro wire format "
            "(plain JSON and bare Avro are not read)",
        )
    return CodecError("truncated_record", f"only {len(data)} bytes; magic byte and schema id alone take {HEADER_BYTES}")


def _oversized(name: str, size: int, limit: int, schema_id: int | None) -> CodecError:
    return CodecError(
        "oversized_record",
        f"{name}: {size} bytes, at most {limit} are handled; send less, or references instead of contents",
        schema_id=schema_id,
        name=name,
    )


def _trailing(name: str, extra: int, schema_id: int | None) -> CodecError:
    return CodecError(
        "trailing_bytes",
        f"{name}: {extra} bytes after the record's end; it was written with another schema than its id says",
        schema_id=schema_id,
        name=name,
    )


def _body_error(refusal: BaseException, reader: _Reader, body: bytes, schema_id: int | None) -> CodecError:
    """Name the field at which a body could not be read, by walking it once more, slowly."""
    violation = fault_in_body(reader.writer, body)
    code: CodecErrorCode = "schema_violation"
    if isinstance(refusal, UnicodeDecodeError):
        code = "invalid_utf8"
    elif ends_too_soon(reader.writer, body):
        code = "truncated_record"
    return CodecError(
        code,
        f"{reader.name}: {violation or 'the body does not fit the schema of its id'}",
        field=violation.field if violation else None,
        schema_id=schema_id,
        name=reader.name,
    )
