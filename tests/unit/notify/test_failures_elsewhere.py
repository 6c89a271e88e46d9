"""Where other systems go wrong between deciding and sending, each as a test that is named by it: docs/failures-elsewhere.md."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.notify_world import CLINIC, NOW, NOW_MS, World
from tests.unit.rules.people import at

HOUR_MS = 3_600_000
CAPPED = "treatment_followup_24hr"  # not essential, by text
OPTED: dict[str, Any] = {"sms_opt_in": {}, "email_opt_in": {}, "push_opt_in": {}}
QUIET = {"enabled": True, "start": "22:00", "end": "08:00", "time_zone": "UTC"}
# 9:00 in New York too: texts to its numbers wait for the telephone hours.
EVENING, MORNING = at("2026-12-01T23:00"), at("2026-12-02T14:00")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.add_recipient("patient:1")
    world.add_confirmation()
    world.add_template(CAPPED, "sms", "Hi {{ first_name }}.")
    return world


def follow_up(world: World, number: int, **changes: Any) -> dict[str, Any]:
    return world.request(world.created(number), kind=CAPPED, **changes)


def outcomes(world: World, *requests: dict[str, Any], now_ms: int = NOW_MS) -> list[tuple[str, str]]:
    found = world.decisions(world.ask(*requests, now_ms=now_ms))
    return [(one["outcome"], one["reason"]) for one in found]


def test_two_appointments_in_the_same_words_are_two_notifications(world: World) -> None:
    """Parcelvoy's lock omits the reference: the second of a day is taken for the first."""
    first, second = world.created(1), world.created(2)
    assert {name for name in first if first[name] != second[name]} == {"event_id", "aggregate_id", "appointment_id"}
    assert outcomes(world, world.request(first), world.request(second)) == [("deliver", "deliver")] * 2


def test_a_campaign_run_again_writes_only_to_those_it_did_not_reach(world: World) -> None:
    """listmonk#1802, Notifuse#414, mautic#13070: a second run, or a crash in the middle, sends to everybody again."""
    world.add_recipient("patient:2")
    requests = [world.request(world.created(1), f"patient:{patient}") for patient in (1, 2)]
    world.ask(requests[0])
    again = world.messages(world.ask(*requests))
    assert {one["recipient"] for one in again} == {"patient:2"}


def test_what_is_refused_or_put_off_burns_no_quota(world: World) -> None:
    """The specification counts first and checks then, so that what is rejected uses up the minute."""
    world.add_policy(CLINIC, messages_per_minute=1, disabled_types=["appointment_confirmation"])
    assert outcomes(world, world.request(world.created(1))) == [("suppress", "type_disabled")]
    assert outcomes(world, follow_up(world, 2)) == [("deliver", "deliver")]
    held = [follow_up(world, number) for number in (3, 4, 5)]
    assert {reason for _, reason in outcomes(world, *held)} == {"rate_limit"}
    # The ones that waited took nothing of the next minute: one of them goes, as if it were alone.
    assert len(world.messages(world.work(now_ms=NOW_MS + 75_000))) == 1


def test_an_opt_out_that_comes_while_it_waits_is_obeyed(world: World) -> None:
    """Between scheduling and sending she said no; systems that decide once send it all the same."""
    world.add_recipient("patient:1", preferences={**OPTED, "quiet_hours": QUIET})
    assert outcomes(world, follow_up(world, 1), now_ms=EVENING) == [("defer", "quiet_hours")]
    consent = {"consent_type": "sms_transactional", "status": "opted_out", "consent_date": NOW, "method": "electronic"}
    world.add_recipient(
        "patient:1", version=2, preferences={**OPTED, "quiet_hours": QUIET}, consents=[consent], emails=[]
    )
    outputs = world.work(now_ms=MORNING + HOUR_MS)
    assert world.messages(outputs) == []
    assert [one["reason"] for one in world.decisions(outputs)] == ["opted_out"]


