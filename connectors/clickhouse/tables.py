"""One raw table per record type, its DDL made from the record's schema, so that the two cannot part ways.

Of domain events only fields of PHI class ``none`` get a column, and one sealed column holds the whole event. Pipeline records
carry their PHI sealed already; what is left of them is stored as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

DATABASE = "luxe"

# How many inserts' tokens ClickHouse remembers per table. A token must outlive the longest time between an insert and its
# retry, which is one range per partition and schema: 10,000 inserts are hours at one a second and partition.
DEDUPLICATION_WINDOW_INSERTS = 10_000

# Fields with few distinct values: stored as a dictionary and an index, which is what analysts group by.
_LOW_CARDINALITY = frozenset(
    {
        "aggregate_type",
        "catalog_version",
        "clinic_id",
        "consent_scope",
        "country",
        "currency",
        "error_class",
        "error_code",
        "event_type",
        "field",
        "kind",
        "locale",
        "notification_type",
        "provider",
        "provider_status",
        "reason",
        "schema_name",
        "schema_version",
        "source",
        "source_topic",
        "stage",
        "template_id",
        "time_zone",
    }
)

# Never stored here: whoever has the key-encryption key could open what an erasure was to close.
_WITHHELD = frozenset({"wrapped_key"})

_LOGICAL = {
    "timestamp-millis": "DateTime64(3, 'UTC')",
    "timestamp-micros": "DateTime64(6, 'UTC')",
    "date": "Date32",
    "time-millis": "Int32",
    "uuid": "UUID",
}
_PRIMITIVE = {
    "string": "String",
    "bytes": "String",
    "int": "Int32",
    "long": "Int64",
    "float": "Float32",
    "double": "Float64",
    "boolean": "Bool",
}

# ClickHouse's Avro reader makes a column of its own for each value that goes straight into a LowCardinality column: 4 of the 6 µs
# that a row of 14 such fields took. So they are read as plain text into ephemeral columns, named with this before the
# field's own name, and made LowCardinality a whole column at a time by the default expression.
_PLAIN = "_plain_"
_DICTIONARY = re.compile(r"LowCardinality\((.+)\)")

# Where a record lay: made by ClickHouse from the one field that the wrapper carries (see container.py).
_POSITION_COLUMNS = (
    "`_position` FixedString(18) EPHEMERAL",
    "`_plain__topic` String EPHEMERAL",
    "`_topic` LowCardinality(String) DEFAULT _plain__topic COMMENT 'Kafka topic'",
    "`_plain__topic_id` String EPHEMERAL",
    "`_topic_id` LowCardinality(String) DEFAULT _plain__topic_id"
    " COMMENT 'Id of the topic: another one after it was deleted and created anew'",
    "`_partition` UInt16 DEFAULT reinterpretAsUInt16(substring(_position, 1, 2))",
    "`_offset` UInt64 DEFAULT reinterpretAsUInt64(substring(_position, 3, 8))",
    "`_timestamp` DateTime64(3, 'UTC') DEFAULT fromUnixTimestamp64Milli(reinterpretAsInt64(substring(_position, 11, 8)))"
    " COMMENT 'When the broker or producer stamped it'",
    "`_ingested_at` DateTime64(3, 'UTC') DEFAULT now64(3)",
)

UNREADABLE_TABLE = "raw_unreadable"
UNREADABLE_DDL = f"""CREATE TABLE IF NOT EXISTS {DATABASE}.{UNREADABLE_TABLE} (
    `_topic` LowCardinality(String), `_topic_id` LowCardinality(String), `_partition` UInt16, `_offset` UInt64,
    `_timestamp` DateTime64(3, 'UTC'), `_ingested_at` DateTime64(3, 'UTC') DEFAULT now64(3),
    `error_code` LowCardinality(String) COMMENT 'Why it could not be read, e.g. unknown_schema_id',
    `original_bytes` UInt64 COMMENT 'Size of key and value; the bytes themselves are in dead-letters, sealed'
) ENGINE = ReplacingMergeTree ORDER BY (_topic_id, _partition, _offset)
SETTINGS non_replicated_deduplication_window = {DEDUPLICATION_WINDOW_INSERTS}
COMMENT 'Records on a topic that are none of ours: counted, so that the account closes'"""


class TableError(Exception):
    """A schema that has no table; the message names the type and the mend."""


@dataclass(frozen=True, slots=True)
class RawTable:
    """The raw table of one record type."""

    name: str
    record: str
    sealed: bool
    columns: tuple[tuple[str, str, str], ...]  # name, type, comment
    doc: str

    @property
    def insert_columns(self) -> list[str]:
        """What an insert names; the position's parts and what is ephemeral here follow by default expressions."""
        leading = ["_position", _PLAIN + "_topic", _PLAIN + "_topic_id"]
        read = self.read_as
        return [
            *leading,
            *(["_sealed"] if self.sealed else []),
            *(read.get(name, name) for name, _, _ in self.columns),
        ]

    @property
    def read_as(self) -> dict[str, str]:
        """Fields that are read under another name than their column's: field → name in the container's schema."""
        names = {name: _PLAIN + name for name, type_, _ in self.columns if _DICTIONARY.fullmatch(type_)}
        return names | {name: _PLAIN + name for name in ("_topic", "_topic_id")}

    def create(self) -> str:
        """CREATE TABLE IF NOT EXISTS."""
        lines = list(_POSITION_COLUMNS)
        if self.sealed:
            lines.append("`_sealed` String COMMENT 'The whole event, sealed with the recipient''s key'")
        lines += self._column_lines()
        names = {name for name, _, _ in self.columns}
        if "notification_id" in names:
            lines.append("INDEX by_notification notification_id TYPE bloom_filter(0.01) GRANULARITY 4")
        body = ",\n    ".join(lines)
        return (
            f"CREATE TABLE IF NOT EXISTS {DATABASE}.{self.name} (\n    {body}\n)\n"
            "ENGINE = ReplacingMergeTree\n"
            # Never cut by time: a range that spans a month's end must still be one block, or its token would stand for a part.
            "ORDER BY (_topic_id, _partition, _offset)\n"
            f"SETTINGS non_replicated_deduplication_window = {DEDUPLICATION_WINDOW_INSERTS}"
            f"{_comment(self.doc)}"
        )

    def add_columns(self) -> str:
        """ALTER TABLE for fields that a newer schema version brought. Idempotent."""
        adds = ", ".join(f"ADD COLUMN IF NOT EXISTS {line}" for line in self._column_lines())
        return f"ALTER TABLE {DATABASE}.{self.name} {adds}"

    def _column_lines(self) -> Iterator[str]:
        for name, type_, doc in self.columns:
            dictionary = _DICTIONARY.fullmatch(type_)
            if dictionary:
                yield f"`{_PLAIN}{name}` {dictionary[1]} EPHEMERAL"
                yield f"`{name}` {type_} DEFAULT `{_PLAIN}{name}`{_comment(doc)}"
            else:
                yield f"`{name}` {type_}{_comment(doc)}"


