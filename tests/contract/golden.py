"""Golden records: one example of each record, committed as readable JSON and as the bytes it is on the wire, in hex.

They hold our encoding still: a change of these bytes is a change of what lies in topics already.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from schemas.definitions import Schema, definition, full_name, named_types

FOLDER = Path(__file__).parent / "golden_records"


def golden_value(name: str) -> dict[str, Any]:
    """The example of a record as the codec takes it."""
    text = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    schema = definition(name)
    value = _value(schema, text, {full_name(node): node for node in named_types(schema)})
    assert isinstance(value, dict)
    return value


def golden_bytes(name: str) -> bytes:
    """The example on the wire, header included; the body alone for rows of our own state."""
    return bytes.fromhex((FOLDER / f"{name}.bin").read_text(encoding="ascii"))


def older_bytes() -> dict[str, bytes]:
    """What was sealed before it named its schema, a body alone: record → its example then, of the schema's first version."""
    return {path.stem: bytes.fromhex(path.read_text(encoding="ascii")) for path in (FOLDER / "older").glob("*.bin")}


def _value(node: Any, text: Any, named: Mapping[str, Schema]) -> Any:
    """A value from its JSON spelling: instants and days in ISO 8601, decimals as strings, bytes in base64."""
    if isinstance(node, list):
        return None if text is None else _value(next(branch for branch in node if branch != "null"), text, named)
    if isinstance(node, str) and node in named:
        node = named[node]
    kind = node if isinstance(node, str) else node.get("logicalType") or node["type"]
    match kind:
        case "timestamp-millis":
            return dt.datetime.fromisoformat(text)
        case "date":
            return dt.date.fromisoformat(text)
        case "decimal":
            return Decimal(text)
        case "bytes":
            return base64.b64decode(text, validate=True)
        case "array":
            return [_value(node["items"], item, named) for item in text]
        case "map":
            return {key: _value(node["values"], item, named) for key, item in text.items()}
        case "record":
            return {field["name"]: _value(field["type"], text[field["name"]], named) for field in node["fields"]}
        case _:
            return text
