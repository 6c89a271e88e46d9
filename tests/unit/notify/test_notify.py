"""The second hop, event by event, on the data plane's own batches."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.topics import DECISIONS
from streams.rules.schedule import CLOSED_KEPT_MS, MARK_KEPT_MS, STATE_KEPT_MS
from tests.notify_world import CLINIC, NOW, NOW_MS, World

HOUR_MS = 3_600_000
REMINDER = "appointment_reminder_24h"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.add_recipient("patient:1")
    world.add_confirmation()
    world.add_template(REMINDER, "sms", "Hi {{ first_name }}, see you on {{ appointment_date }}.")
    return world


def reminder(world: World, number: int = 1, **changes: Any) -> dict[str, Any]:
    """A request that is due in an hour."""
    event = world.created(number, **{key: changes.pop(key) for key in ("aggregate_version",) if key in changes})
    return world.request(event, kind=REMINDER, **{"due_at": NOW + timedelta(hours=1)} | changes)


def withdrawal(world: World, number: int, version: int, withdraws: str = "all") -> dict[str, Any]:
    """A request that only withdraws what waits for appointment 1."""
    event = world.created(number, aggregate_id="A-1", aggregate_version=version)
    return world.request(event, kind=REMINDER) | {"kind": "withdraw", "withdraws": withdraws, "sealed": None}


def test_a_confirmation_becomes_a_text_and_an_email(world: World) -> None:
    outputs = world.ask(world.request(world.created(1)))
    assert [output.topic for output in outputs] == ["deliver.sms.high", "deliver.email.high", "notifications.decisions"]
    assert {output.key for output in outputs} == {b"patient:1"}
    assert all(output.headers and output.headers[0][0] == "traceparent" for output in outputs)
    text, mail = map(world.content, world.messages(outputs))
    assert text["to"] == "+15551234567"
    assert text["body"] == "Hi Sarah! Your appointment at Luxe Medical Spa is confirmed for Dec 24, 2026 at 2:00 PM."
    assert mail["subject"] == "Your appointment at Luxe Medical Spa is confirmed"
    assert "cosmetic treatment with Dr. Smith" in mail["body"]
    assert 'href="https://portal.luxe.example"' in mail["html"]
    assert "Botox" not in mail["html"] + mail["body"] + text["body"]
    (decision,) = world.decisions(outputs)
    assert (decision["outcome"], decision["reason"], decision["template_id"], decision["recipient_version"]) == (
        "deliver",
        "deliver",
        "appointment_confirmation",
        1,
    )
    assert [(step["channel"], step["parallel"], step["template_version"]) for step in decision["steps"][:2]] == [
        ("sms", False, 1),
        ("email", True, 1),
    ]
    assert decision["steps"][-1]["channel"] == "in_app"
    assert {step["template_version"] for step in decision["steps"][2:]} == {0}
    first = world.messages(outputs)[0]
    assert first["delivery_id"] == decision["steps"][0]["delivery_id"]
    assert (first["segments"], first["sender_class"], first["consent_scope"]) == (1, "care", "sms_transactional")


def test_the_same_request_decided_anew_is_the_same_decision_to_the_byte(world: World, tmp_path: Path) -> None:
    """Messages are sealed with a nonce of their own each time; the decision record is not."""
    other_place = tmp_path / "other"
    other_place.mkdir()
    other = World(other_place)
    other.add_confirmation()
    other.add_recipient("patient:1")
    request = world.request(world.created(1))
    again = request | {"sealed": other.request(other.created(1))["sealed"]}
    decided = [[one.value for one in place.ask(what) if one.topic == DECISIONS] for place, what in (
        (world, request), (other, again),
    )]  # fmt: skip
    assert decided[0] == decided[1]
    assert len(decided[0]) == 1


def test_nothing_of_a_person_lies_open(world: World) -> None:
    for output in world.ask(world.request(world.created(1))):
        for told in (b"Sarah", b"+1555", b"sarah@example.com", b"Botox", b"Dr. Smith"):
            assert told not in (output.value or b"")


def test_a_duplicate_sends_nothing_and_is_counted(world: World) -> None:
    request = world.request(world.created(1))
    assert world.ask(request)
    assert world.ask(request, request) == []
    assert world.notify.counts["duplicates"] == 2


def test_what_is_not_due_waits_and_is_sent_once_when_it_is(world: World) -> None:
    outputs = world.ask(reminder(world))
    (decision,) = world.decisions(outputs)
    assert (decision["outcome"], decision["reason"], decision["sequence"]) == ("defer", "not_due", 0)
    assert decision["until"] == NOW + timedelta(hours=1)
    assert world.messages(outputs) == []
    assert world.work(now_ms=NOW_MS + HOUR_MS - 1) == []
    fired = world.work(now_ms=NOW_MS + HOUR_MS)
    assert len(world.messages(fired)) == 1
    (decided,) = world.decisions(fired)
    assert (decided["outcome"], decided["sequence"]) == ("deliver", 1)
    assert [decided[f"source_{part}"] for part in ("topic", "partition", "offset")] == ["notifications.requested", 0, 1]
    assert world.arrive(fired) == []
    assert world.work(now_ms=NOW_MS + 2 * HOUR_MS) == []


def test_a_newer_version_ends_what_waits(world: World) -> None:
    world.ask(reminder(world))
    moved = world.created(2, aggregate_id="A-1", aggregate_version=2)
    outputs = world.ask(world.request(moved, withdraws="older"))
    superseded, confirmed = world.decisions(outputs)
    assert (superseded["outcome"], superseded["reason"], superseded["sequence"]) == ("suppress", "superseded", 1)
    assert superseded["notification_type"] == REMINDER
    assert confirmed["outcome"] == "deliver"
    assert world.arrive(outputs) == []
    assert world.work(now_ms=NOW_MS + HOUR_MS) == []


def test_a_cancellation_sends_its_own_notice_and_ends_the_rest(world: World) -> None:
    world.ask(reminder(world), reminder(world, 3, aggregate_id="A-3"))
    cancelled = world.created(2, aggregate_id="A-1", aggregate_version=2)
    decisions = world.decisions(world.ask(world.request(cancelled, withdraws="all")))
    assert [(one["outcome"], one["reason"]) for one in decisions] == [("suppress", "cancelled"), ("deliver", "deliver")]
    # The other appointment's reminder is sent.
    assert len(world.messages(world.work(now_ms=NOW_MS + HOUR_MS))) == 1


def test_a_cancellation_that_comes_first_still_cancels(world: World) -> None:
    assert world.ask(withdrawal(world, 9, version=5)) == []
    outputs = world.ask(reminder(world, 1), world.request(world.created(1)))
    assert {(one["outcome"], one["reason"]) for one in world.decisions(outputs)} == {("suppress", "cancelled")}
    assert world.messages(outputs) == []
    # A later version is a new appointment again.
    restored = world.created(4, aggregate_id="A-1", aggregate_version=6)
    assert world.messages(world.ask(world.request(restored)))


def test_marks_and_states_are_forgotten_in_the_end(world: World) -> None:
    world.ask(withdrawal(world, 9, version=5), world.request(world.created(1, aggregate_id="B")))
    assert world.store.rows
    world.work(now_ms=NOW_MS + max(MARK_KEPT_MS, CLOSED_KEPT_MS, STATE_KEPT_MS))
    assert world.store.rows == {}


def test_what_waits_is_remembered_until_it_was_sent(world: World) -> None:
    far = NOW_MS + STATE_KEPT_MS + 30 * 24 * HOUR_MS
    request = reminder(world, due_at=NOW + timedelta(milliseconds=far - NOW_MS))
    world.ask(request)
    world.work(now_ms=NOW_MS + STATE_KEPT_MS + HOUR_MS)
    assert world.ask(request, now_ms=NOW_MS + STATE_KEPT_MS + HOUR_MS) == []  # still a duplicate
    assert len(world.messages(world.work(now_ms=far))) == 1


def test_an_expired_one_is_suppressed(world: World) -> None:
    outputs = world.ask(world.request(world.created(1), expires_at=NOW))
    (decision,) = world.decisions(outputs)
    assert (decision["outcome"], decision["reason"]) == ("suppress", "expired")


def test_a_stranger_gets_what_is_essential_by_the_events_addresses(world: World) -> None:
    outputs = world.ask(world.request(world.created(1, patient="77", patient_phone="+15557654321")))
    text, _ = map(world.content, world.messages(outputs))
    assert (text["to"], text["body"][:9]) == ("+15557654321", "Hi Sarah!")
    (decision,) = world.decisions(outputs)
    assert decision["recipient_version"] == 0
    assert [step["channel"] for step in decision["steps"]] == ["sms", "email"]


def test_an_unknown_clinic_has_the_systems_policy(world: World) -> None:
    outputs = world.ask(world.request(world.created(1, clinic_id="nowhere", patient="77")))
    assert len(world.messages(outputs)) == 2


def test_an_erased_recipient_gets_nothing(world: World) -> None:
    request = world.request(world.created(1))
    del world.recipients[b"patient:1"]
    (decision,) = world.decisions(world.ask(request))
    assert (decision["outcome"], decision["reason"]) == ("suppress", "recipient_blocked")


@pytest.mark.parametrize(
    ("gate", "channels"),
    [
        ("recipient:patient:1", []),
        ("address:sms:care:{sms}", ["email"]),
        ("address:sms:*:{sms}", ["email"]),
        ("address:sms:marketing:{sms}", ["sms", "email"]),
        ("address:email:*:{email}", ["sms"]),
    ],
)
def test_gates_close(world: World, gate: str, channels: list[str]) -> None:
    hashes = {
        "sms": world.ring.address_hash("sms", "+15551234567"),
        "email": world.ring.address_hash("email", "Sarah@Example.com"),
    }
    world.add_gate(gate.format(**hashes))
    assert [message["channel"] for message in world.messages(world.ask(world.request(world.created(1))))] == channels


def test_a_gate_that_has_expired_is_open(world: World) -> None:
    world.add_gate("recipient:patient:1", expires_at=NOW)
    assert world.messages(world.ask(world.request(world.created(1))))


def test_an_events_own_flag_closes_a_channel(world: World) -> None:
    outputs = world.ask(world.request(world.created(1, sms_opt_in=False)))
    assert [message["channel"] for message in world.messages(outputs)] == ["email"]


def test_a_change_of_the_recipients_record_counts_at_once(world: World) -> None:
    assert len(world.messages(world.ask(world.request(world.created(1))))) == 2
    world.add_recipient("patient:1", version=2, emails=[], first_name="Sally")
    (message,) = world.messages(world.ask(world.request(world.created(2))))
    assert world.content(message)["body"].startswith("Hi Sally!")


def test_language_falls_back_and_dates_follow_the_text(world: World) -> None:
    world.add_template("appointment_confirmation", "sms", "Hola {{ first_name }}: {{ appointment_date }}", locale="es")
    world.add_recipient("patient:1", emails=[], locale="es-MX")
    (message,) = world.messages(world.ask(world.request(world.created(1))))
    assert (message["locale"], world.content(message)["body"]) == ("es-MX", "Hola Sarah: 24 dic 2026")
    world.add_recipient("patient:2", emails=[], locale="fr-FR")
    (message,) = world.messages(world.ask(world.request(world.created(2, patient="2"))))
    assert (message["locale"], "Dec 24, 2026" in world.content(message)["body"]) == ("en", True)


def test_the_newest_active_version_is_used(world: World) -> None:
    world.add_recipient("patient:1", emails=[])
    world.add_template("appointment_confirmation", "sms", "Two", version=2)
    world.add_template("appointment_confirmation", "sms", "Three", version=3, status="draft")
    (message,) = world.messages(world.ask(world.request(world.created(1))))
    assert (world.content(message)["body"], message["template_version"]) == ("Two", 2)
    world.templates.changed(b"appointment_confirmation/sms/en/2", None)
    (message,) = world.messages(world.ask(world.request(world.created(2))))
    assert message["template_version"] == 1


def test_a_fault_of_one_event_leaves_its_neighbours_alone(world: World) -> None:
    world.add_template("appointment_cancelled", "sms", "{{ first_name.missing }}")
    good, bad = world.request(world.created(1)), world.request(world.created(2), kind="appointment_cancelled")
    outputs = world.ask(bad, good)
    (letter,) = world.letters(outputs)
    assert (letter["error_code"], letter["notification_type"], letter["event_id"]) == (
        "template_error",
        "appointment_cancelled",
        bad["event_id"],
    )
    assert "Sarah" not in letter["explanation"]
    assert [one["notification_id"] for one in world.decisions(outputs)] == [good["notification_id"]]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"notification_type": "no_such_type"}, "unknown_notification_type"),
        ({"sealed": None}, "missing_event"),
        ({"sealed": b"\x01c" + bytes(60)}, "unreadable_event"),
    ],
)
def test_requests_that_nobody_can_handle(world: World, change: dict[str, Any], code: str) -> None:
    request = world.request(world.created(1)) | change
    (letter,) = world.letters(world.ask(request))
    assert (letter["error_code"], letter["stage"], letter["source_offset"]) == (code, "notify", 1)


def test_a_missing_template_is_named(world: World) -> None:
    world.add_template("appointment_cancelled", "email", "x", subject="x")
    (letter,) = world.letters(world.ask(world.request(world.created(1), kind="appointment_cancelled")))
    assert letter["error_code"] == "template_missing"
    assert "appointment_cancelled/sms" in letter["explanation"]


def test_a_text_that_shows_too_much_is_stopped_at_rendering(world: World) -> None:
    row = world.codec.decode(world.templates._rows["appointment_confirmation", "sms", "en"][1]).value
    row |= {"body": "{{ service }}", "variables": [row["variables"][0] | {"name": "service", "level": 1}]}
    wire = world.codec.encode("templates", "luxe.pipeline.Template", row)
    world.templates.changed(b"appointment_confirmation/sms/en/1", wire)
    (letter,) = world.letters(world.ask(world.request(world.created(1))))
    assert letter["error_code"] == "template_error"
    assert "service is level 3, sms body shows level 1" in letter["explanation"]


def test_rubbish_is_a_dead_letter(world: World) -> None:
    outputs = world.work(world.record("notifications.requested", "patient:1", b"\x07rubbish"))
    (letter,) = world.letters(outputs)
    assert letter["error_code"] == "unknown_magic_byte"
    assert outputs[0].key == letter["dead_letter_id"].encode()


def test_a_timer_that_cannot_be_handled_is_a_dead_letter_and_does_not_fire_again(world: World) -> None:
    world.ask(reminder(world))
    world.templates.changed(f"{REMINDER}/sms/en/1".encode(), None)
    (letter,) = world.letters(world.work(now_ms=NOW_MS + HOUR_MS))
    assert (letter["error_code"], letter["notification_type"]) == ("template_missing", REMINDER)
    assert world.work(now_ms=NOW_MS + 2 * HOUR_MS) == []


def test_an_unreadable_recipient_is_not_taken_for_an_unknown_one(world: World) -> None:
    request = world.request(world.created(1))
    world.recipients[b"patient:1"] = world.recipients[b"patient:1"][:-5]
    (letter,) = world.letters(world.ask(request))
    assert letter["error_code"] == "unreadable_record"


def test_receipts_are_kept_in_any_order(world: World) -> None:
    outputs = world.ask(world.request(world.created(1)))
    text, mail = world.messages(outputs)
    later = NOW + timedelta(seconds=5)
    world.work(world.status(text, "delivered", later), world.status(text, "sent"), world.status(mail, "sent"))
    state = kept(world, text)
    assert [step["status"] for step in state["steps"][:2]] == ["delivered", "sent"]
    assert state["final"] == "delivered"
    assert world.notify.counts["receipts"] == 3
    world.work(world.status(text | {"notification_id": world.created(5)["event_id"]}, "sent"))
    assert world.notify.counts["receipts_unknown"] == 1


def kept(world: World, message: dict[str, Any]) -> dict[str, Any]:
    """What notify remembers of the notification that a message is of."""
    row = world.store.get(b"sn" + bytes.fromhex(message["notification_id"].replace("-", "")))
    assert row is not None
    return world.codec.decode_bare("luxe.pipeline.NotificationState", row)


def test_what_is_remembered_names_where_it_came_from(world: World) -> None:
    (message, _) = world.messages(world.ask(world.request(world.created(1))))
    state = kept(world, message)
    assert (state["source_topic"], state["source_partition"], state["source_offset"]) == (
        "notifications.requested",
        0,
        1,
    )
    assert (state["outcome"], state["sequence"], state["final"]) == ("deliver", 1, "")


def test_a_request_of_a_type_by_name_takes_its_variables_from_the_map(world: World) -> None:
    requested = {key: world.created(1)[key] for key in (
        "event_id", "occurred_at", "schema_version", "source", "correlation_id", "clinic_id", "aggregate_id",
        "aggregate_version", "metadata",
    )} | {
        "event_type": "notification.requested", "request_id": "r", "recipient": "patient:1",
        "notification_type": "appointment_confirmation", "message_level": 1, "requested_by": "api",
        "data": {"appointment_date": "2026-12-24", "appointment_time": "14:00", "provider": "Dr. Smith", "service": "x"},
    }  # fmt: skip
    request = world.request(requested, "patient:1", record="luxe.events.NotificationRequested")
    text, _ = map(world.content, world.messages(world.ask(request)))
    assert text["body"].endswith("for Dec 24, 2026 at 2:00 PM.")


def test_a_code_goes_to_the_address_that_is_to_be_verified_and_to_no_other(world: World) -> None:
    record = "luxe.events.NotificationRequested"
    world.add_template("address_verification", "sms", "{{ code }} is your code.", records=(record,))
    asked = {
        "event_id": "00000000-0000-4000-8000-000000000077",
        "event_type": "notification.requested",
        "occurred_at": NOW,
        "schema_version": "1",
        "source": "luxe-api",
        "clinic_id": CLINIC,
        "aggregate_id": "R-1",
        "aggregate_version": 1,
        "request_id": "R-1",
        "recipient": "patient:1",
        "notification_type": "address_verification",
        "data": {"code": "480213", "channel": "sms", "address": "+15557654321"},
        "urgent": True,
        "requested_by": "patient:1",
    }
    whole: dict[str, Any] = {"correlation_id": None, "metadata": {}, "title": None, "message": None, "message_level": 1}
    event = {**asked, **whole, "send_at": None, "expires_at": None}
    request = world.request(event, "patient:1", "address_verification", record=record)
    (text,) = world.messages(world.ask(request))
    assert (text["channel"], world.content(text)["to"]) == ("sms", "+15557654321")
    assert world.content(text)["body"] == "480213 is your code."
