"""Asking by hand: which types may be asked for, what a type's data must hold, and what the pipeline will make of it. Pure.

The other part of ``streams`` that the API may import, beside what_if (see pyproject.toml): catalogue and mapping, no runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, NamedTuple

from schemas.definitions import definition
from schemas.events import EVENT_TYPES
from schemas.formats import FORMATS, MENDS
from schemas.shapes import Violation, shape_of
from streams.catalog_model import NotificationType
from streams.render.variables import VariableType, event_fields, is_from_data
from streams.rules.event_fields import names_of
from streams.rules.local_time import ALWAYS_OPEN_IN_UTC
from streams.rules.mapping import EventMapping
from streams.rules.slots import Times
from streams.what_if import catalog

REQUESTED = "notification.requested"
CANCELLED = "notification.cancelled"
# Larger sums and counts are mistakes, and would be written out digit by digit.
_LARGEST_NUMBER = Decimal(10) ** 15


class Field(NamedTuple):
    """One field of a type's data. ``required``: every event that calls for the type has it."""

    type: VariableType
    required: bool


class Expected(NamedTuple):
    """What intake will make of an event: the notification's id and type."""

    notification_id: str
    notification_type: str


def type_named(name: str) -> NotificationType | None:
    """A type that may be asked for by name; None: there is none, or it is only ever sent of itself."""
    kind = catalog().types.get(name)
    return kind if kind is not None and _events_of(kind) and not kind.answers else None


def is_marketing(name: str) -> bool:
    """Whether a type is marketing; one that the catalogue no longer has is not."""
    kind = catalog().types.get(name)
    return kind is not None and kind.consent_scope == "marketing"


def fields_of(kind: NotificationType, variables: Sequence[Mapping[str, Any]]) -> dict[str, Field] | None:
    """What ``data`` may hold for a type. ``variables``: what its templates declare (records of luxe.pipeline.Template).

    None: it cannot be told by name. Its texts say the words of its own event where a request's own title and message, which are
    level 3, must not stand; no channel could be written.
    """
    record = EVENT_TYPES[REQUESTED].record
    own = event_fields(record)
    if any(one["name"] in own and one["level"] < own[one["name"]][1] for one in variables):
        return None
    return {
        one["name"]: Field(one["type"], all(_always_has(event, one["name"]) for event in _events_of(kind)))
        for one in variables
        if is_from_data(one["name"], record)
    }


def data_faults(fields: Mapping[str, Field], data: Mapping[str, str]) -> Iterator[Violation]:
    """What is wrong with a type's data: names it does not have, fields that are missing, values that cannot be read."""
    for name in data.keys() - fields.keys():
        known = ", ".join(sorted(fields)) or "none"
        yield Violation("data", f"a name of {len(name)} characters that the type does not have", f"its fields: {known}")
    for name, field in sorted(fields.items()):
        given = data.get(name, "")
        if not given.strip():
            if field.required:
                yield Violation(f"data.{name}", "missing", f"send a {field.type}; the type cannot be written without")
        elif (mend := _mend(field.type, given)) is not None:
            yield Violation(f"data.{name}", shape_of(given), mend)


def expected(event: Mapping[str, Any], now: datetime) -> Expected | None:
    """What the pipeline itself will make of this ``notification.requested``; None: nothing, its time is over.

    Raises MappingError: it names a type that does not exist, or is not for such a recipient.
    """
    times = Times(now, int(now.timestamp() * 1000))
    requests = _mapping().map(event, None, _NoRoster(), times, ALWAYS_OPEN_IN_UTC).requests
    return Expected(requests[0]["notification_id"], requests[0]["notification_type"]) if requests else None


class _NoRoster:
    """Nobody: such an event names its recipient itself."""

    def staff_of(self, clinic_id: str, role: str) -> tuple[str, ...]:
        return ()


@cache
def _mapping() -> EventMapping:
    return EventMapping(REQUESTED, catalog())


def _events_of(kind: NotificationType) -> list[str]:
    """Records of the events that call for it of themselves."""
    return [EVENT_TYPES[one.event].record for one in kind.triggers if one.event != REQUESTED]


@cache
def _always_has(record: str, name: str) -> bool:
    """Whether an event has this variable whenever it comes: some field for it that is neither null nor left out."""
    return any(
        column["name"] in names_of(name) and not isinstance(column["type"], list) and "default" not in column
        for column in definition(record)["fields"]
    )


def _mend(kind: VariableType, text: str) -> str | None:
    """What to send instead of this text; None: it can be read."""
    can_be_read = _CAN_BE_READ.get(kind)
    try:
        return None if can_be_read is None or can_be_read(text) else _MENDS[kind]
    except (ValueError, InvalidOperation, OverflowError):
        return _MENDS[kind]


def _is_number(text: str) -> bool:
    number = Decimal(text)
    return number.is_finite() and abs(number) < _LARGEST_NUMBER


# Readers raise for what they cannot read.
_CAN_BE_READ: Mapping[VariableType, Callable[[str], bool]] = {
    "date": lambda text: date.fromisoformat(text).isoformat() == text,
    "datetime": lambda text: datetime.fromisoformat(text).tzinfo is not None,
    "number": _is_number,
    "money": _is_number,
    "time": FORMATS["hh:mm"],
    "boolean": ("true", "false").__contains__,
    "url": lambda text: text.startswith("https://") and not any(character.isspace() for character in text),
}
_MENDS: Mapping[VariableType, str] = {
    "date": "send a date as YYYY-MM-DD",
    "datetime": "send a time as YYYY-MM-DDTHH:MM:SSZ, with its zone",
    "number": "send a number below 10^15, its decimals after a point",
    "money": "send an amount below 10^15, its decimals after a point",
    "time": MENDS["hh:mm"],
    "boolean": "send true or false",
    "url": "send an address that begins with https://",
}
