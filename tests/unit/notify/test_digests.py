"""Digests: what one too many, or what the clinic bundles, comes in one message at the recipient's hour."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from schemas.topics import REQUESTED
from streams.waiting import at_ms
from tests.notify_world import CLINIC, World
from tests.unit.rules.people import at

KIND, OTHER = "follow_up_recommendation", "treatment_followup_24hr"
NOON, NINE = at("2026-12-01T12:00-05:00"), at("2026-12-02T09:00-05:00")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.add_recipient("patient:1", time_zone="America/New_York")
    world.add_policy(CLINIC, digest_categories=["clinical"], digest_hour=9)
    for kind in (KIND, OTHER):
        world.add_template(kind, "sms", "Hi {{ first_name }}.")
        world.add_template(kind, "email", "Hi {{ first_name }}.", subject=f"About {kind}", html="<p>Hi</p>")
    world.add_template(
        "patient_digest",
        "email",
        "{{ digest_count }} for {{ first_name }}:\n{{ digest_items }}",
        subject="What is new",
        html="<p>{{ digest_items }}</p>",
        records=("luxe.events.NotificationRequested",),
    )
    return world


def asked(world: World, number: int, kind: str = KIND, **changes: Any) -> dict[str, Any]:
    return world.request(world.created(number), kind=kind, **changes)


def test_what_was_collected_comes_in_one_message_at_the_recipients_hour(world: World) -> None:
    collected = world.ask(asked(world, 1), asked(world, 2, OTHER), now_ms=NOON)
    assert {(one["outcome"], one["reason"]) for one in world.decisions(collected)} == {("defer", "digest")}
    assert world.messages(collected) == []
    assert world.work(now_ms=NINE - 1) == []
    due = world.work(now_ms=NINE + 600_000)
    (message,) = world.messages(due)
    assert message["notification_type"] == "patient_digest"
    first, *told = world.content(message)["body"].split("\n")
    assert (first, sorted(told)) == ("2 for Sarah:", [f"- About {KIND}", f"- About {OTHER}"])
    whole, *parts = world.decisions(due)
    assert (whole["outcome"], whole["notification_type"]) == ("deliver", "patient_digest")
    assert {(one["outcome"], one["reason"], one["digest_id"]) for one in parts} == {
        ("suppress", "in_digest", whole["notification_id"])
    }
    assert world.arrive(due) == []
    assert world.work(now_ms=NINE + 86_400_000) == []


def test_one_alone_is_sent_as_itself(world: World) -> None:
    world.ask(asked(world, 1, OTHER), now_ms=NOON)
    (message,) = world.messages(world.work(now_ms=NINE + 600_000))
    assert message["notification_type"] == OTHER


def test_what_was_withdrawn_or_refused_meanwhile_is_not_in_it(world: World) -> None:
    requests = [asked(world, number) for number in (1, 2, 3)]
    world.ask(*requests, now_ms=NOON)
    cancelled = world.created(9, aggregate_id="A-1", aggregate_version=2)
    withdrawal = world.request(cancelled, kind=KIND) | {"kind": "withdraw", "withdraws": "all", "sealed": None}
    (decision,) = world.decisions(world.ask(withdrawal, now_ms=NOON))
    assert decision["reason"] == "cancelled"
    (message,) = world.messages(world.work(now_ms=NINE + 600_000))
    assert world.content(message)["body"].startswith("2 for Sarah")


def test_what_the_clinic_switched_off_meanwhile_is_not_told(world: World) -> None:
    world.ask(asked(world, 1), asked(world, 2, OTHER), asked(world, 3, OTHER), now_ms=NOON)
    world.add_policy(CLINIC, digest_categories=["clinical"], digest_hour=9, disabled_types=[OTHER])
    due = world.work(now_ms=NINE + 600_000)
    assert sorted(one["reason"] for one in world.decisions(due)) == ["deliver", "type_disabled", "type_disabled"]
    assert [one["notification_type"] for one in world.messages(due)] == [KIND]


def test_two_a_day_too_many_are_told_together(world: World) -> None:
    world.add_policy(CLINIC, daily_cap=1)
    world.add_template("membership_credits_added", "email", "Hi", subject="Your credits", html="<p>Hi</p>")
    opted: dict[str, Any] = {
        "sms_opt_in": {}, "email_opt_in": {"membership": True}, "push_opt_in": {}
    }  # fmt: skip
    world.add_recipient("patient:1", preferences=opted, time_zone="America/New_York")
    outputs = world.ask(*(asked(world, number, "membership_credits_added") for number in (1, 2, 3)), now_ms=NOON)
    assert [one["reason"] for one in world.decisions(outputs)] == ["deliver", "daily_cap", "daily_cap"]
    (message,) = world.messages(world.work(now_ms=NINE + 600_000))
    assert message["notification_type"] == "patient_digest"


def test_a_digest_is_told_in_one_message_on_a_day_that_is_full_already(world: World) -> None:
    """Held by the cap that its parts were collected for, it was given up, and each part was told singly, past the cap."""
    world.add_policy(CLINIC, daily_cap=1, digest_categories=["clinical"], digest_hour=9)
    world.add_confirmation()
    world.ask(*(asked(world, number) for number in (1, 2, 3)), now_ms=NOON)
    early = world.request(world.created(4), occurred_at=at_ms(NINE - 3_600_000))
    assert len(world.messages(world.ask(early, now_ms=NINE - 3_600_000))) == 2
    (message,) = world.messages(world.work(now_ms=NINE + 600_000))
    assert message["notification_type"] == "patient_digest"


def test_what_may_not_be_told_together_keeps_to_the_cap(world: World) -> None:
    """She has no email, so that no digest comes: one of its parts takes the digest's place, the next day has the next."""
    world.add_policy(CLINIC, daily_cap=1, digest_categories=["clinical"], digest_hour=9)
    world.add_recipient("patient:1", emails=[], time_zone="America/New_York")
    world.ask(*(asked(world, number, expires_at=at_ms(NINE + 9 * 86_400_000)) for number in (1, 2, 3)), now_ms=NOON)
    assert len(world.messages(world.work(now_ms=NINE + 600_000))) == 1


