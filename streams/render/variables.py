"""Variables: what a template may say, at which level, and how each value is found and written for a locale.

A name is one of the table below or a field of the event. Resolvers are bound once for each (name, event record); at rendering
only those are called that the template uses, and what one channel's text computed the next one takes over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

from connectors.short_links.targets import hosts_of, may_lead_to
from schemas.definitions import definition
from schemas.phi import level_of
from streams.render import formats
from streams.rules.event_fields import SAME_AS, names_of
from streams.rules.person import Person

VariableType = Literal["string", "number", "date", "time", "datetime", "money", "boolean", "url"]


@dataclass(slots=True, repr=False)
class Facts:
    """What one notification's variables are made from. ``clinic``: a ClinicPolicy record. Zone and locale: the recipient's."""

    event: Mapping[str, Any]
    person: Person
    clinic: Mapping[str, Any]
    reference: str
    locale: str
    zone: str
    unsubscribe: Callable[[], str] = str  # the link of this message's email; ``str()``: it has none
    made: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Facts of {len(self.event)} fields, {len(self.made)} made>"


Resolver: TypeAlias = Callable[[Facts], Any]


class Variable(NamedTuple):
    """A name's type, lowest surface, and meaning."""

    type: VariableType
    level: int
    description: str
    example: str


KNOWN: Mapping[str, Variable] = {
    "first_name": Variable("string", 1, "The recipient's first name; empty if unknown.", "Sarah"),
    "preferred_name": Variable("string", 1, "What the recipient likes to be called, else the first name.", "Sarah"),
    "clinic_name": Variable("string", 1, "The clinic's name.", "Luxe Medical Spa"),
    "clinic_phone": Variable("string", 1, "The clinic's telephone number.", "(555) 010-0100"),
    "clinic_email": Variable("string", 1, "The clinic's email address.", "care@luxe.example"),
    "clinic_address": Variable("string", 1, "The clinic's street address.", "1 Main Street"),
    "clinic_website": Variable("url", 1, "The clinic's website.", "https://luxe.example"),
    "portal_url": Variable("url", 1, "The patient portal.", "https://portal.luxe.example"),
    "booking_url": Variable("url", 1, "Where appointments are booked.", "https://luxe.example/book"),
    "privacy_url": Variable("url", 1, "The privacy notice.", "https://luxe.example/privacy"),
    "logo_url": Variable("url", 1, "The clinic's logo.", "https://luxe.example/logo.png"),
    "unsubscribe_url": Variable("url", 1, "One-click unsubscribe; empty where there is none.", ""),
    "image_url": Variable("url", 1, "The campaign's picture; empty where it has none on the clinic's hosts.", ""),
    "code": Variable("string", 1, "The code that verifies an address; empty in other texts.", "480213"),
    "digest_count": Variable("number", 1, "How many things a digest tells; empty in other texts.", "3"),
    "digest_items": Variable("string", 1, "What a digest tells, a line each; empty in other texts.", "- Your points"),
    "appointment_date": Variable("date", 1, "Day of the appointment.", "Dec 24, 2026"),
    "appointment_time": Variable("time", 1, "Time of the appointment, at the clinic.", "2:00 PM"),
    "reference": Variable("string", 1, "Reference number of what it is about.", "A-1001"),
    "service_generic": Variable("string", 2, "The clinic's general word for the service.", "cosmetic treatment"),
}

_CLINIC_FIELDS = {
    "clinic_name": "name", "clinic_phone": "phone", "clinic_email": "email", "clinic_address": "address",
    "clinic_website": "website", "portal_url": "portal_url", "booking_url": "booking_url",
    "privacy_url": "privacy_url", "logo_url": "logo_url",
}  # fmt: skip

# Events made by the API for any type: what its template says lies in their map ``data``.
RECORDS_WITH_DATA = frozenset({"luxe.events.NotificationRequested"})


@cache  # one entry an event record
def event_fields(record: str) -> Mapping[str, tuple[VariableType, int]]:
    """The fields of an event record that a template may use: name → type and level. Lists are strings, joined by commas."""
    schema = definition(record)["fields"]
    # A decimal is money where the event names its currency; else it counts something (membership credits).
    decimal: VariableType = "money" if any(column["name"] == "currency" for column in schema) else "number"
    found: dict[str, tuple[VariableType, int]] = {}
    for column in schema:
        kind = _type_of(column, decimal)
        if kind is not None:
            found[column["name"]] = kind, level_of(record, column["name"])
    return found


def _type_of(column: Mapping[str, Any], decimal: VariableType) -> VariableType | None:
    kind: Any = column["type"]
    if isinstance(kind, list):
        kind = next(branch for branch in kind if branch != "null")
    logical = kind.get("logicalType") if isinstance(kind, dict) else None
    name = kind if isinstance(kind, str) else kind["type"]
    match logical or name:
        case "date":
            return "date"
        case "timestamp-millis":
            return "datetime"
        case "decimal":
            return decimal
        case "boolean":
            return "boolean"
        case "int" | "long" | "float" | "double":
            return "number"
        case "string" | "enum" | "array":
            if column.get("format") == "hh:mm":
                return "time"
            return "url" if column["name"].endswith("_url") or column["name"] == "url" else "string"
    return None


def declared(name: str, record: str) -> Variable | None:
    """Type and level of a name in templates that an event of this record uses; None: there is no such name.

    A known name that is also a field is shown on the higher of both levels only.
    """
    known, of_event = KNOWN.get(name), event_fields(record).get(name)
    if of_event is None:
        return known
    kind, level = of_event
    if known is not None:
        return known._replace(level=max(known.level, level)) if name not in _CLINIC_FIELDS else known
    return Variable(kind, level, f"The event's {name}.", "")


