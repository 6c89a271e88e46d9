"""The first hop, event by event, on the data plane's own batches."""

from __future__ import annotations

import struct
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.topics import AGGREGATE_GATES, DEAD_LETTERS
from streams.forgetting import FORGET_MS
from streams.runtime import FatalError, Output
from tests.intake_world import IntakeWorld
from tests.unit.rules.events import event

TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def world(tmp_path: Path) -> IntakeWorld:
    return IntakeWorld(tmp_path)


def _letters(world: IntakeWorld, outputs: list[Output]) -> list[dict[str, Any]]:
    return [world.codec.decode(output.value).value for output in outputs if output.topic == DEAD_LETTERS]


def test_a_booking_becomes_sealed_requests_keyed_by_their_recipients(world: IntakeWorld) -> None:
    happened = event("appointment.created", provider_id="s1")
    outputs = world.ask(happened)
    requests = world.requests(outputs)
    assert {request["notification_type"] for request in requests} >= {
        "appointment_confirmation",
        "appointment_reminder_24h",
    }
    assert [output.key for output in outputs] == [request["recipient"].encode() for request in requests]
    for request in requests:
        assert world.opened(request, request["recipient"])["event_id"] == happened["event_id"]
    assert all(b"Botox" not in (output.value or b"") for output in outputs)


def test_what_an_event_causes_carries_its_trace_correlation_and_time(world: IntakeWorld) -> None:
    happened = event("payment.received")
    record = world.record(happened, headers=(("traceparent", TRACE),))
    headers = dict(world.work(record)[0].headers or ())
    assert headers["traceparent"] == TRACE
    assert headers["correlation_id"] == b"c-1"
    assert headers["occurred_at_ms"] == str(int(happened["occurred_at"].timestamp() * 1000)).encode()
    began = dict(world.ask(event("payment.received"))[0].headers or ())
    assert len((began["traceparent"] or b"").split(b"-")[1]) == 32


def test_a_stranger_is_sealed_with_the_clinics_key_and_an_unknown_clinic_with_everybodys(world: IntakeWorld) -> None:
    (request, *_) = world.requests(world.ask(event("payment.received", patient_id="p9")))
    assert world.opened(request, "clinic:clinic-1")["patient_id"] == "p9"
    (request, *_) = world.requests(world.ask(event("payment.received", patient_id="p9", clinic_id="elsewhere")))
    assert world.opened(request, "clinic:*")["patient_id"] == "p9"


def test_a_new_data_key_is_used_at_once(world: IntakeWorld) -> None:
    world.ask(event("payment.received"))
    world.add_recipient("patient:p1")
    (request, *_) = world.requests(world.ask(event("payment.received", aggregate_id="a2")))
    assert world.opened(request, "patient:p1")["patient_id"] == "p1"


def test_each_of_many_keeps_only_themselves(world: IntakeWorld) -> None:
    closed = event("clinic.closure", affected_patients=["p1", "p2"])
    requests = [one for one in world.requests(world.ask(closed)) if one["recipient"].startswith("patient:")]
    lists = {
        one["recipient"]: world.opened(one, key)["affected_patients"]
        for one, key in zip(requests, ("patient:p1", "clinic:clinic-1"), strict=True)
    }
    assert lists == {"patient:p1": ["p1"], "patient:p2": ["p2"]}


def test_staff_come_and_go(world: IntakeWorld) -> None:
    assert [one["recipient"] for one in world.requests(world.ask(event("sync.error")))] == ["staff:boss"]
    world.add_recipient("staff:boss", roles=["admin"], active=False)
    world.add_recipient("staff:new", roles=["admin", "staff"])
    outputs = world.ask(event("sync.error", aggregate_id="a2"))
    assert [one["recipient"] for one in world.requests(outputs)] == ["staff:new"]
    world.roster.changed(b"staff:new", None)
    assert world.requests(world.ask(event("sync.error", aggregate_id="a3"))) == []


