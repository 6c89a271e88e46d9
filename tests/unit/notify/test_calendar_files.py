"""An appointment's emails carry its calendar file, through the whole of notify; its changes change one entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from icalendar import Calendar

from schemas.definitions import definition
from tests.notify_world import World

CANCELLED = "luxe.events.AppointmentCancelled"
REMINDER = "appointment_reminder_24h"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    for kind in ("appointment_confirmation", REMINDER, "pre_visit_instructions"):
        world.add_template(kind, "email", "See you.", subject="Your visit")
    world.add_template("appointment_cancelled", "email", "It is off.", subject="Your visit", records=(CANCELLED,))
    return world


def email_of(world: World, kind: str, event: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The email of a patient who is reached by email only."""
    world.add_recipient("patient:1", phones=[], devices=[])
    outputs = world.ask(world.request(event, kind=kind, **changes))
    return world.content(next(one for one in world.messages(outputs) if one["channel"] == "email"))


def entry_of(content: dict[str, Any]) -> tuple[str, Any]:
    (file,) = content["attachments"]
    whole = Calendar.from_ical(file["content"])
    assert file["content_type"] == f"text/calendar; method={whole['method']}"
    return str(whole["method"]), whole.walk("VEVENT")[0]


def test_booked_reminded_and_called_off_are_one_entry(world: World) -> None:
    booked = world.created(1, aggregate_version=4)
    method, first = entry_of(email_of(world, "appointment_confirmation", booked))
    assert (method, first["sequence"], first["attendee"]) == ("REQUEST", 4, "mailto:sarah@example.com")
    again, reminded = entry_of(email_of(world, REMINDER, booked))
    assert (again, reminded["uid"], reminded["sequence"]) == ("REQUEST", first["uid"], 4)
    known = {field["name"] for field in definition(CANCELLED)["fields"]}
    whole = world.created(1, event_id="00000000-0000-4000-8000-000000000002", aggregate_version=5)
    off = {name: said for name, said in whole.items() if name in known} | {
        "event_type": "appointment.cancelled",
        "cancellation_reason": None,
        "cancelled_by": "clinic",
        "refund_issued": False,
        "rebook_url": None,
    }
    method, last = entry_of(email_of(world, "appointment_cancelled", off, record=CANCELLED))
    assert (method, last["status"], last["uid"], last["sequence"]) == ("CANCEL", "CANCELLED", first["uid"], 5)


def test_types_without_one_carry_nothing(world: World) -> None:
    assert email_of(world, "pre_visit_instructions", world.created(1))["attachments"] == []
