"""What becomes of a notification after it was sent: tried again, by the next channel, asked after, given up."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.topics import CHANNELS
from streams.reservations import Taken
from streams.rules.progress import RECEIPT_TIMEOUT_MS, WATCHED_MS
from streams.rules.retrying import ATTEMPTS, SOFT_BOUNCE_MS
from streams.rules.schedule import STATE_KEPT_MS
from streams.runtime import Output
from tests.notify_world import NOW, NOW_MS, World

HOUR_MS = 3_600_000
TEXTS: dict[str, Any] = {
    "email": {"subject": "About it", "html": "<p>Hi</p>"},
    "push": {"subject": "Hi"},
    "in_app": {"subject": "Hi"},
}
KIND = "appointment_confirmation"  # text and email at once; then push, then the portal, each after 15 minutes
REMINDER = "appointment_reminder_24h"  # one of text and push; then email, then the portal, each after half an hour
PASSING: dict[str, Any] = {"status": "failed", "error_class": "transient", "reason": "transient"}
FOR_GOOD: dict[str, Any] = {"status": "failed", "error_class": "permanent_recipient", "reason": "permanent_recipient"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return clinic(tmp_path)


def clinic(folder: Path, channels: Iterable[str] = CHANNELS) -> World:
    """With texts for these channels, and a patient who has no device."""
    world = World(folder)
    world.add_recipient("patient:1")
    for kind in (KIND, REMINDER):
        for channel in channels:
            world.add_template(kind, channel, "Hi {{ first_name }}", **TEXTS.get(channel, {}))
    return world


def sent(world: World, kind: str = KIND, **changes: Any) -> list[dict[str, Any]]:
    return world.messages(world.ask(world.request(world.created(1), kind=kind, **changes)))


def told(world: World, message: dict[str, Any], *, after_ms: int = 0, **status: Any) -> list[Output]:
    """A status of this message's attempt, so long after the last one."""
    world.now_ms += after_ms
    at = NOW + timedelta(milliseconds=world.now_ms - NOW_MS)
    return world.work(world.status(message, status_at=at, attempt=message["attempt"], **status))


def channels(world: World, outputs: list[Output]) -> list[tuple[str, int]]:
    return [(one["channel"], one["attempt"]) for one in world.messages(outputs)]


def decided(world: World, outputs: list[Output]) -> list[tuple[str, str]]:
    return [(one["outcome"], one["reason"]) for one in world.decisions(outputs)]


# -- tried again ------------------------------------------------------------------------------------------------------


def test_what_passes_is_tried_again_a_little_later_by_a_new_decision(world: World) -> None:
    text, _ = sent(world)
    (waits,) = world.decisions(told(world, text, **PASSING))
    assert (waits["outcome"], waits["reason"], waits["sequence"]) == ("defer", "retry", 1)
    wait_ms = (waits["until"] - NOW).total_seconds() * 1000
    assert 500 <= wait_ms <= 1000
    assert world.work(now_ms=world.now_ms + 400) == []
    outputs = world.work(now_ms=world.now_ms + 1000)
    (again,) = world.messages(outputs)
    (decision,) = world.decisions(outputs)
    assert (decision["outcome"], decision["reason"], decision["sequence"]) == ("deliver", "tried_again", 2)
    assert [step["delivery_id"] for step in decision["steps"]] == [text["delivery_id"]] == [again["delivery_id"]]
    assert again["attempt"] == 2
    assert world.content(again) == world.content(text)


def test_a_provider_that_says_when_is_not_asked_before(world: World) -> None:
    text, _ = sent(world)
    later = NOW + timedelta(seconds=90)
    (waits,) = world.decisions(told(world, text, **PASSING | {"error_class": "throttled", "retry_at": later}))
    assert waits["until"] == later


@pytest.mark.parametrize(("lane", "attempts"), ATTEMPTS.items())
def test_attempts_by_lane_then_the_next_channel(world: World, lane: str, attempts: int) -> None:
    message, mail = sent(world, lane=lane)
    world.work(world.status(mail, **FOR_GOOD))
    for attempt in range(1, attempts):
        assert decided(world, told(world, message, **PASSING)) == [("defer", "retry")]
        (message,) = world.messages(world.work(now_ms=world.now_ms + 1000 * 4**attempt))
        assert message["attempt"] == attempt + 1
    outputs = told(world, message, **PASSING)
    assert decided(world, outputs) == [("deliver", "next_channel")]
    assert channels(world, outputs) == [("in_app", 1)]  # she has no device