def test_a_number_blocked_while_it_waits_is_not_texted(world: World) -> None:
    """A STOP, a bounce or a carrier's block between scheduling and sending."""
    world.add_recipient("patient:1", preferences={**OPTED, "quiet_hours": QUIET}, emails=[])
    assert outcomes(world, follow_up(world, 1), now_ms=EVENING) == [("defer", "quiet_hours")]
    world.add_gate(f"address:sms:*:{world.ring.address_hash('sms', '+15551234567')}")
    outputs = world.work(now_ms=MORNING + HOUR_MS)
    assert world.messages(outputs) == []
    assert [one["reason"] for one in world.decisions(outputs)] == ["address_suppressed"]


def test_cancelled_while_it_waits_for_the_morning_it_is_not_sent(world: World) -> None:
    """novu#5050: cancelling races with the fan-out; novu#2937, #3270."""
    world.add_recipient("patient:1", preferences={**OPTED, "quiet_hours": QUIET})
    assert outcomes(world, world.request(world.created(1)), now_ms=EVENING) == [("defer", "quiet_hours")]
    cancelled = world.created(2, aggregate_id="A-1", aggregate_version=2)
    withdrawal = world.request(cancelled) | {"kind": "withdraw", "withdraws": "all", "sealed": None}
    assert outcomes(world, withdrawal, now_ms=EVENING) == [("suppress", "cancelled")]
    assert world.work(now_ms=MORNING + HOUR_MS) == []


def test_a_cancelled_appointment_can_be_restored_and_moved(world: World) -> None:
    """novu#2937, #3270: what is cancelled cannot be taken up again, what is scheduled cannot be moved."""
    cancelled = world.created(2, aggregate_id="A-1", aggregate_version=2)
    world.ask(world.request(cancelled) | {"kind": "withdraw", "withdraws": "all", "sealed": None})
    restored = world.created(3, aggregate_id="A-1", aggregate_version=3)
    later = NOW + timedelta(hours=1)
    assert outcomes(world, world.request(restored, due_at=later)) == [("defer", "not_due")]
    moved = world.created(4, aggregate_id="A-1", aggregate_version=4)
    assert outcomes(world, world.request(moved, withdraws="older", due_at=later + timedelta(hours=1))) == [
        ("suppress", "superseded"),
        ("defer", "not_due"),
    ]
    assert world.messages(world.work(now_ms=NOW_MS + HOUR_MS)) == []
    assert len(world.messages(world.work(now_ms=NOW_MS + 2 * HOUR_MS))) == 2


def test_everything_about_one_person_has_their_key_and_so_their_order(world: World) -> None:
    """Dittofeed keys its topic by message (no order for one person), Notifo by app (one hot partition)."""
    outputs = world.ask(world.request(world.created(1)), follow_up(world, 2))
    assert {output.key for output in outputs} == {b"patient:1"}


def test_a_late_failure_of_a_text_that_arrived_changes_nothing(world: World) -> None:
    """alphagov#2916, cds-snc/notification-api#1918: receipts late or out of order turn a delivery into a failure."""
    world.add_policy(CLINIC, daily_cap=1)
    (text,) = world.messages(world.ask(follow_up(world, 1)))
    arrived = NOW + timedelta(seconds=5)
    world.work(
        world.status(text, "delivered", arrived), world.status(text, "undelivered", arrived + timedelta(minutes=1))
    )
    assert outcomes(world, follow_up(world, 2)) == [("defer", "daily_cap")]


def test_the_sender_of_a_digest_does_not_tell_on_a_channel_that_one_of_its_parts_may_not_use(world: World) -> None:
    """Digests elsewhere merge contents and forget whose consent each of them needed."""
    world.add_policy(CLINIC, digest_categories=["clinical"], digest_hour=9)
    world.add_recipient("patient:1", time_zone="America/New_York")
    world.add_template(CAPPED, "email", "Hi", subject="How are you?", html="<p>Hi</p>")
    digest: dict[str, Any] = {
        "records": ("luxe.events.NotificationRequested",),
        "subject": "News",
        "html": "<p>News</p>",
    }
    world.add_template("patient_digest", "email", "{{ digest_items }}", **digest)
    world.ask(follow_up(world, 1), world.request(world.created(2, email_opt_in=False), kind=CAPPED), now_ms=EVENING)
    told = world.messages(world.work(now_ms=at("2026-12-02T14:30")))
    assert {(one["notification_type"], one["channel"]) for one in told} == {(CAPPED, "sms")}
