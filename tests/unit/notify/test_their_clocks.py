"""What is meant by each recipient's own clocks: due at that hour where they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.notify_world import NOW, World

REMINDER = "appointment_reminder_24h"
# The hour that clocks in New York show then is meant.
SHOWN = (NOW + timedelta(days=1)).replace(hour=15, minute=0, second=0, microsecond=0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.add_recipient("patient:1", time_zone="America/New_York")
    world.add_recipient("patient:2", time_zone="Asia/Tokyo")
    world.add_recipient("patient:3")
    world.add_template(REMINDER, "sms", "Hi {{ first_name }}, see you on {{ appointment_date }}.")
    return world


def until(world: World, number: int, due_at: datetime, zone: str | None = "America/New_York") -> Any:
    request = world.request(
        world.created(number), kind=REMINDER, recipient=f"patient:{number}", due_at=due_at, due_zone=zone
    )
    (decision,) = world.decisions(world.ask(request))
    return decision["until"]


def test_each_waits_for_that_hour_where_they_are(world: World) -> None:
    hours = SHOWN.astimezone(UTC)
    assert until(world, 1, hours) == hours
    # Tokyo shows the same hour 13 or 14 hours before New York does: by then it may be over, and it is sent.
    late = hours + timedelta(days=1)
    assert until(world, 2, late) in (late - timedelta(hours=13), late - timedelta(hours=14))
    assert until(world, 3, hours) == hours  # whose zone nobody knows


def test_an_hour_that_is_over_where_they_are_is_now(world: World) -> None:
    request = world.request(
        world.created(2),
        kind=REMINDER,
        recipient="patient:2",
        due_at=NOW + timedelta(hours=5),
        due_zone="America/New_York",
    )
    (decision,) = world.decisions(world.ask(request))
    assert decision["reason"] != "not_due"