def test_a_code_that_nobody_knows_is_tried_once_more(world: World) -> None:
    text, _ = sent(world)
    unknown = PASSING | {"error_class": "unknown"}
    assert decided(world, told(world, text, **unknown)) == [("defer", "retry")]
    (again,) = world.messages(world.work(now_ms=world.now_ms + 2000))
    assert decided(world, told(world, again, **unknown)) == []


def test_a_full_mailbox_is_tried_again_in_an_hour_three_times_in_all(world: World) -> None:
    text, mail = sent(world)
    told(world, text, status="delivered")  # so that no other channel is needed
    soft: dict[str, Any] = {"status": "undelivered", "error_class": "transient"}
    for attempt in (2, 3):
        (waits,) = world.decisions(told(world, mail, **soft))
        wait_ms = (waits["until"] - NOW).total_seconds() * 1000 + NOW_MS - world.now_ms
        assert SOFT_BOUNCE_MS * 0.98 <= wait_ms <= SOFT_BOUNCE_MS
        (mail,) = world.messages(world.work(now_ms=world.now_ms + SOFT_BOUNCE_MS))
        assert (mail["channel"], mail["attempt"]) == ("email", attempt)
    assert told(world, mail, **soft) == []


def test_said_twice_it_failed_once(world: World) -> None:
    text, _ = sent(world)
    assert decided(world, told(world, text, **PASSING)) == [("defer", "retry")]
    assert told(world, text, after_ms=100, **PASSING) == []


@pytest.mark.parametrize("change", ["cancelled", "moved", "opted out", "blocked"])
def test_nothing_is_tried_again_that_may_not_be_sent_any_more(world: World, change: str) -> None:
    text, mail = sent(world)
    told(world, mail, status="delivered")
    told(world, text, **PASSING)
    if change in ("cancelled", "moved"):
        newer = world.request(world.created(2, aggregate_id="A-1", aggregate_version=2), kind=KIND)
        withdraws = "all" if change == "cancelled" else "older"
        world.ask(newer | {"kind": "withdraw", "withdraws": withdraws, "sealed": None})
    elif change == "opted out":
        world.add_recipient(
            "patient:1",
            version=2,
            consents=[
                {"consent_type": "sms_transactional", "status": "opted_out", "consent_date": NOW, "method": "written"}
            ],
        )
    else:
        world.add_gate("recipient:patient:1")
    outputs = world.work(now_ms=world.now_ms + 2000)
    assert world.messages(outputs) == []
    ((outcome, reason),) = decided(world, outputs)
    assert outcome == "suppress"
    assert (
        reason
        == {
            "cancelled": "cancelled",
            "moved": "superseded",
            "opted out": "opted_out",
            "blocked": "recipient_blocked",
        }[change]
    )
    assert world.work(now_ms=world.now_ms + 4 * HOUR_MS) == []


def test_what_would_come_after_its_expiry_is_not_tried_again(world: World) -> None:
    text, _mail = sent(world, expires_at=NOW + timedelta(milliseconds=400))
    assert decided(world, told(world, text, **PASSING)) == []


# -- the next channel -------------------------------------------------------------------------------------------------


def test_the_next_channel_comes_at_once_when_all_of_the_first_failed_for_good(world: World) -> None:
    text, mail = sent(world)
    assert told(world, text, **FOR_GOOD) == []  # the email is under way
    outputs = told(world, mail, status="bounced", error_class="permanent_recipient")
    assert channels(world, outputs) == [("in_app", 1)]
    (decision,) = world.decisions(outputs)
    assert (decision["reason"], [step["step"] for step in decision["steps"]]) == ("next_channel", [2])
    # What is shown there is what may be shown there, not what the text said.
    assert world.messages(outputs)[0]["template_version"] == 1


def test_accepted_is_no_success_and_no_failure(world: World) -> None:
    text, mail = sent(world)
    assert told(world, text, status="sent") == []
    assert told(world, mail, status="sent") == []
    assert world.work(now_ms=NOW_MS + 899_000) == []
    outputs = world.work(now_ms=NOW_MS + 900_000)
    assert channels(world, outputs) == [("in_app", 1)]
    assert world.work(now_ms=NOW_MS + 3 * 900_000) == []  # once


def test_in_time_it_needs_no_other_channel(world: World) -> None:
    text, mail = sent(world)
    assert told(world, text, status="delivered") == []
    assert world.work(now_ms=NOW_MS + 2 * 900_000) == []
    # Its neighbour was wished for beside it, and is tried again all the same.
    assert decided(world, told(world, mail, **PASSING)) == [("defer", "retry")]
    assert channels(world, world.work(now_ms=world.now_ms + 1000)) == [("email", 2)]