def test_a_change_closes_the_gate_of_what_was_before(world: IntakeWorld) -> None:
    world.ask(event("appointment.created"))
    outputs = world.ask(event("appointment.cancelled", version=2))
    (gate,) = (world.codec.decode(output.value).value for output in outputs if output.topic == AGGREGATE_GATES)
    assert (gate["gate_key"], gate["reason"]) == ("aggregate:clinic-1:appointment:a1", "cancelled")
    assert [request["withdraws"] for request in world.requests(outputs)] == ["all", "none", "all"]


def test_events_of_one_batch_see_each_other(world: IntakeWorld) -> None:
    created = event("appointment.created")
    outputs = world.ask(created, event("appointment.cancelled", version=2), created)
    assert [output.topic for output in outputs].count(AGGREGATE_GATES) == 1
    assert world.intake.counts == {"mapped": 2, "duplicate": 1}
    assert [letter["error_code"] for letter in _letters(world, outputs)] == ["duplicate_event"]


def test_what_comes_too_late_is_kept_with_its_reason(world: IntakeWorld) -> None:
    world.ask(event("appointment.created"), event("appointment.rescheduled", version=3))
    (letter,) = _letters(world, world.ask(event("appointment.confirmed", version=2)))
    assert letter["error_code"] == "superseded_event"
    world.ask(event("appointment.cancelled", version=4))
    (letter,) = _letters(world, world.ask(event("appointment.confirmed", version=5)))
    assert letter["error_code"] == "closed_aggregate"


def test_what_comes_to_nothing_is_remembered_all_the_same(world: IntakeWorld) -> None:
    world.ask(event("appointment.created"), event("appointment.cancelled", version=2))
    not_come = event("appointment.no_show", version=4)
    world.ask(not_come)
    (letter,) = _letters(world, world.ask(not_come))
    assert letter["error_code"] == "closed_aggregate"
    outputs = world.ask(event("appointment.restored", version=3))  # older than what was refused: it brings nothing back
    assert [letter["error_code"] for letter in _letters(world, outputs)] == ["closed_aggregate"]
    assert world.requests(outputs) == []


def test_what_was_moved_since_is_not_moved_back_by_its_older_restoring(world: IntakeWorld) -> None:
    world.ask(event("appointment.created"), event("appointment.cancelled", version=2))
    assert world.requests(world.ask(event("appointment.rescheduled", version=4)))
    outputs = world.ask(event("appointment.restored", version=3))
    assert [letter["error_code"] for letter in _letters(world, outputs)] == ["superseded_event"]
    assert world.requests(outputs) == []


def test_an_aggregate_is_forgotten_long_after_its_last_event(world: IntakeWorld) -> None:
    world.ask(event("appointment.created"))
    world.now_ms += FORGET_MS - 1000
    world.ask(event("appointment.confirmed", version=2, occurred_at=datetime.fromtimestamp(world.now_ms / 1000, UTC)))
    world.now_ms += 2000
    world.work()
    assert world.store.rows
    world.now_ms += FORGET_MS
    world.work()
    assert not world.store.rows


def _schema_id(value: bytes, number: int) -> bytes:
    return value[:1] + struct.pack(">I", number) + value[5:]


GOOD = event("payment.received")


@pytest.mark.parametrize(
    ("code", "spoil"),
    [
        ("unknown_magic_byte", lambda value: b"\x01" + value[1:]),
        ("unknown_schema_id", lambda value: _schema_id(value, 999_999)),
        ("truncated_record", lambda value: value[:-7]),
        ("truncated_record", lambda _: b"\x00\x00"),
        ("trailing_bytes", lambda value: value + b"xx"),
        ("oversized_record", lambda value: value + b"x" * (10 * 1024 * 1024)),
        ("invalid_utf8", lambda value: value.replace(b"p1", b"\xff\xfe")),
        ("tombstone", lambda _: None),
        ("unknown_magic_byte", lambda _: b'{"event_type": "payment.received"}'),
    ],
)
def test_bytes_that_are_no_event_become_a_dead_letter_and_the_next_goes_on(
    world: IntakeWorld, code: str, spoil: Any
) -> None:
    value = spoil(world.record(GOOD).value)
    outputs = world.work(world.record(GOOD, value=value), world.record(event("payment.received", aggregate_id="a2")))
    (letter,) = _letters(world, outputs)
    assert letter["error_code"] == code
    assert letter["stage"] == "intake"
    assert len(world.requests(outputs)) == 2


