"""Whether versions of a record can stand beside each other, by Apache Avro's own rules.

Events: FULL_TRANSITIVE, as producers and consumers deploy in any order. Pipeline: BACKWARD_TRANSITIVE, as we deploy both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import combinations
from typing import Any, Literal

from schemas.definitions import Schema

Level = Literal["FULL_TRANSITIVE", "BACKWARD_TRANSITIVE"]

_LOGICAL_KEYS = ("logicalType", "precision", "scale")


def level_for(name: str) -> Level:
    """The compatibility a record's versions must keep."""
    return "FULL_TRANSITIVE" if name.startswith("luxe.events.") else "BACKWARD_TRANSITIVE"


def incompatibilities(texts: Sequence[Schema], level: Level) -> list[str]:
    """What keeps versions (oldest first) from reading each other, a line each; empty where all is well.

    Needs the ``avro`` package of the development extra. Raises ModuleNotFoundError without it.
    """
    found = []
    for (old, older_text), (new, newer_text) in combinations(enumerate(texts, start=1), 2):
        found += [f"version {new} cannot read version {old}: {line}" for line in _cannot_read(newer_text, older_text)]
        if level == "FULL_TRANSITIVE":
            found += [
                f"version {old} cannot read version {new}: {line}" for line in _cannot_read(older_text, newer_text)
            ]
    return found


def _cannot_read(reader: Schema, writer: Schema) -> list[str]:
    # Imported here: only checks need it, services do not ship it. By name: it has no types.
    rules, parser = import_module("avro.compatibility"), import_module("avro.schema")
    result = rules.ReaderWriterCompatibilityChecker().get_compatibility(
        reader=parser.parse(json.dumps(reader)), writer=parser.parse(json.dumps(writer))
    )
    lines = []
    if result.compatibility is not rules.SchemaCompatibilityType.compatible:
        lines = sorted(f"{message} at {'/'.join(result.locations)}" for message in result.messages)
    return lines + list(_logical_changes(reader, writer, ""))


def _logical_changes(reader: Any, writer: Any, path: str) -> Iterator[str]:
    """Changes of logical type, which Avro's rules do not look at: 5 days read as 5 milliseconds are no error to them."""
    reader, writer = _without_null(reader), _without_null(writer)
    for key in _LOGICAL_KEYS:
        ours, theirs = _attribute(reader, key), _attribute(writer, key)
        if ours != theirs:
            yield f"{key} is {ours} for the reader but {theirs} for the writer at {path or '/'}"
    if not isinstance(reader, dict) or not isinstance(writer, dict):
        return
    for inner in ("items", "values"):
        if inner in reader and inner in writer:
            yield from _logical_changes(reader[inner], writer[inner], f"{path}/{inner}")
    written = {field["name"]: field["type"] for field in writer.get("fields", ())}
    for field in reader.get("fields", ()):
        if field["name"] in written:
            yield from _logical_changes(field["type"], written[field["name"]], f"{path}/{field['name']}")


def _without_null(node: Any) -> Any:
    if isinstance(node, list):
        return next((branch for branch in node if branch != "null"), "null")
    return node


def _attribute(node: Any, key: str) -> Any:
    return node.get(key) if isinstance(node, dict) else None
