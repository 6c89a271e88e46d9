"""Events for the tests of the rules: whole, as the codec decodes them, with what a test changes."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from schemas.definitions import definition
from schemas.events import EVENT_TYPES
from streams.rules.event_fields import event_fields

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
_DEFAULTS: dict[str, Any] = {
    "appointment_date": date(2026, 7, 1),
    "appointment_time": "14:00",
    "old_date": date(2026, 7, 1),
    "old_time": "14:00",
    "new_date": date(2026, 7, 8),
    "new_time": "15:00",
    "patient_id": "p1",
    "provider_id": "d1",
    "service": "Botox",
    "provider": "Dr. Smith",
    "patient_phone": "+15551234567",
    "currency": "USD",
    "recipient": "patient:p1",
}


def event(event_type: str, *, version: int = 1, aggregate_id: str = "a1", **given: Any) -> dict[str, Any]:
    """An event of that type that happened a minute before NOW; what is not given has a plain value."""
    envelope = {
        "event_id": str(uuid.uuid4()),
        "event_type": event_type,
        "occurred_at": NOW - timedelta(minutes=1),
        "schema_version": "1.0",
        "source": "test",
        "correlation_id": "c-1",
        "clinic_id": "clinic-1",
        "aggregate_id": aggregate_id,
        "aggregate_version": version,
        "metadata": {},
    }
    record = EVENT_TYPES[event_type].record
    fields = event_fields(record)
    decimals = {field["name"] for field in definition(record)["fields"] if "decimal" in str(field["type"])}
    unknown = given.keys() - fields.keys()
    assert not unknown, f"{event_type} has no field {unknown}"
    plain = {name: _plain(name, field.kind, field.nullable, field.symbols) for name, field in fields.items()}
    plain |= {name: Decimal("12.50") for name in decimals if plain[name] is not None}
    return plain | envelope | given


def _plain(name: str, kind: str, nullable: bool, symbols: tuple[str, ...]) -> Any:
    if name in _DEFAULTS:
        return _DEFAULTS[name]
    if nullable:
        return None
    if symbols:
        return symbols[0]
    values = {
        "instant": NOW,
        "date": date(2026, 7, 1),
        "text": _text(name),
        "texts": [],
        "number": 1,
        "boolean": False,
        "other": {},
    }
    return values[kind]


def _text(name: str) -> str:
    if name.endswith("_url"):
        return f"https://luxe.example/{name}"
    return "14:00" if name == "time" or name.endswith("_time") else f"the {name}"