def test_late_word_of_a_channel_given_up_changes_nothing_but_the_account(world: World) -> None:
    text, mail = sent(world)
    world.work(now_ms=NOW_MS + 900_000)
    assert told(world, text, **PASSING) == []
    assert told(world, mail, status="bounced", error_class="permanent_recipient") == []
    assert world.work(now_ms=world.now_ms + HOUR_MS // 2) == []


def test_a_late_success_ends_the_plan(world: World) -> None:
    text, push_or_mail = sent(world, REMINDER)[0], None
    assert push_or_mail is None
    outputs = world.work(now_ms=NOW_MS + 1_800_000)
    assert channels(world, outputs) == [("email", 1)]
    told(world, text, status="delivered")
    assert world.work(now_ms=NOW_MS + 4 * 1_800_000) == []


def test_a_late_success_recalls_what_the_next_channel_has_not_sent(world: World) -> None:
    (text,) = sent(world, REMINDER)
    (mail,) = world.messages(world.work(now_ms=NOW_MS + 1_800_000))
    told(world, mail, status="queued")
    (gate,) = told(world, text, status="delivered")
    shut = world.read(gate)
    assert (gate.topic, shut["gate_key"], shut["reason"]) == (
        "gates.aggregates",
        f"delivery:{mail['delivery_id']}",
        "arrived",
    )
    assert told(world, text, status="read") == []  # once
    assert told(world, mail, status="cancelled", reason="arrived") == []


def test_what_is_on_its_way_is_not_recalled(world: World) -> None:
    (text,) = sent(world, REMINDER)
    (mail,) = world.messages(world.work(now_ms=NOW_MS + 1_800_000))
    told(world, mail, status="sent")
    assert told(world, text, status="delivered") == []


def test_the_next_channel_waits_for_quiet_hours_to_end_and_comes_once(world: World) -> None:
    quiet = {"enabled": True, "start": "22:00", "end": "08:00", "time_zone": "UTC"}
    opted: dict[str, Any] = {"sms_opt_in": {}, "email_opt_in": {}, "push_opt_in": {}, "quiet_hours": quiet}
    world.add_recipient("patient:1", preferences=opted)
    evening = NOW_MS + int(6.9 * HOUR_MS)  # 21:54 UTC
    (text,) = world.messages(world.ask(world.request(world.created(1), kind=REMINDER), now_ms=evening))
    outputs = told(world, text, after_ms=10 * 60_000, **FOR_GOOD)
    assert [(one["outcome"], one["reason"]) for one in world.decisions(outputs)] == [("defer", "quiet_hours")]
    assert world.work(now_ms=evening + 9 * HOUR_MS) == []
    assert channels(world, world.work(now_ms=evening + 11 * HOUR_MS)) == [("email", 1)]


def test_closed_channels_are_passed_over(world: World) -> None:
    text, mail = sent(world)
    for message in (text, mail):
        outputs = told(world, message, status="suppressed", reason="opted_out")
    assert channels(world, outputs) == [("in_app", 1)]


def test_a_cancellation_just_before_the_call_is_the_end(world: World) -> None:
    text, mail = sent(world)
    for message in (text, mail):
        assert told(world, message, status="cancelled", reason="cancelled") == []
    assert world.work(now_ms=NOW_MS + 3 * HOUR_MS) == []


def test_a_channel_without_a_text_is_a_dead_letter_and_the_rest_stands(tmp_path: Path) -> None:
    missing = clinic(tmp_path, ("sms", "email"))
    text, mail = sent(missing)
    outputs = [*told(missing, text, **FOR_GOOD), *told(missing, mail, **FOR_GOOD)]
    (letter,) = missing.letters(outputs)
    assert letter["error_code"] == "template_missing"
    assert letter["notification_id"] == text["notification_id"]
    assert missing.work(now_ms=NOW_MS + 3 * HOUR_MS) == []


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
    kept = b'["patient:1",2,1,["75aa","bb"],[5,"n","clinical","none",2],"0102",false]'
    taken = Taken.decoded(kept, 77)
    assert taken is not None
    assert (taken.recipient, taken.attempt, taken.forget_ms, taken.progress) == ("patient:1", 1, 77, None)
    assert taken.meaning == (b"u\xaa", b"\xbb")


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
