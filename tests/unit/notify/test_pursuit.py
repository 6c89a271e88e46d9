"""What becomes of a notification after it was sent: tried again, or by the next channel."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streams.rules.retrying import ATTEMPTS, SOFT_BOUNCE_MS
from tests.notify_world import NOW, NOW_MS, World
from tests.unit.notify.pursued import (
    FOR_GOOD,
    HOUR_MS,
    KIND,
    PASSING,
    REMINDER,
    SENDER_REFUSED,
    channels,
    clinic,
    decided,
    sent,
    told,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return clinic(tmp_path)


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


def test_where_a_sender_may_not_send_the_next_channel_does_not_wait_for_it(world: World) -> None:
    text, mail = sent(world)
    assert decided(world, told(world, text, **SENDER_REFUSED)) == []  # the email is under way
    outputs = told(world, mail, status="bounced", error_class="permanent_recipient")
    assert channels(world, outputs) == [("in_app", 1)]


def test_where_no_channel_is_left_a_refused_senders_text_waits_by_the_hour_for_a_day(world: World) -> None:
    text, mail = sent(world)
    told(world, mail, status="delivered")
    for attempt in range(2, 25):
        assert decided(world, told(world, text, **SENDER_REFUSED)) == [("defer", "retry")]
        (text,) = world.messages(world.work(now_ms=world.now_ms + SOFT_BOUNCE_MS))
        assert (text["channel"], text["attempt"]) == ("sms", attempt)
    assert told(world, text, **SENDER_REFUSED) == []


def test_the_hours_that_a_sender_was_refused_for_cost_none_of_the_tries_that_follow(world: World) -> None:
    text, mail = sent(world)
    told(world, mail, status="delivered")
    for _ in range(5):
        assert decided(world, told(world, text, **SENDER_REFUSED)) == [("defer", "retry")]
        (text,) = world.messages(world.work(now_ms=world.now_ms + SOFT_BOUNCE_MS))
    assert decided(world, told(world, text, **PASSING)) == [("defer", "retry")]


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


def test_a_channel_without_a_text_is_a_dead_letter_and_the_one_after_is_tried(tmp_path: Path) -> None:
    missing = clinic(tmp_path, ("sms", "push", "in_app"))  # of the reminder's plan the email has no text
    (text,) = sent(missing, REMINDER)
    outputs = told(missing, text, **FOR_GOOD)
    (letter,) = missing.letters(outputs)
    assert (letter["error_code"], letter["notification_id"]) == ("template_missing", text["notification_id"])
    assert decided(missing, outputs) == [("deliver", "next_channel")]
    (portal,) = missing.messages(outputs)
    assert portal["channel"] == "in_app"
    assert told(missing, portal, status="delivered") == []
    assert missing.work(now_ms=NOW_MS + 3 * HOUR_MS) == []


def test_a_text_that_cannot_be_rendered_is_passed_over_too(world: World) -> None:
    world.add_template(REMINDER, "email", "{{ first_name.x.y }}", subject="Hi", html="<p>Hi</p>", version=2)
    (text,) = sent(world, REMINDER)
    outputs = told(world, text, **FOR_GOOD)
    assert [letter["error_code"] for letter in world.letters(outputs)] == ["template_error"]
    assert channels(world, outputs) == [("in_app", 1)]


def test_where_no_channel_that_is_left_has_a_text_the_plan_is_exhausted(tmp_path: Path) -> None:
    missing = clinic(tmp_path, ("sms", "email"))
    text, mail = sent(missing)
    outputs = [*told(missing, text, **FOR_GOOD), *told(missing, mail, **FOR_GOOD)]
    letters = missing.letters(outputs)
    assert [letter["error_code"] for letter in letters] == ["template_missing", "plan_exhausted"]
    assert {letter["notification_id"] for letter in letters} == {text["notification_id"]}
    assert missing.work(now_ms=NOW_MS + 3 * HOUR_MS) == []
