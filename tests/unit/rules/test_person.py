"""Recipients as the rules read them, and strangers made from an event."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.codec import Codec
from schemas.registry import FileRegistry
from streams.rules.person import NEVER_ASKED, Person, Quiet, person_of, stranger

RECORD = {"recipient": "patient:1", "version": 4, "active": True}
NAME = "luxe.pipeline.RecipientContent"
CODEC = Codec(FileRegistry())


def content(**fields: Any) -> dict[str, Any]:
    """A RecipientContent with its defaults."""
    return CODEC.decode_bare(NAME, CODEC.encode_bare(NAME, fields))


def test_who_was_never_asked_has_the_schemas_defaults() -> None:
    asked = content(preferences={"sms_opt_in": {}, "email_opt_in": {}, "push_opt_in": {}})["preferences"]
    assert {name: asked[name] for name in NEVER_ASKED} == NEVER_ASKED
    assert person_of(RECORD, content()).preferences == NEVER_ASKED


def test_verified_addresses_come_first_and_the_newest_device() -> None:
    old, new = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    person = person_of(
        RECORD,
        content(
            first_name="Sarah",
            preferred_name="Sal",
            phones=[{"e164": "+15550000001"}, {"e164": "+15550000002", "verified": True}],
            emails=[{"address": "first@x.example"}, {"address": "second@x.example"}],
            devices=[
                {"token": "new", "platform": "ios", "registered_at": new},
                {"token": "old", "platform": "ios", "registered_at": old},
            ],
        ),
    )
    assert person.addresses == {
        "in_app": "patient:1",
        "sms": "+15550000002",
        "email": "first@x.example",
        "push": "new",
    }
    assert person.first_name == "Sal"
    assert person.unverified == {"email"}


def test_quiet_hours_count_where_they_are_switched_on() -> None:
    hours = {"start": "22:00", "end": "08:00", "weekdays": [7, 1, 7], "exceptions": ["appointment_reminders"]}
    opted: dict[str, Any] = {"sms_opt_in": {}, "email_opt_in": {}, "push_opt_in": {}}
    off = person_of(RECORD, content(preferences={**opted, "quiet_hours": {**hours, "enabled": False}}))
    assert off.quiet is None
    on = person_of(
        RECORD,
        content(preferences={**opted, "quiet_hours": {**hours, "enabled": True, "apply_to_all_channels": False}}),
    )
    assert on.quiet == Quiet("22:00", "08:00", None, (1, 7), ("sms", "push"), frozenset({"appointment_reminders"}))
    broken = content(preferences={**opted, "quiet_hours": {**hours, "enabled": True, "start": "25:00"}})
    with pytest.raises(ValueError, match="hour"):
        person_of(RECORD, broken)


def test_a_strangers_data_are_the_events_only_where_they_are_hers() -> None:
    event = {"patient_id": "7", "patient_phone": "+15550000001", "patient_email": None, "patient_name": "Ana Lima"}
    person = stranger("patient:7", event)
    assert (person.addresses, person.first_name, person.known) == ({"sms": "+15550000001"}, "Ana", False)
    assert stranger("patient:8", event).addresses == stranger("staff:7", event).addresses == {}


def test_a_person_prints_nothing_of_itself() -> None:
    assert "Sarah" not in repr(Person("patient:1", 1, first_name="Sarah", addresses={"sms": "+15551234567"}))
    assert "555" not in repr(Person("patient:1", 1, first_name="Sarah", addresses={"sms": "+15551234567"}))
