"""One notification is cancelled by itself: while it waits, while it is collected, and after it was decided."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.notify_world import CLINIC, NOW, NOW_MS, World
from tests.unit.rules.people import at

HOUR_MS = 3_600_000
REMINDER, FOLLOW_UP, OTHER = "appointment_reminder_24h", "follow_up_recommendation", "treatment_followup_24hr"
JANE = "patient:1"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.add_recipient(JANE, time_zone="America/New_York")
    world.add_confirmation()
    world.add_template(REMINDER, "sms", "Hi {{ first_name }}, see you on {{ appointment_date }}.")
    return world


def reminder(world: World, number: int) -> dict[str, Any]:
    """A request that is due in an hour."""
    return world.request(world.created(number), kind=REMINDER, due_at=NOW + timedelta(hours=1))


def cancelling(world: World, request: dict[str, Any], number: int = 900) -> dict[str, Any]:
    """What intake makes of a `notification.cancelled` that names this one."""
    event = world.created(number, aggregate_id=f"cancelling-{number}")
    withdrawal = {"kind": "withdraw", "withdrawn_id": request["notification_id"], "sealed": None}
    return world.request(event, recipient=request["recipient"], kind=REMINDER) | withdrawal


def test_what_waits_is_cancelled_alone_and_at_once(world: World) -> None:
    first, second = reminder(world, 1), reminder(world, 2)
    world.ask(first, second)
    (decision,) = world.decisions(world.ask(cancelling(world, first)))
    assert (decision["notification_id"], decision["outcome"], decision["reason"], decision["sequence"]) == (
        first["notification_id"],
        "suppress",
        "cancelled",
        1,
    )
    (message,) = world.messages(world.work(now_ms=NOW_MS + HOUR_MS))
    assert message["notification_id"] == second["notification_id"]


def test_cancelled_twice_or_never_heard_of_nothing_more_is_said(world: World) -> None:
    request = reminder(world, 1)
    world.ask(request)
    assert len(world.ask(cancelling(world, request))) == 1
    assert world.ask(cancelling(world, request), cancelling(world, reminder(world, 5))) == []
    rows = dict(world.store.rows)
    world.ask(cancelling(world, reminder(world, 6)))
    assert world.store.rows == rows  # and nothing is remembered of what nobody knows


def test_what_is_collected_for_a_digest_is_not_told_in_it(world: World) -> None:
    world.add_policy(CLINIC, digest_categories=["clinical"], digest_hour=9)
    for kind in (FOLLOW_UP, OTHER):
        world.add_template(kind, "sms", "Hi {{ first_name }}.")
        world.add_template(kind, "email", "Hi {{ first_name }}.", subject="Hi", html="<p>Hi</p>")
    first, second = (world.request(world.created(number), kind=FOLLOW_UP) for number in (1, 2))
    world.ask(first, second, now_ms=at("2026-12-01T12:00-05:00"))
    (decision,) = world.decisions(world.ask(cancelling(world, second)))
    assert decision["reason"] == "cancelled"
    (decision,) = world.decisions(world.work(now_ms=at("2026-12-02T09:10-05:00")))
    assert (decision["notification_id"], decision["outcome"]) == (first["notification_id"], "deliver")


def test_what_was_decided_is_not_decided_to_be_sent_again(world: World) -> None:
    """Its messages came too late for quiet hours and would go out in the morning; the gate alone would let them wait for it."""
    quiet = {"enabled": True, "start": "22:00", "end": "08:00", "time_zone": "UTC"}
    opted: dict[str, Any] = {"sms_opt_in": {}, "email_opt_in": {}, "push_opt_in": {}}
    world.add_recipient(JANE, preferences={**opted, "quiet_hours": quiet})
    request = world.request(world.created(1), expires_at=NOW + timedelta(days=400))
    messages = world.messages(world.ask(request, now_ms=at("2026-12-01T21:59")))
    assert world.ask(cancelling(world, request)) == []
    late: dict[str, Any] = {"status": "expired", "reason": "send_not_after"}
    told = world.work(*(world.status(one, **late) for one in messages), now_ms=at("2026-12-01T22:00:01"))
    assert [(one["outcome"], one["reason"]) for one in world.decisions(told)] == [("suppress", "cancelled")]
    assert world.work(now_ms=at("2026-12-02T09:00")) == []
    world.work(now_ms=at("2027-03-01T09:00"))
    assert [row for row in world.store.rows if row[1:2] == b"x"] == []  # forgotten with the notification
