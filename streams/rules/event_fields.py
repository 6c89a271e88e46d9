"""What an event's fields are, as its schema says it: which can be a moment, an id, a list of people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from schemas.definitions import definition

FieldKind = Literal["instant", "date", "text", "texts", "number", "boolean", "other"]

_PRIMITIVES: dict[str, FieldKind] = {
    "string": "text",
    "int": "number",
    "long": "number",
    "float": "number",
    "double": "number",
    "boolean": "boolean",
}
_LOGICAL: dict[str, FieldKind] = {"timestamp-millis": "instant", "date": "date", "decimal": "number"}

# Under which names events say the same thing, best first.
SAME_AS: Mapping[str, tuple[str, ...]] = {
    "appointment_date": ("appointment_date", "new_date", "scheduled_date", "date"),
    "appointment_time": ("appointment_time", "new_time", "scheduled_time", "time"),
}


def names_of(name: str) -> tuple[str, ...]:
    """Under which names an event may carry what is called so in texts."""
    return SAME_AS.get(name, (name,))


@dataclass(frozen=True, slots=True)
class EventField:
    """One field: its kind, whether it may be null, its PHI class, its form (``hh:mm``, ``uuid``) and, of an enum, its words."""

    kind: FieldKind
    nullable: bool
    phi: str
    form: str
    symbols: tuple[str, ...] = ()


@cache
def event_fields(record: str) -> dict[str, EventField]:
    """Every field of an event's record, by name, in the schema's order. Raises UnknownRecordError."""
    return {field["name"]: _field(field) for field in definition(record)["fields"]}


def _field(field: dict[str, Any]) -> EventField:
    branches = field["type"] if isinstance(field["type"], list) else [field["type"]]
    held = next(branch for branch in branches if branch != "null")
    kind, symbols = _kind(held)
    return EventField(kind, "null" in branches, field["phi"], field.get("format", ""), symbols)


def _kind(held: Any) -> tuple[FieldKind, tuple[str, ...]]:
    if isinstance(held, str):
        return _PRIMITIVES.get(held, "other"), ()
    if "logicalType" in held:
        return _LOGICAL.get(held["logicalType"], "other"), ()
    if held["type"] == "enum":
        return "text", tuple(held["symbols"])
    if held["type"] == "array" and held["items"] == "string":
        return "texts", ()
    return _PRIMITIVES.get(held["type"], "other"), ()
