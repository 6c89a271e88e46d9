"""What a notification takes up, and gives back if it does not arrive; duplicates; what came too late for quiet hours."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.notify_world import CLINIC, NOW, NOW_MS, World
from tests.unit.rules.people import at

HOUR_MS = 3_600_000
CONFIRMATION = "appointment_confirmation"
CAPPED = "treatment_followup_24hr"  # not essential, by text


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.add_recipient("patient:1")
    world.add_confirmation()
    world.add_template(CAPPED, "sms", "Hi {{ first_name }}.")
    world.add_policy(CLINIC, daily_cap=1)
    return world


def follow_up(world: World, number: int, **changes: Any) -> dict[str, Any]:
    return world.request(world.created(number), kind=CAPPED, **changes)


def outcome(world: World, request: dict[str, Any], now_ms: int = NOW_MS) -> tuple[str, str]:
    (decision,) = world.decisions(world.ask(request, now_ms=now_ms))
    return decision["outcome"], decision["reason"]


def test_one_event_told_twice_by_its_producer_is_one_notification(world: World) -> None:
    """Two events that mean the same within the type's window; novu#8776, #11752: an id of the request says nothing of it."""
    first, second = world.created(1), world.created(2, aggregate_id="A-1", appointment_id="A-1")
    assert outcome(world, world.request(first)) == ("deliver", "deliver")
    assert outcome(world, world.request(second)) == ("suppress", "duplicate")
    # After the window it is told again.
    third = world.created(3, aggregate_id="A-1", appointment_id="A-1")
    assert outcome(world, world.request(third), NOW_MS + HOUR_MS + 1) == ("deliver", "deliver")


def test_a_correction_is_no_duplicate(world: World) -> None:
    """PostHog#55728, #85156: deduplication that blocked what was wanted."""
    same = {"aggregate_id": "A-1", "appointment_id": "A-1"}
    assert outcome(world, world.request(world.created(1))) == ("deliver", "deliver")
    other = world.created(2, **same, appointment_time="15:00")
    assert outcome(world, world.request(other)) == ("deliver", "deliver")
    newer = world.created(3, **same, appointment_time="15:00", aggregate_version=2)
    assert outcome(world, world.request(newer)) == ("deliver", "deliver")


def test_caps_count_what_was_sent_in_the_recipients_day(world: World) -> None:
    assert outcome(world, world.request(world.created(1)))[0] == "deliver"  # essential: counts
    assert outcome(world, follow_up(world, 2)) == ("defer", "daily_cap")
    assert outcome(world, world.request(world.created(3)))[0] == "deliver"  # … and is not held


def test_nothing_is_kept_where_nobody_limits(world: World) -> None:
    world.add_policy(CLINIC)
    world.ask(follow_up(world, 1))
    assert not [row for row in world.store.rows if row[1:2] == b"c"]


def test_a_failure_gives_its_place_back_and_a_late_success_takes_it_again(world: World) -> None:
    """The specification's own counter burns quota on what was never sent."""
    (first,) = world.messages(world.ask(follow_up(world, 1)))
    world.work(world.status(first, "failed"))
    (second,) = world.messages(world.ask(follow_up(world, 2)))
    world.work(world.status(second, "failed"), world.status(second, "delivered", attempt=2))
    assert outcome(world, follow_up(world, 3)) == ("defer", "daily_cap")


def test_what_failed_may_be_told_again(world: World) -> None:
    text, mail = world.messages(world.ask(world.request(world.created(1))))
    world.work(world.status(text, "failed"))
    again = world.request(world.created(2, aggregate_id="A-1", appointment_id="A-1"))
    assert outcome(world, again) == ("suppress", "duplicate")  # the email is still under way
    world.work(world.status(mail, "bounced"))
    third = world.request(world.created(3, aggregate_id="A-1", appointment_id="A-1"))
    assert outcome(world, third) == ("deliver", "deliver")


QUIET = {"enabled": True, "start": "22:00", "end": "08:00", "time_zone": "UTC"}


def test_a_message_late_for_quiet_hours_is_decided_again_and_comes_in_the_morning(world: World) -> None:
    opted: dict[str, Any] = {"sms_opt_in": {}, "email_opt_in": {}, "push_opt_in": {}}
    world.add_recipient("patient:1", preferences={**opted, "quiet_hours": QUIET})
    evening, night, morning = at("2026-12-01T21:59"), at("2026-12-01T22:00:01"), at("2026-12-02T08:00")
    request = world.request(world.created(1), expires_at=NOW + timedelta(days=400))
    text, mail = world.messages(world.ask(request, now_ms=evening))
    assert text["send_not_after"].hour == 22
    late: dict[str, Any] = {"status": "expired", "reason": "send_not_after"}
    for sequence, message in enumerate((text, mail), 1):
        (decision,) = world.decisions(world.work(world.status(message, **late), now_ms=night))
        assert (decision["outcome"], decision["reason"], decision["sequence"]) == ("defer", "quiet_hours", sequence)
    sent = world.messages(world.work(now_ms=morning + HOUR_MS))
    assert [(one["channel"], one["attempt"]) for one in sent] == [("sms", 2), ("email", 2)]
    assert sent[0]["delivery_id"] == text["delivery_id"]


def test_what_would_expire_in_the_night_is_sent_before_it(world: World) -> None:
    opted: dict[str, Any] = {"sms_opt_in": {}, "email_opt_in": {}, "push_opt_in": {}}
    world.add_recipient("patient:1", preferences={**opted, "quiet_hours": QUIET})
    due, expires = at("2026-12-02T05:00"), at("2026-12-02T07:00")
    moments: dict[str, Any] = {
        "due_at": NOW + timedelta(milliseconds=due - NOW_MS),
        "expires_at": NOW + timedelta(milliseconds=expires - NOW_MS),
    }
    request = world.request(world.created(1), **moments)
    (decision,) = world.decisions(world.ask(request, now_ms=at("2026-12-01T12:00")))
    assert (decision["reason"], decision["until"].isoformat()) == (
        "before_quiet_hours",
        "2026-12-01T21:45:00+00:00",
    )
    # Asked for in the night there is no time before it any more.
    late = world.request(world.created(2), **moments)
    (decision,) = world.decisions(world.ask(late, now_ms=at("2026-12-01T23:00")))
    assert decision["reason"] == "not_due"


def test_decisions_name_the_consents_they_went_by(world: World) -> None:
    consent = {"consent_type": "sms_transactional", "status": "opted_in", "consent_date": NOW, "method": "written"}
    world.add_recipient("patient:1", consents=[{**consent, "version": 7}])
    (decision,) = world.decisions(world.ask(world.request(world.created(1))))
    assert decision["consent_versions"] == {"sms_transactional": 7}
    assert {verdict["rule"] for verdict in decision["rules"]} >= {"duplicate", "do_not_disturb", "caps", "in_time"}