def id_of(named: dict[str, Any]) -> bytes:
    return UUID(named["notification_id"]).bytes


def rows(world: World, prefix: bytes) -> list[bytes]:
    return [row for row in world.store.rows if row.startswith(prefix)]


def test_one_that_nobody_can_read_is_buried_alone_and_the_rest_is_told(world: World) -> None:
    world.ask(asked(world, 1), asked(world, 2, OTHER), asked(world, 3), now_ms=NOON)
    broken = rows(world, b"sq")[1]
    notification_id = str(UUID(bytes=broken[2:]))
    world.store.rows[broken] = b"\xff\x00nonsense"
    due = world.work(now_ms=NINE + 600_000)
    (letter,) = world.letters(due)
    assert (letter["notification_id"], letter["stage"]) == (notification_id, "notify")
    (message,) = world.messages(due)
    assert world.content(message)["body"].startswith("2 for Sarah:")
    assert notification_id not in {one["notification_id"] for one in world.decisions(due)}
    # It is over: nothing of it fires again, and the next digest has no trouble with it.
    assert rows(world, b"sq") == rows(world, b"sg") == []
    assert world.arrive(due) == []
    assert world.work(now_ms=NINE + 86_400_000) == []
    world.ask(asked(world, 4), asked(world, 5, OTHER), now_ms=NINE + 86_400_000)
    assert len(world.messages(world.work(now_ms=NINE + 2 * 86_400_000 + 600_000))) == 1


def test_one_that_cannot_be_opened_or_named_is_buried_alone(world: World) -> None:
    """Its template broke, or its event is sealed with a key that is gone, since it was collected."""
    world.ask(asked(world, 1), asked(world, 2, OTHER), asked(world, 3), now_ms=NOON)
    world.add_template(OTHER, "email", "Hi", subject="{{ first_name.missing }}", html="<p>Hi</p>", version=2)
    unsealed = next(row for row in rows(world, b"sq") if row[2:] == id_of(asked(world, 3)))
    timer = world.codec.decode_bare("luxe.pipeline.Timer", world.store.rows[unsealed])
    request = world.codec.decode(timer["request"]).value | {"sealed": b"\x01c" + bytes(60)}
    timer["request"] = world.codec.encode(REQUESTED, "luxe.pipeline.NotificationRequest", request)
    world.store.rows[unsealed] = world.codec.encode_bare("luxe.pipeline.Timer", timer)
    due = world.work(now_ms=NINE + 600_000)
    letters = world.letters(due)
    assert {one["error_code"] for one in letters} == {"template_error", "unreadable_event"}
    assert {id_of(one) for one in letters} == {id_of(asked(world, 2, OTHER)), id_of(asked(world, 3))}
    # One is left, and is sent as itself.
    assert [one["notification_type"] for one in world.messages(due)] == [KIND]
    assert not rows(world, b"sw")


def test_where_the_digest_itself_fails_what_it_would_have_told_is_told_singly(world: World) -> None:
    world.add_template(
        "patient_digest", "email", "{{ digest_items.missing }}", subject="What is new", html="<p>x</p>", version=2,
        records=("luxe.events.NotificationRequested",),
    )  # fmt: skip
    world.ask(asked(world, 1), asked(world, 2, OTHER), now_ms=NOON)
    due = world.work(now_ms=NINE + 600_000)
    (letter,) = world.letters(due)
    assert letter["error_code"] == "template_error"
    assert {one["notification_type"] for one in world.messages(due)} == {KIND, OTHER}
    assert {(one["outcome"], one["reason"]) for one in world.decisions(due)} == {("deliver", "deliver")}
    assert world.arrive(due) == []
    assert world.work(now_ms=NINE + 86_400_000) == []


def test_what_was_told_in_a_digest_says_by_which_versions_it_was_decided(world: World) -> None:
    world.ask(asked(world, 1), asked(world, 2, OTHER), now_ms=NOON)
    parts = [one for one in world.decisions(world.work(now_ms=NINE + 600_000)) if one["reason"] == "in_digest"]
    assert [(one["recipient_version"], one["policy_version"], one["steps"]) for one in parts] == [(1, 1, [])] * 2


def test_what_the_patient_wants_told_together_comes_at_their_own_hour(world: World) -> None:
    world.add_policy(CLINIC)
    wishes: dict[str, Any] = {"digest_categories": ["treatments"], "digest_hour": 18}
    opted: dict[str, Any] = {"sms_opt_in": {}, "email_opt_in": {}, "push_opt_in": {}}
    world.add_recipient("patient:1", preferences=opted | wishes, time_zone="America/New_York")
    collected = world.ask(asked(world, 1), asked(world, 2, OTHER), now_ms=NOON)
    assert {(one["outcome"], one["reason"]) for one in world.decisions(collected)} == {("defer", "digest")}
    evening = at("2026-12-01T18:00-05:00")
    assert world.work(now_ms=evening - 1) == []
    (message,) = world.messages(world.work(now_ms=evening + 600_000))
    assert message["notification_type"] == "patient_digest"
