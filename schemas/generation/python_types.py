"""Avro types spelled as Python annotations, and the wrapping of long ones, as ruff's formatter leaves them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

LINE_LENGTH = 120

_PRIMITIVE = {
    "null": "None",
    "string": "str",
    "bytes": "bytes",
    "boolean": "bool",
    "int": "int",
    "long": "int",
    "float": "float",
    "double": "float",
}


def annotation(node: Any, aware_datetime: str) -> str:
    """Python annotation of an Avro type; named types by their bare name. ``aware_datetime`` is how an instant is spelled."""
    if isinstance(node, list):
        others = [annotation(branch, aware_datetime) for branch in node if branch != "null"]
        return " | ".join(others + (["None"] if "null" in node else []))
    if isinstance(node, str):
        return _PRIMITIVE.get(node) or node.rsplit(".", 1)[-1]
    match node.get("logicalType"):
        case "timestamp-millis":
            return aware_datetime
        case "date":
            return "dt.date"
        case "decimal":
            return "Decimal"
    match node["type"]:
        case "array":
            return f"list[{annotation(node['items'], aware_datetime)}]"
        case "map":
            return f"dict[str, {annotation(node['values'], aware_datetime)}]"
        case "record" | "enum":
            return str(node["name"])
        case primitive:
            return _PRIMITIVE[primitive]


def literal(name: str, symbols: Iterable[str]) -> list[str]:
    """``Name = Literal[...]``, wrapped one symbol a line where it is too long."""
    quoted = [f'"{symbol}"' for symbol in symbols]
    line = f"{name} = Literal[{', '.join(quoted)}]"
    if len(line) <= LINE_LENGTH:
        return [line]
    return [f"{name} = Literal[", *(f"    {symbol}," for symbol in quoted), "]"]


def docstring(text: str) -> str:
    """A class's one-line docstring: the whole text where a line holds it, its first clause otherwise."""
    whole = f'    """{text.rstrip(".")}."""'
    if len(whole) <= LINE_LENGTH:
        return whole
    return f'    """{re.split(r"[.;] ", text, maxsplit=1)[0]}."""'