def is_from_data(name: str, record: str) -> bool:
    """Whether such an event carries this variable in its map ``data``."""
    known = name in _CLINIC_FIELDS or name in _COMPUTED or not event_fields(record).keys().isdisjoint(names_of(name))
    return record in RECORDS_WITH_DATA and not known


@lru_cache(maxsize=16_384)  # names × event records
def resolver(name: str, record: str, kind: VariableType) -> Resolver:
    """How to find a name's value in the facts of an event of this record, written for the recipient. Raises LookupError.

    ``kind``: the type that the template declares, for values that come as texts in a ``data`` map.
    """
    fields = event_fields(record)
    for candidate in SAME_AS.get(name, ()):
        if candidate in fields:
            return _of_event(candidate, fields[candidate][0])
    if name in _CLINIC_FIELDS:
        own = _of_event(name, "url") if name in fields else None
        return _of_clinic(_CLINIC_FIELDS[name], _WRITERS[KNOWN[name].type], own)
    if name in _COMPUTED:
        return _COMPUTED[name]
    if name in fields:
        return _of_event(name, fields[name][0])
    if record in RECORDS_WITH_DATA:
        return _of_data(name, kind)
    if name in KNOWN:
        return _absent
    raise LookupError(f"there is no variable {name}: not one that every template has, nor a field of {record}")


def value(name: str, resolve: Resolver, facts: Facts) -> Any:
    """The value, made at most once for a notification."""
    made = facts.made
    if name in made:
        return made[name]
    found = made[name] = resolve(facts)
    return found


def _absent(_: Facts) -> str:
    return ""


def _first_name(facts: Facts) -> str:
    return facts.person.first_name or ""


def _unsubscribe_url(facts: Facts) -> str:
    return facts.unsubscribe()


def unsubscribe_url(facts: Facts) -> str:
    """The link of this message's email, the same as in its text; empty where there is none."""
    url: str = value("unsubscribe_url", _unsubscribe_url, facts)
    return url


def _reference(facts: Facts) -> str:
    return facts.reference


def image_url(facts: Facts) -> str:
    """The campaign's public picture, the same as in its email; empty where it has none, or one on another's host."""
    url: str = value("image_url", _image_url, facts)
    return url


def _image_url(facts: Facts) -> str:
    # Whoever serves a picture learns who looked at the message: the clinic itself, and those that it named.
    url = facts.event.get("image_url") or ""
    return url if url and may_lead_to(url, hosts_of(facts.clinic)) else ""


def _service_generic(facts: Facts) -> str:
    clinic = facts.clinic
    generic: str = clinic["service_names"].get(facts.event.get("service") or "", clinic["generic_service_name"])
    return generic


_COMPUTED: Mapping[str, Resolver] = {
    "first_name": _first_name,
    "preferred_name": _first_name,
    "reference": _reference,
    "unsubscribe_url": _unsubscribe_url,
    "image_url": _image_url,
    "service_generic": _service_generic,
}


def _of_clinic(policy_field: str, write: Callable[[Any, Facts], Any], own: Resolver | None) -> Resolver:
    """From the clinic's policy; an event's own link stands before it."""

    def resolve(facts: Facts) -> Any:
        return (own(facts) if own is not None else "") or write(facts.clinic[policy_field] or "", facts)

    return resolve


def _of_event(name: str, kind: VariableType) -> Resolver:
    write = _WRITERS[kind]

    def resolve(facts: Facts) -> Any:
        found = facts.event.get(name)
        return "" if found is None else write(found, facts)

    return resolve


def _of_data(name: str, kind: VariableType) -> Resolver:
    """From the map in which ``notification.requested`` carries the variables of the type that it names."""
    read, write = _READERS.get(kind, str), _WRITERS[kind]

    def resolve(facts: Facts) -> Any:
        found = facts.event["data"].get(name)
        return write(read(found), facts) if found else ""

    return resolve


def _write_string(found: Any, _: Facts) -> str:
    return ", ".join(found) if isinstance(found, list) else str(found)


def _write_url(found: str, _: Facts) -> str:
    return found if found.startswith(("https://", "http://")) else ""


def _write_date(found: date, facts: Facts) -> str:
    return formats.day(found, facts.locale)


def _write_time(found: str, facts: Facts) -> str:
    # The clinic's wall clock, as it was said: that is where the appointment is, wherever the recipient may be.
    return formats.clock(found, facts.locale)


def _write_instant(found: datetime, facts: Facts) -> str:
    return formats.instant(found, facts.zone, facts.locale)


def _write_number(found: int | float | Decimal, facts: Facts) -> str:
    return formats.number(found, facts.locale)


def _write_money(found: Decimal, facts: Facts) -> str:
    return formats.money(found, facts.event.get("currency") or facts.clinic["currency"], facts.locale)


def _write_boolean(found: bool, _: Facts) -> bool:
    return found


_READERS: Mapping[VariableType, Callable[[str], Any]] = {
    "date": date.fromisoformat,
    "datetime": datetime.fromisoformat,
    "number": Decimal,
    "money": Decimal,
    "boolean": "true".__eq__,
}

_WRITERS: Mapping[VariableType, Callable[[Any, Facts], Any]] = {
    "string": _write_string,
    "url": _write_url,
    "date": _write_date,
    "time": _write_time,
    "datetime": _write_instant,
    "number": _write_number,
    "money": _write_money,
    "boolean": _write_boolean,
}
