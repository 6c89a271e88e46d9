"""PHI as the schemas declare it: the class of every field, and the lowest surface it may be shown on.

Classes: ``none``, ``identifier`` (who), ``contact`` (how to reach), ``indirect`` (may imply a condition), ``direct`` (says it).
Levels: 1 SMS, email subject, push preview; 2 email body, in-app list; 3 portal, behind sign-in. Source: the specification's
"Protected Health Information Guidelines" and "Notification Content Strategy".
"""

from __future__ import annotations

from functools import cache
from typing import Literal, NamedTuple, cast, get_args

from schemas.definitions import definition

PhiClass = Literal["none", "identifier", "contact", "indirect", "direct"]
Level = Literal[1, 2, 3]

CLASSES: tuple[PhiClass, ...] = get_args(PhiClass)
LEVELS: tuple[Level, ...] = get_args(Level)

PUBLIC: Level = 1
AUTHENTICATED: Level = 2
PORTAL: Level = 3


class FieldPhi(NamedTuple):
    """What one field may tell, and the lowest level it may be shown at."""

    phi: PhiClass
    level: Level


def default_level(phi: PhiClass) -> Level:
    """Level of a field that declares none: what says nothing may be shown anywhere, all else behind sign-in only."""
    return PUBLIC if phi == "none" else PORTAL


@cache
def fields(name: str) -> dict[str, FieldPhi]:
    """Top-level field → its class and level, in the schema's order. Raises UnknownRecordError."""
    return {
        field["name"]: FieldPhi(
            cast("PhiClass", field["phi"]), cast("Level", field.get("level", default_level(field["phi"])))
        )
        for field in definition(name)["fields"]
    }


def _field(name: str, field: str) -> FieldPhi:
    try:
        return fields(name)[field]
    except KeyError:
        raise LookupError(f"record {name} has no field {field!r}; see docs/schema-reference.md") from None


def class_of(name: str, field: str) -> PhiClass:
    """PHI class of a record's field. Raises LookupError."""
    return _field(name, field).phi


def level_of(name: str, field: str) -> Level:
    """Lowest level a record's field may be shown at. Raises LookupError."""
    return _field(name, field).level


@cache
def clear_fields(name: str) -> tuple[str, ...]:
    """Fields of class ``none``: those that may lie in clear, e.g. in ClickHouse."""
    return tuple(field for field, declared in fields(name).items() if declared.phi == "none")
