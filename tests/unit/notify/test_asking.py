"""A text or an inbox message that asks for a confirmation carries, sealed, what its answer is to say; nothing else does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.notify_world import CLINIC, World

ASKED = "luxe.pipeline.AskedAppointment"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.add_recipient("patient:1", emails=[])
    for kind in ("appointment_reminder_48h", "appointment_reminder_2h"):
        world.add_template(kind, "sms", "See you.")
        world.add_template(kind, "email", "See you.", subject="Your visit")
        world.add_template(kind, "in_app", "See you.", subject="Your visit")
    return world


def asked(world: World, kind: str, channel: str = "sms", **changes: Any) -> dict[str, Any] | None:
    (message,) = world.messages(world.ask(world.request(world.created(1, **changes), kind=kind)))
    assert message["channel"] == channel
    said = world.content(message)["asks"]
    return None if said is None else world.codec.decode_content(ASKED, said)


@pytest.mark.parametrize(
    ("zone", "starts_at"), [("America/Los_Angeles", 22), (None, 19)], ids=["its own zone", "the clinic's"]
)
def test_what_is_asked_is_known_to_the_minute(world: World, zone: str | None, starts_at: int) -> None:
    world.add_policy(CLINIC, time_zone="America/New_York")
    found = asked(world, "appointment_reminder_48h", time_zone=zone)
    event = world.created(1, time_zone=zone)
    assert found is not None
    assert found["starts_at"] == datetime(2026, 12, 24, starts_at, tzinfo=UTC)
    assert found == {name: event[name] for name in found if name != "starts_at"} | {"starts_at": found["starts_at"]}


def test_who_is_only_told_is_asked_nothing(world: World) -> None:
    assert asked(world, "appointment_reminder_2h") is None


def test_an_email_is_not_answered_by_text(world: World) -> None:
    world.add_recipient("patient:1", phones=[], devices=[])
    assert asked(world, "appointment_reminder_48h", "email") is None


def test_a_message_in_the_inbox_asks_as_a_text_does(world: World) -> None:
    by_text = asked(world, "appointment_reminder_48h")
    world.store.rows.clear()
    world.add_recipient("patient:1", phones=[], devices=[], emails=[])
    assert asked(world, "appointment_reminder_48h", "in_app") == by_text
    world.store.rows.clear()
    assert asked(world, "appointment_reminder_2h", "in_app") is None
