"""How the pursuit of a notification ends: nothing is left, nobody says anything; and what a hostile look found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streams.reservations import Taken
from streams.rules.progress import RECEIPT_TIMEOUT_MS, WATCHED_MS
from streams.rules.schedule import STATE_KEPT_MS
from streams.runtime import Output
from streams.runtime.rows import due_key_of, timer_of, timer_value
from streams.waiting import PRIORITIES
from tests.notify_world import NOW_MS, World
from tests.unit.notify.pursued import (
    FOR_GOOD,
    HOUR_MS,
    KIND,
    PASSING,
    REMINDER,
    TEXTS,
    channels,
    clinic,
    decided,
    sent,
    told,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return clinic(tmp_path)


# -- nothing is left --------------------------------------------------------------------------------------------------


def exhausted(world: World, number: int) -> list[Output]:
    text, mail = world.messages(world.ask(world.request(world.created(number), kind=KIND)))
    told(world, text, **FOR_GOOD)
    (portal,) = world.messages(told(world, mail, **FOR_GOOD))
    return told(world, portal, **FOR_GOOD)


def test_a_plan_that_failed_everywhere_is_a_dead_letter_and_one_alarm(world: World) -> None:
    outputs = exhausted(world, 1)
    (letter,) = world.letters(outputs)
    assert (letter["error_code"], letter["schema_name"]) == ("plan_exhausted", "luxe.pipeline.NotificationRequest")
    assert letter["source_topic"] == "notifications.requested"
    assert "sms: failed, email: failed, in_app: failed" in letter["explanation"]
    (alert,) = [world.read(output) for output in outputs if output.topic == "events.system"]
    assert (alert["code"], alert["clinic_id"]) == ("plan_exhausted", "downtown")
    assert "+1" not in str(alert)
    assert [output for output in exhausted(world, 2) if output.topic == "events.system"] == []  # one an hour is enough
    world.now_ms += HOUR_MS
    (later,) = [world.read(output) for output in exhausted(world, 3) if output.topic == "events.system"]
    assert later["event_id"] != alert["event_id"]
    assert later["aggregate_id"] == alert["aggregate_id"]


def test_what_may_still_arrive_is_waited_for_before_it_is_given_up(world: World) -> None:
    text, mail = sent(world)
    told(world, text, status="sent")
    told(world, mail, status="sent")
    (portal,) = world.messages(world.work(now_ms=NOW_MS + 900_000))
    assert told(world, portal, **FOR_GOOD) == []
    assert told(world, text, status="undelivered", error_class="permanent_recipient") == []
    outputs = told(world, mail, status="bounced", error_class="permanent_recipient")
    assert [one["error_code"] for one in world.letters(outputs)] == ["plan_exhausted"]


def test_a_staff_alert_in_the_inbox_that_nobody_saw_is_no_failure(world: World) -> None:
    world.add_recipient("staff:1")
    for channel in ("in_app", "push", "sms"):
        world.add_template("staff_room_ready", channel, "Room", **TEXTS.get(channel, {}))
    request = world.request(world.created(1), "staff:1", kind="staff_room_ready")
    (alert,) = world.messages(world.ask(request))
    told(world, alert, status="delivered")
    (text,) = world.messages(world.work(now_ms=NOW_MS + 30_000))
    assert (text["channel"], told(world, text, **FOR_GOOD)) == ("sms", [])


def test_what_failed_everywhere_no_longer_counts(world: World) -> None:
    exhausted(world, 1)
    again = world.request(world.created(9, aggregate_id="A-1", appointment_id="A-1"), kind=KIND)
    assert decided(world, world.ask(again)) == [("deliver", "deliver")]  # no duplicate of what nobody got


# -- receipts that do not come ----------------------------------------------------------------------------------------


def test_an_overdue_receipt_is_asked_for_once(world: World) -> None:
    text, mail = sent(world)
    told(world, text, status="sent")
    told(world, mail, status="delivered")
    (asked,) = world.work(now_ms=NOW_MS + RECEIPT_TIMEOUT_MS)
    assert asked.topic == "deliver.sms.low"
    query = world.read(asked)
    assert (query["delivery_id"], query["attempt"]) == (text["delivery_id"], 1)
    assert told(world, text, status="sent", reason="receipt_timeout") == []
    assert world.work(now_ms=NOW_MS + WATCHED_MS) == []


def test_in_the_end_nothing_is_left(world: World) -> None:
    text, mail = sent(world)
    told(world, text, **PASSING)
    told(world, mail, status="sent")
    world.work(now_ms=NOW_MS + WATCHED_MS + HOUR_MS)
    world.work(now_ms=NOW_MS + WATCHED_MS * 3)
    (timer,) = [value for row, value in world.store.rows.items() if row.startswith(b"tf")]
    assert len(timer) < 400  # the request is not kept that long
    world.work(now_ms=NOW_MS + STATE_KEPT_MS + WATCHED_MS)
    assert world.store.rows == {}


def test_what_was_kept_before_plans_were_pursued_is_read() -> None:
    kept = b'["patient:1",2,1,["75aa","bb"],[5,"n","clinical","none",2],"",false]'
    taken = Taken.decoded(kept, 77)
    assert taken is not None
    assert (taken.recipient, taken.attempt, taken.forget_ms, taken.progress) == ("patient:1", 1, 77, None)
    assert taken.meaning == (b"u\xaa", b"\xbb")


def as_kept_before(world: World) -> None:
    """What was sent lies in the state as the version before plans were pursued left it."""
    (row,) = [row for row in world.store.rows if row.startswith(b"tf")]
    timer = timer_of(row[1:], world.store.rows[row])
    taken = Taken.decoded(timer.payload, timer.due_ms)
    assert taken is not None
    assert taken.progress is not None
    meaning = taken.meaning and [part.hex() for part in taken.meaning]
    sent_as = None if taken.sent is None else list(taken.sent)
    old = [taken.recipient, taken.progress.end, taken.attempt, meaning, sent_as, taken.wire.hex(), taken.given_back]
    due = {key: None for key in world.store.rows if key.startswith(b"d")}
    value = timer_value(taken.forget_ms, PRIORITIES["low"], json.dumps(old).encode())
    world.store.write([*due.items(), (row, value), (due_key_of(row, value), b"")])


def test_what_was_sent_before_the_upgrade_and_came_too_late_is_sent_in_the_morning(world: World) -> None:
    quiet = {"enabled": True, "start": "22:00", "end": "08:00", "time_zone": "UTC"}
    opted: dict[str, Any] = {"sms_opt_in": {}, "email_opt_in": {}, "push_opt_in": {}}
    world.add_recipient("patient:1", preferences=opted | {"quiet_hours": quiet})
    evening = NOW_MS + int(6.9 * HOUR_MS)
    messages = world.messages(world.ask(world.request(world.created(1), kind=KIND), now_ms=evening))
    as_kept_before(world)
    for message in messages:
        late = told(world, message, after_ms=10 * 60_000, status="expired", reason="send_not_after")
        assert decided(world, late) == [("defer", "quiet_hours")]
    morning = world.work(now_ms=evening + 11 * HOUR_MS)
    assert channels(world, morning) == [("sms", 2), ("email", 2)]
    for message in world.messages(morning):
        assert told(world, message, status="delivered") == []
    world.work(now_ms=NOW_MS + STATE_KEPT_MS + WATCHED_MS)
    assert world.store.rows == {}


def test_what_was_sent_before_the_upgrade_and_failed_is_told_as_exhausted(world: World) -> None:
    messages = sent(world)
    as_kept_before(world)
    outputs = [output for message in messages for output in told(world, message, **FOR_GOOD)]
    assert world.messages(outputs) == []
    assert [letter["error_code"] for letter in world.letters(outputs)] == ["plan_exhausted"]
    world.work(now_ms=NOW_MS + STATE_KEPT_MS + WATCHED_MS)
    assert {row[:2] for row in world.store.rows} == {b"sa"}  # the hour of the alarm


# -- what a hostile look found ----------------------------------------------------------------------------------------


def test_what_came_after_all_is_not_tried_again(world: World) -> None:
    _, mail = sent(world)
    assert decided(world, told(world, mail, **PASSING)) == [("defer", "retry")]
    assert told(world, mail, status="delivered") == []
    assert world.work(now_ms=world.now_ms + 2000) == []


def test_after_an_outage_what_is_tried_again_is_waited_for_before_the_next_channel(world: World) -> None:
    (text,) = sent(world, REMINDER)
    told(world, text, **PASSING)
    assert channels(world, world.work(now_ms=NOW_MS + 3 * HOUR_MS)) == [("sms", 2)]  # its time-out was over long ago
    assert channels(world, world.work(now_ms=world.now_ms + 1_800_000)) == [("email", 1)]


def test_a_channel_that_was_held_and_then_closed_leaves_no_notification_in_limbo(world: World) -> None:
    quiet = {"enabled": True, "start": "22:00", "end": "08:00", "time_zone": "UTC"}
    opted: dict[str, Any] = {"sms_opt_in": {}, "email_opt_in": {}, "push_opt_in": {}}
    world.add_recipient("patient:1", preferences=opted | {"quiet_hours": quiet})
    evening = NOW_MS + int(6.9 * HOUR_MS)
    (text,) = world.messages(world.ask(world.request(world.created(1), kind=REMINDER), now_ms=evening))
    told(world, text, status="sent")
    assert decided(world, world.work(now_ms=evening + 1_800_000)) == [("defer", "quiet_hours")]
    world.add_policy("downtown", disabled_channels=["email", "in_app", "push"])
    world.work(now_ms=evening + 11 * HOUR_MS)
    outputs = told(world, text, status="undelivered", error_class="permanent_recipient")
    assert [one["error_code"] for one in world.letters(outputs)] == ["plan_exhausted"]


def test_a_receipt_is_asked_for_once_the_message_has_left(world: World) -> None:
    text, mail = sent(world)
    told(world, mail, status="delivered")
    told(world, text, status="queued")
    assert world.work(now_ms=NOW_MS + RECEIPT_TIMEOUT_MS) == []
    told(world, text, status="sent")
    (asked,) = world.work(now_ms=NOW_MS + 2 * RECEIPT_TIMEOUT_MS)
    assert asked.topic == "deliver.sms.low"


def test_a_letter_about_the_next_channel_holds_the_request(tmp_path: Path) -> None:
    missing = clinic(tmp_path, ("sms", "email"))
    text, mail = sent(missing)
    told(missing, text, status="sent")
    (letter,) = missing.letters(missing.work(now_ms=NOW_MS + 900_000))
    assert (letter["error_code"], letter["schema_name"]) == ("template_missing", "luxe.pipeline.NotificationRequest")
    assert letter["notification_id"] == mail["notification_id"]