@pytest.mark.parametrize(
    ("code", "field", "changes"),
    [
        ("impossible_value", "occurred_at", {"occurred_at": datetime(1970, 1, 1, tzinfo=UTC)}),
        ("impossible_value", "occurred_at", {"occurred_at": datetime(2099, 1, 1, tzinfo=UTC)}),
        ("impossible_value", "aggregate_version", {"aggregate_version": -1}),
        ("impossible_value", "event_id", {"event_id": "not a uuid"}),
        ("impossible_value", "currency", {"currency": "dollars"}),
    ],
)
def test_impossible_values(world: IntakeWorld, code: str, field: str, changes: dict[str, Any]) -> None:
    (letter,) = _letters(world, world.ask(event("payment.received") | changes))
    assert (letter["error_code"], letter["field"]) == (code, field)
    for value in changes.values():
        assert str(value) not in letter["explanation"]


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("wrong_key", {"key": None}),
        ("wrong_key", {"key": b"another"}),
        ("wrong_topic", {"topic": "events.appointment"}),
    ],
)
def test_an_event_in_the_wrong_place(world: IntakeWorld, code: str, changes: dict[str, Any]) -> None:
    (letter,) = _letters(world, world.work(world.record(event("payment.received"), **changes)))
    assert letter["error_code"] == code


def test_a_record_that_is_no_event(world: IntakeWorld) -> None:
    request = next(output for output in world.ask(event("payment.received")))
    (letter,) = _letters(
        world, world.work(world.record(event("payment.received", aggregate_id="a2"), value=request.value))
    )
    assert letter["error_code"] == "unknown_event_type"


def test_a_request_for_a_type_that_is_not(world: IntakeWorld) -> None:
    asked = event("notification.requested", notification_type="nothing_like_it", recipient="patient:p1")
    (letter,) = _letters(world, world.ask(asked))
    assert (letter["error_code"], letter["field"]) == ("unknown_notification_type", "notification_type")
    assert "nothing_like_it" not in letter["explanation"]


def test_a_failed_event_leaves_nothing_behind(world: IntakeWorld) -> None:
    world.recipients[b"patient:p1"] = b"\x00broken"
    outputs = world.ask(event("payment.received"))
    assert [letter["error_code"] for letter in _letters(world, outputs)] == ["unreadable_record"]
    assert world.requests(outputs) == []
    assert not world.store.rows


def test_without_any_policy_nothing_is_guessed(world: IntakeWorld) -> None:
    world.policies.clear()
    with pytest.raises(FatalError, match=r"policy `\*`"):
        world.ask(event("payment.received"))


def test_a_very_large_audience(world: IntakeWorld) -> None:
    patients = [uuid.uuid4().hex for _ in range(2000)]
    outputs = world.ask(event("campaign.launched", kind="newsletter", patients=patients))
    assert len(world.requests(outputs)) == 2000


def test_a_trace_that_is_none_is_not_passed_on(world: IntakeWorld) -> None:
    happened = event("payment.received")
    headers = dict(world.work(world.record(happened, headers=(("traceparent", b"Jane Roe"),)))[0].headers or ())
    assert b"Jane" not in (headers["traceparent"] or b"")


def test_a_dead_letter_shows_neither_the_originals_key_nor_what_cannot_be(world: IntakeWorld) -> None:
    happened = event("payment.received") | {"event_id": "Jane Roe", "correlation_id": "c-1"}
    outputs = world.work(world.record(happened, key=b"jane@example.com"))
    (letter,) = _letters(world, outputs)
    assert (letter["event_id"], letter["correlation_id"]) == (None, "c-1")
    assert outputs[0].key == letter["dead_letter_id"].encode()
