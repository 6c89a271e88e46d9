"""A pydantic model of one of our record contracts, so that what is served and what is stored cannot drift apart."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Annotated, Any, Literal, Optional

from pydantic import BaseModel, Field, create_model
from pydantic.alias_generators import to_camel

from api.preference_model import Instant, Strict
from schemas.definitions import Schema, definition, full_name, named_types

_PRIMITIVES: dict[str, Any] = {
    "string": str,
    "boolean": bool,
    "int": Annotated[int, Field(ge=-(2**31), lt=2**31)],
    "long": Annotated[int, Field(ge=-(2**63), lt=2**63)],
    "double": float,
}
_LOGICAL: dict[str, Any] = {
    "date": Annotated[date, Field(strict=False)],
    "timestamp-millis": Instant,
}
# Longer than any text of a clinic's, more than it lists of anything.
MAX_TEXT = 2_000
MAX_ITEMS = 500


def model_of(record: str, name: str, *, without: Collection[str] = ()) -> type[BaseModel]:
    """The record's fields in camelCase, but for ``without``."""
    schema = definition(record)
    return _record(schema, name, frozenset(without), {full_name(node): node for node in named_types(schema)})


def _record(schema: Schema, name: str, without: frozenset[str], named: dict[str, Schema]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        field["name"]: (_type(field["type"], named), _field(field))
        for field in schema["fields"]
        if field["name"] not in without
    }
    return create_model(name, __base__=Strict, __doc__=schema.get("doc") or name, **fields)


def _field(field: Schema) -> Any:
    told: dict[str, Any] = {"description": field["doc"]} if field.get("doc") else {}
    for ours, theirs in (("min", "ge"), ("max", "le")):
        if ours in field:
            told[theirs] = field[ours]
    return Field(field["default"], **told) if "default" in field else Field(**told)


def _type(node: Any, named: dict[str, Schema]) -> Any:
    if isinstance(node, list):
        inner = _type(next(branch for branch in node if branch != "null"), named)
        return Optional[inner]  # noqa: UP045 — a type made at run time
    if isinstance(node, str):
        if node == "string":
            return Annotated[str, Field(max_length=MAX_TEXT)]
        return _PRIMITIVES[node] if node in _PRIMITIVES else _type(named[node], named)
    if "logicalType" in node:
        return _LOGICAL[node["logicalType"]]
    match node["type"]:
        case "enum":
            return Literal[tuple(node["symbols"])]
        case "array":
            return Annotated[list[_type(node["items"], named)], Field(max_length=MAX_ITEMS)]  # type: ignore[misc]
        case "map":
            return Annotated[dict[str, _type(node["values"], named)], Field(max_length=MAX_ITEMS)]  # type: ignore[misc]
        case "record":
            return _record(node, node["name"], frozenset(), named)
        case kind:
            return _type(kind, named)


def served_path(path: str) -> str:
    """A field's path in a record as it is served: snake_case steps in camelCase."""
    return ".".join(to_camel(step) for step in path.split("."))