@cache
def table_name(record: str) -> str:
    """Raw table of a record: ``luxe.events.AppointmentCreated`` → ``raw_event_appointment_created``."""
    namespace, _, name = record.rpartition(".")
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return f"raw_event_{snake}" if namespace.endswith("events") else f"raw_{snake}"


def raw_table(schema: Mapping[str, Any]) -> RawTable:
    """The raw table of a record's schema. Raises TableError for an Avro type that has no column type."""
    record = f"{schema['namespace']}.{schema['name']}"
    is_event = str(schema["namespace"]).endswith("events")
    named: dict[str, Mapping[str, Any]] = {}
    columns = []
    for field in schema["fields"]:
        if _is_optional_record(field["type"]):
            continue  # ClickHouse has no nullable tuple; only settings have such fields, and Postgres answers for those
        type_ = _column_type(field["type"], field["name"], named)
        if field["name"] not in _WITHHELD and (not is_event or field.get("phi") == "none"):
            columns.append((str(field["name"]), type_, str(field.get("doc", ""))))
    return RawTable(table_name(record), record, is_event, tuple(columns), str(schema.get("doc", "")))


def _is_optional_record(type_: Any) -> bool:
    return isinstance(type_, list) and any(isinstance(b, dict) and b.get("type") == "record" for b in type_)


def _column_type(type_: Any, field: str, named: dict[str, Mapping[str, Any]]) -> str:
    if isinstance(type_, list):
        branches = [branch for branch in type_ if branch != "null"]
        if len(branches) != 1:
            raise TableError(f"{field}: a union of {len(branches)} types has no column type; use one type or null")
        inner = _column_type(branches[0], field, named)
        if inner.startswith(("Array", "Map", "Tuple")):
            raise TableError(f"{field}: null or {inner.split('(')[0].lower()} has no column type; default it to empty")
        if inner.startswith("LowCardinality("):
            return f"LowCardinality(Nullable({inner.removeprefix('LowCardinality(')[:-1]}))"
        return f"Nullable({inner})"
    if isinstance(type_, str):
        if type_ in _PRIMITIVE:
            return "LowCardinality(String)" if type_ == "string" and field in _LOW_CARDINALITY else _PRIMITIVE[type_]
        known = named.get(type_) or named.get(type_.rpartition(".")[2])
        if known is None:
            raise TableError(f"{field}: unknown type; define it before it is used")
        return _column_type(known, field, named)
    return _complex_type(type_, field, named)


def _complex_type(type_: Mapping[str, Any], field: str, named: dict[str, Mapping[str, Any]]) -> str:
    logical = type_.get("logicalType")
    if logical == "decimal":
        return f"Decimal({type_['precision']}, {type_.get('scale', 0)})"
    if logical in _LOGICAL:
        return _LOGICAL[logical]
    kind = type_["type"]
    if kind in ("enum", "record"):
        named[type_["name"]] = type_
    if kind == "enum":
        return "LowCardinality(String)"
    if kind == "array":
        return f"Array({_column_type(type_['items'], field, named)})"
    if kind == "map":
        return f"Map(String, {_column_type(type_['values'], field, named)})"
    if kind == "record":
        members = ", ".join(f"{m['name']} {_column_type(m['type'], m['name'], named)}" for m in type_["fields"])
        return f"Tuple({members})"
    if isinstance(kind, (dict, list)) or kind in _PRIMITIVE:
        return _column_type(kind, field, named)
    raise TableError(f"{field}: Avro type {kind!s:.20} has no column type; add it to connectors/clickhouse/tables.py")


def _comment(text: str) -> str:
    if not text:
        return ""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f" COMMENT '{escaped}'"


def statements(schemas: Iterator[Mapping[str, Any]]) -> Iterator[str]:
    """The whole raw layer: database, tables, columns that came later."""
    yield f"CREATE DATABASE IF NOT EXISTS {DATABASE}"
    yield UNREADABLE_DDL
    for schema in schemas:
        table = raw_table(schema)
        yield table.create()
        yield table.add_columns()
