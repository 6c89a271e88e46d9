"""Every record contract of ours, read from the committed ``.avsc`` files: texts, versions, subjects, fingerprints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from schemas.topics import TOPICS, event_topic

Schema = dict[str, Any]

ROOT = Path(__file__).parent
AVRO_ROOT = ROOT / "avro"
HISTORY_ROOT = AVRO_ROOT / "history"

# What changes how bytes are read. Documentation, PHI classes and value constraints are not among them: they may be mended
# without a new version.
_READ_KEYS = (
    "logicalType",
    "precision",
    "scale",
    "size",
    "symbols",
    "default",
    "aliases",
)
_NAMED = ("record", "enum", "fixed")


class UnknownRecordError(LookupError):
    """No committed schema has this full name."""


@cache
def definitions() -> dict[str, Schema]:
    """Full record name → its current schema, events first, each group by name."""
    found: dict[str, Schema] = {}
    for group in ("events", "pipeline"):
        for path in sorted((AVRO_ROOT / group).glob("*.avsc")):
            schema = json.loads(path.read_text(encoding="utf-8"))
            found[f"{schema['namespace']}.{schema['name']}"] = schema
    return found


def definition(name: str) -> Schema:
    """The current schema of a record. Raises UnknownRecordError."""
    try:
        return definitions()[name]
    except KeyError:
        raise UnknownRecordError(f"no record {name!r} under schemas/avro; `luxe schemas list` shows them") from None


@cache
def event_types() -> dict[str, str]:
    """Event type → full record name; a file's name is its event type."""
    found = {}
    for path in sorted((AVRO_ROOT / "events").glob("*.avsc")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        found[path.stem] = f"{schema['namespace']}.{schema['name']}"
    return found


@cache
def topics_of(name: str) -> tuple[str, ...]:
    """Topics that carry a record; empty for records that only travel inside others or in state."""
    for event_type, record in event_types().items():
        if record == name:
            return (event_topic(event_type),)
    return tuple(topic.name for topic in TOPICS if name in topic.records)


def subject(topic: str, name: str) -> str:
    """Registry subject (TopicRecordName); a record without a topic (``""``) stands under its own name."""
    return f"{topic}-{name}" if topic else name


def subjects() -> dict[str, str]:
    """Every subject → the full name of its record."""
    return {subject(topic, name): name for name in definitions() for topic in topics_of(name) or ("",)}


def versions(name: str, history: Path = HISTORY_ROOT) -> list[Schema]:
    """All versions of a record, oldest first, the current one last.

    Older ones lie in ``history/<full name>/<n>.avsc``, n from 1 without a gap. Raises ValueError on a gap.
    """
    files = sorted((history / name).glob("*.avsc"), key=lambda path: int(path.stem))
    numbers = [int(path.stem) for path in files]
    if numbers != list(range(1, len(files) + 1)):
        raise ValueError(f"{name}: history holds versions {numbers}; they must be 1..n without a gap")
    return [json.loads(path.read_text(encoding="utf-8")) for path in files] + [definition(name)]


def _canonical(node: Any, namespace: str) -> Any:
    if isinstance(node, list):
        return [_canonical(branch, namespace) for branch in node]
    if isinstance(node, str):
        return _full_name(node, namespace)
    kind = node["type"]
    if kind == "array":
        return {"type": kind, "items": _canonical(node["items"], namespace)}
    if kind == "map":
        return {"type": kind, "values": _canonical(node["values"], namespace)}
    kept = {key: node[key] for key in _READ_KEYS if key in node}
    if kind in _NAMED:
        namespace = node.get("namespace", namespace)
        kept["name"] = _full_name(node["name"], namespace)
        if kind == "record":
            kept["fields"] = [
                {key: field[key] for key in ("name", "default", "aliases") if key in field}
                | {"type": _canonical(field["type"], namespace)}
                for field in node["fields"]
            ]
    return kept | {"type": _canonical(kind, namespace) if isinstance(kind, dict | list) else kind}


_PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


def _full_name(name: str, namespace: str) -> str:
    return name if name in _PRIMITIVES or "." in name or not namespace else f"{namespace}.{name}"


def canonical(schema: Schema) -> str:
    """The part of a schema that decides how bytes are read, as one spelling.

    Avro's parsing canonical form, and on top of it logical types, defaults and aliases, which resolve older versions.
    """
    return json.dumps(
        _canonical(schema, schema.get("namespace", "")), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )


def fingerprint(schema: Schema) -> str:
    """SHA-256 of the canonical form, in hex."""
    return hashlib.sha256(canonical(schema).encode()).hexdigest()


def named_types(schema: Any) -> Iterator[Schema]:
    """Every record, enum and fixed defined in a schema, itself included, outermost first."""
    if isinstance(schema, list):
        for branch in schema:
            yield from named_types(branch)
    elif isinstance(schema, dict):
        if schema["type"] in _NAMED:
            yield schema
        for field in schema.get("fields", ()):
            yield from named_types(field["type"])
        for inner in ("items", "values"):
            if inner in schema:
                yield from named_types(schema[inner])


def full_name(schema: Schema) -> str:
    """Full name of a named type, which must carry its own namespace or a dotted name."""
    return _full_name(schema["name"], schema.get("namespace", ""))


def is_recursive(schema: Schema) -> bool:
    """Whether a type contains itself; none of ours does, and bytes from a stranger could then nest without end."""

    def contains(node: Any, namespace: str, open_names: frozenset[str]) -> bool:
        if isinstance(node, str):
            return _full_name(node, namespace) in open_names
        if isinstance(node, list):
            return any(contains(branch, namespace, open_names) for branch in node)
        if node["type"] == "record":
            namespace = node.get("namespace", namespace)
            inside = open_names | {_full_name(node["name"], namespace)}
            return any(contains(field["type"], namespace, inside) for field in node["fields"])
        return any(contains(node[key], namespace, open_names) for key in ("items", "values") if key in node)

    return contains(schema, schema.get("namespace", ""), frozenset())
