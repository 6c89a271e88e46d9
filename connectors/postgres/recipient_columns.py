"""The columns of a recipients file: what each is called, and how its text becomes a value. Docs: docs/guarantees-postgres.md.

Columns of preferences are those of the schema, dotted: ``sms_opt_in.marketing``, ``quiet_hours.start``. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

import phonenumbers

from connectors.postgres.records import RECIPIENT_CONTENT
from schemas.definitions import Schema, definition, full_name, named_types

# Best first, second, third: more ways to reach one person than that no practice system keeps.
PLACES = 3
LIST_SEPARATOR = ";"
_TRUE = frozenset({"true", "yes", "y", "1", "t"})
_FALSE = frozenset({"false", "no", "n", "0", "f"})
# Set by us when something changes.
_OURS = frozenset({"updated_at", "updated_by"})


class ValueProblem(Exception):
    """A cell's text is none of its column's values; the message is the mend, without the text."""


Parse = Callable[[str], Any]


def boolean(text: str) -> bool:
    """true/false, yes/no, y/n, t/f, 1/0 in any case. Raises ValueProblem."""
    word = text.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueProblem("write true or false")


def day(text: str) -> date:
    """YYYY-MM-DD. Raises ValueProblem."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueProblem("write a date as YYYY-MM-DD") from None


def instant(text: str) -> datetime:
    """ISO 8601; without a zone it is UTC, a date alone its midnight. Raises ValueProblem."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueProblem("write a time as YYYY-MM-DDTHH:MM:SSZ") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def words(text: str) -> list[str]:
    """Parts between semicolons."""
    return [word.strip() for word in text.split(LIST_SEPARATOR) if word.strip()]


def phone(text: str, region: str | None) -> str:
    """E.164 of a number as people write it; ``region`` (ISO 3166) for those without a country. Raises ValueProblem."""
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        number = None
    if number is None or not phonenumbers.is_possible_number(number):
        raise ValueProblem("write a phone number as +<country><number>, or pass --region for numbers without a country")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


@cache
def preference_columns() -> Mapping[str, Parse]:
    """Dotted name → how its text is read, of every preference."""
    named = {full_name(node): node for node in named_types(definition(RECIPIENT_CONTENT))}
    columns = dict(_fields(named["luxe.pipeline.Preferences"], "", named))
    return columns | {name: _narrowed(columns[name], narrower) for name, narrower in _NARROWER.items()}


@cache
def consent_types() -> tuple[str, ...]:
    """The specification's six."""
    return _symbols("luxe.pipeline.ConsentType")


@cache
def consent_columns() -> Mapping[str, tuple[str, str, Parse]]:
    """``consent.<type>[.<what>]`` → type, field of the consent, how its text is read."""
    columns: dict[str, tuple[str, str, Parse]] = {}
    for consent_type in consent_types():
        base = f"consent.{consent_type}"
        columns[base] = (consent_type, "status", one_of(_symbols("luxe.pipeline.ConsentStatus")))
        columns[f"{base}.date"] = (consent_type, "consent_date", instant)
        columns[f"{base}.method"] = (consent_type, "method", one_of(_symbols("luxe.pipeline.ConsentMethod")))
        columns[f"{base}.source"] = (consent_type, "source", str)
        columns[f"{base}.expires_at"] = (consent_type, "expires_at", instant)
        columns[f"{base}.text_version"] = (consent_type, "text_version", str)
    return columns


# What a person's record holds at its top, beside lists of addresses.
PERSON_COLUMNS: Mapping[str, Parse] = {
    "first_name": str,
    "last_name": str,
    "preferred_name": str,
    "birthday": day,
    "time_zone": str,
    "locale": str,
}
ROW_COLUMNS = ("recipient_id", "kind", "clinic_id", "roles", "active")
ADDRESS_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "phone": ("", "_verified", "_label"),
    "email": ("", "_verified"),
    "device": ("_token", "_platform"),
}


def address_column(kind: str, place: int, part: str) -> str:
    """``phone``, ``phone_verified``, then ``phone_2``, ``phone_2_verified`` …; ``place`` from 1."""
    return f"{kind}{'' if place == 1 else f'_{place}'}{part}"


@cache
def known_columns() -> tuple[str, ...]:
    """Every column a file may have."""
    addresses = (
        address_column(kind, place, part)
        for kind, parts in ADDRESS_COLUMNS.items()
        for place in range(1, PLACES + 1)
        for part in parts
    )
    return (*ROW_COLUMNS, *PERSON_COLUMNS, *addresses, *preference_columns(), *consent_columns())


def one_of(symbols: tuple[str, ...]) -> Parse:
    """A parser of an enumeration, in any case."""

    def parse(text: str) -> str:
        word = text.lower()
        if word not in symbols:
            raise ValueProblem(f"write one of {', '.join(symbols)}")
        return word

    return parse


def platform() -> Parse:
    """A device's platform."""
    return one_of(_symbols("luxe.pipeline.Platform"))


@cache
def _symbols(name: str) -> tuple[str, ...]:
    for node in named_types(definition(RECIPIENT_CONTENT)):
        if full_name(node) == name:
            return tuple(node["symbols"])
    raise LookupError(name)


def _fields(record: Schema, prefix: str, named: Mapping[str, Schema]) -> list[tuple[str, Parse]]:
    columns: list[tuple[str, Parse]] = []
    for field in record["fields"]:
        if field["name"] in _OURS:
            continue
        node = field["type"]
        if isinstance(node, list):
            node = next(branch for branch in node if branch != "null")
        node = named.get(node, node) if isinstance(node, str) else node
        if isinstance(node, dict) and node["type"] == "record":
            columns += _fields(node, f"{prefix}{field['name']}.", named)
        else:
            columns.append((prefix + field["name"], _parse_as(node)))
    return columns


def _parse_as(node: Any) -> Parse:
    if isinstance(node, str):
        return _PRIMITIVES[node]
    if node["type"] == "enum":
        return one_of(tuple(node["symbols"]))
    if node["type"] == "array":
        item = _parse_as(node["items"])
        return lambda text: [item(word) for word in words(text)]
    return _LOGICAL[node["logicalType"]]


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueProblem("write a whole number") from None


def _narrowed(parse: Parse, check: Callable[[list[Any]], str | None]) -> Parse:
    def narrowed(text: str) -> list[Any]:
        values = list(dict.fromkeys(parse(text)))
        if (mend := check(values)) is not None:
            raise ValueProblem(mend)
        return values

    return narrowed


# A type, a category, or `critical`, as the catalogue writes them.
EXCEPTION = re.compile(r"[a-z][a-z0-9_]{0,63}")
MAX_EXCEPTIONS = 50

# What the schema cannot say of lists. Each: the mend where a value is none; None: all are.
_NARROWER: Mapping[str, Callable[[list[Any]], str | None]] = {
    "quiet_hours.weekdays": lambda days: (
        None if set(days) <= set(range(1, 8)) else "write weekdays as 1 (Monday) to 7 (Sunday)"
    ),
    "quiet_hours.exceptions": lambda names: (
        None
        if len(names) <= MAX_EXCEPTIONS and all(map(EXCEPTION.fullmatch, names))
        else f"name at most {MAX_EXCEPTIONS} notification types or categories, as `luxe catalog list` writes them"
    ),
    "channel_order": lambda _: None,
    "digest_categories": lambda _: None,
}
_PRIMITIVES: Mapping[str, Parse] = {"boolean": boolean, "string": str, "int": _integer}
_LOGICAL: Mapping[str, Parse] = {"timestamp-millis": instant, "date": day}
