"""Events become requests: for whom, due when, until when; and what becomes of events that come twice, late, or out of order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import EVENT_TYPES
from streams.catalog import Catalog
from streams.rules.local_time import ClinicTime, OpenDays
from streams.rules.mapping import EventMapping, Mapped, MappingError, compile_mapping
from streams.rules.memory import AggregateMemory
from streams.rules.slots import Times, times_at
from tests.unit.rules.events import NOW, event

CATALOG = Catalog.load()
MAPPINGS = compile_mapping(CATALOG)
CLINIC = ClinicTime("America/New_York", OpenDays({1, 2, 3, 4, 5}, ()))
START = datetime(2026, 7, 1, 18, tzinfo=UTC)  # 14:00 in New York
MOVED = datetime(2026, 7, 8, 19, tzinfo=UTC)


class _Roster:
    def staff_of(self, clinic_id: str, role: str) -> Sequence[str]:
        return {("clinic-1", "staff"): ("staff:s1", "staff:s2"), ("clinic-1", "admin"): ("staff:boss",)}.get(
            (clinic_id, role), ()
        )


def _mapping(happened: dict[str, Any]) -> EventMapping:
    return MAPPINGS[EVENT_TYPES[happened["event_type"]].record]


def _times(now: datetime = NOW) -> Times:
    return times_at(int(now.timestamp() * 1000))


def _map(happened: dict[str, Any], memory: AggregateMemory | None = None, now: datetime = NOW) -> Mapped:
    return _mapping(happened).map(happened, memory, _Roster(), _times(now), CLINIC)


def _after(*events: dict[str, Any]) -> AggregateMemory | None:
    memory = None
    for one in events:
        memory = _map(one, memory).memory
    return memory


def _named(mapped: Mapped, name: str) -> list[dict[str, Any]]:
    return [request for request in mapped.requests if request["notification_type"] == name]


def _told(mapped: Mapped) -> dict[str, set[str]]:
    told: dict[str, set[str]] = {}
    for request in mapped.requests:
        if request["kind"] == "notify":
            told.setdefault(request["notification_type"], set()).add(request["recipient"])
    return told


def test_a_booking_is_confirmed_and_its_reminders_wait() -> None:
    mapped = _map(event("appointment.created"))
    due = {request["notification_type"]: request["due_at"] for request in mapped.requests}
    assert timedelta() <= due.pop("pre_visit_instructions") - (START - timedelta(days=7)) <= timedelta(hours=1)
    assert due == {
        "appointment_confirmation": None,
        "appointment_reminder_48h": START - timedelta(hours=48),
        "appointment_reminder_24h": START - timedelta(hours=24),
        "appointment_reminder_2h": START - timedelta(hours=2),
        "check_in_ready": START - timedelta(minutes=30),
        "pre_care_24h": START - timedelta(hours=24),
        "provider_appointment_booked": None,
    }
    assert _named(mapped, "appointment_confirmation")[0]["expires_at"] == START
    assert {request["recipient"] for request in mapped.requests} == {"patient:p1", "staff:d1"}


def test_the_same_event_gives_the_same_ids() -> None:
    happened = event("appointment.created")
    ids = [request["notification_id"] for request in _map(happened).requests]
    assert ids == [request["notification_id"] for request in _map(happened, now=NOW + timedelta(days=1)).requests]
    assert len(set(ids)) == len(ids)


def test_a_booking_at_short_notice_gets_no_reminder_that_would_be_late() -> None:
    told = _told(_map(event("appointment.created", appointment_date=date(2026, 6, 1), appointment_time="20:00")))
    assert "appointment_reminder_48h" not in told
    assert "appointment_reminder_24h" not in told
    assert "appointment_reminder_2h" in told
    # The catalogue has preparation sent late, while it still helps.
    (pre_care,) = _named(
        _map(event("appointment.created", appointment_date=date(2026, 6, 1), appointment_time="20:00")), "pre_care_24h"
    )
    assert pre_care["due_at"] is None


def test_a_reminder_that_came_due_while_we_were_down_is_sent_until_it_expires() -> None:
    happened = event("appointment.created")
    hour_late = _map(happened, now=START - timedelta(hours=23))
    assert _named(hour_late, "appointment_reminder_24h")[0]["due_at"] is None
    assert not _named(_map(happened, now=START - timedelta(hours=1)), "appointment_reminder_24h")


def test_moving_an_appointment_makes_its_reminders_anew_and_supersedes_the_old() -> None:
    memory = _after(event("appointment.created"))
    mapped = _map(event("appointment.rescheduled", version=2), memory)
    assert _named(mapped, "appointment_reminder_24h")[0]["due_at"] == MOVED - timedelta(hours=24)
    assert {request["aggregate_version"] for request in mapped.requests} == {2}
    first = next(request for request in mapped.requests if request["recipient"] == "patient:p1")
    assert (first["withdraws"], first["due_at"]) == ("older", None)
    assert (
        sum(request["withdraws"] != "none" for request in mapped.requests) == 2
    )  # once for the patient, once for the provider
    assert mapped.gate is not None
    assert mapped.gate["gate_key"] == "aggregate:clinic-1:appointment:a1"
    assert (mapped.gate["reason"], mapped.gate["aggregate_version"]) == ("superseded", 2)


def test_a_cancellation_withdraws_all_and_its_own_notice_passes_the_gate() -> None:
    memory = _after(event("appointment.created"), event("appointment.rescheduled", version=2))
    mapped = _map(event("appointment.cancelled", version=3), memory)
    assert _told(mapped) == {
        "appointment_cancelled": {"patient:p1"},
        "appointment_entry_removed": {"patient:p1"},
        "provider_appointment_cancelled": {"staff:d1"},
    }
    # Once for each: what else the event asks for them comes behind it, and bears its id.
    assert {request["recipient"]: request["withdraws"] for request in reversed(mapped.requests)} == {
        "patient:p1": "all",
        "staff:d1": "all",
    }
    assert mapped.gate is not None
    # "cancelled" closes its version and all below; the notice itself bears version 3.
    assert (mapped.gate["reason"], mapped.gate["aggregate_version"]) == ("cancelled", 2)


def test_a_cancellation_that_names_no_provider_reaches_the_remembered_one() -> None:
    memory = _after(event("appointment.created"))
    mapped = _map(event("appointment.cancelled", version=2, provider_id=None), memory)
    assert _told(mapped)["provider_appointment_cancelled"] == {"staff:d1"}


def test_a_new_provider_is_told_and_so_is_the_old_one() -> None:
    memory = _after(event("appointment.created"))
    mapped = _map(event("appointment.rescheduled", version=2, provider_id="d2"), memory)
    told = _told(mapped)
    assert told["provider_appointment_moved"] == {"staff:d2"}
    assert told["provider_appointment_reassigned"] == {"staff:d1"}
    assert (
        _after(event("appointment.created"), event("appointment.rescheduled", version=2, provider_id="d2")) is not None
    )


def test_who_is_no_longer_part_of_it_is_only_withdrawn_from() -> None:
    memory = _after(event("appointment.created"))
    mapped = _map(event("appointment.rescheduled", version=2, patient_id="p2"), memory)
    gone = [request for request in mapped.requests if request["recipient"] == "patient:p1"]
    assert [(one["kind"], one["withdraws"], one["sealed"]) for one in gone] == [("withdraw", "older", None)]
    assert mapped.memory.recipients == ("patient:p2", "staff:d1")


def test_a_duplicate_comes_to_nothing() -> None:
    created = event("appointment.created")
    memory = _after(created)
    mapped = _map(created, memory)
    assert (mapped.outcome, mapped.requests, mapped.gate, mapped.memory) == ("duplicate", [], None, memory)


def test_a_booking_that_arrives_after_its_change_sends_nothing() -> None:
    memory = _after(event("appointment.rescheduled", version=2))
    late = _map(event("appointment.created", version=1), memory)
    assert (late.outcome, late.requests) == ("superseded", [])


def test_an_older_event_that_nothing_superseded_still_counts() -> None:
    memory = _after(event("appointment.confirmed", version=3))
    assert "appointment_confirmation" in _told(_map(event("appointment.created", version=1), memory))


def test_a_cancelled_appointment_is_reopened_by_a_newer_event_that_says_it_stands_and_by_no_other() -> None:
    memory = _after(event("appointment.created"), event("appointment.cancelled", version=3))
    for late in (event("appointment.rescheduled", version=2), event("appointment.no_show", version=9)):
        assert _map(late, memory).outcome == "closed"
    assert not _map(event("appointment.rescheduled", version=9), memory).memory.closed
    assert _map(event("appointment.restored", version=2), memory).outcome == "closed"
    restored = _map(event("appointment.restored", version=4), memory)
    assert _named(restored, "appointment_restored")
    assert _named(restored, "appointment_reminder_24h")
    assert restored.gate is not None
    assert (restored.gate["reason"], restored.gate["aggregate_version"]) == ("superseded", 4)
    assert not restored.memory.closed
    assert _map(event("appointment.cancelled", version=3), restored.memory).outcome == "superseded"


def test_nobody_keeps_a_list_of_the_others() -> None:
    opened = event("waitlist.slot_available", waitlist_patients=["p1", "p2", "p3"])
    mapping = _mapping(opened)
    copy = mapping.copy_for(opened, "patient:p2")
    assert copy is not None
    assert copy["waitlist_patients"] == ["p2"]
    staff_copy = mapping.copy_for(opened, "staff:d1")
    assert staff_copy is not None
    assert staff_copy["waitlist_patients"] == []


def test_a_patients_copy_does_not_say_what_another_patient_did() -> None:
    declined = event("waitlist.slot_declined", patient_id="p1", next_patient_id="p2", reason="a private reason")
    copy = _mapping(declined).copy_for(declined, "patient:p2")
    assert copy is not None
    assert (copy["patient_id"], copy["next_patient_id"], copy["reason"]) == ("p2", "p2", None)
    assert _mapping(declined).copy_for(declined, "staff:s1") is None


def test_staff_by_role_without_the_one_who_asked() -> None:
    mapped = _map(event("staff.assistance_needed", requested_by_id="s2"))
    assert _told(mapped) == {"provider_assistance_needed": {"staff:s1"}}
    assert mapped.requests[0]["lane"] == "critical"


@pytest.mark.parametrize(
    ("given_fields", "wanted"),
    [
        ({"staff_ids": ["s7"], "roles": ["admin"]}, {"staff:s7", "staff:boss"}),
        ({"staff_ids": [], "roles": []}, {"staff:boss"}),
    ],
)
def test_who_the_event_names_else_the_roles_of_the_catalogue(given_fields: dict[str, Any], wanted: set[str]) -> None:
    mapped = _map(event("sync.error", **given_fields))
    assert _told(mapped) == {"sync_error_alert": wanted}


def test_a_condition_chooses_the_type() -> None:
    assert set(_told(_map(event("message.received", urgent=True)))) == {"patient_message_urgent"}
    assert set(_told(_map(event("payment.due", days_overdue=4, due_date=date(2026, 5, 28))))) == {"outstanding_balance"}
    due = _told(_map(event("payment.due", days_overdue=None, due_date=date(2026, 6, 20), invoice_id="i-1")))
    assert set(due) == {"payment_reminder", "invoice_delivery"}
    assert set(_told(_map(event("campaign.launched", kind="seasonal", patients=["p1"])))) == {"seasonal_campaign"}


def test_a_repeated_warning_has_an_occurrence_each() -> None:
    mapped = _map(event("membership.credits_expiring", expiry_date=date(2026, 7, 31)))
    warnings = _named(mapped, "membership_credits_expiring")
    assert [one["occurrence"] for one in warnings] == [0, 1, 2]
    assert [one["due_at"].date() for one in warnings] == [date(2026, 7, 1), date(2026, 7, 24), date(2026, 7, 30)]
    assert len({one["notification_id"] for one in warnings}) == 3


def test_an_empty_field_lets_an_expiry_fall_away_or_means_now() -> None:
    used = event("package.session_used", sessions_remaining=2)
    (soon,) = _named(_map(used | {"expiry_date": NOW.date() + timedelta(days=30)}), "package_session_reminder")
    (late,) = _named(_map(used | {"expiry_date": None}), "package_session_reminder")
    assert soon["expires_at"] < late["expires_at"], "of two expiries the empty one falls away"
    (campaign,) = _map(event("campaign.launched", kind="vip", patients=["p1"], send_at=None)).requests
    assert campaign["due_at"] is None


def test_a_clinics_closures_stand_apart_though_they_share_a_key() -> None:
    first = event(
        "clinic.closure",
        aggregate_id="clinic-1",
        closure_id="x",
        affected_patients=["p1"],
        ends_at=NOW + timedelta(days=3),
    )
    mapped = _map(first)
    assert _mapping(first).aggregate_id(first) == "x"
    assert {request["aggregate_id"] for request in mapped.requests} == {"x"}


def test_cancelling_one_notification_closes_only_that() -> None:
    requested = event("notification.requested", recipient="patient:p1", urgent=False)
    mapped = _map(
        event("notification.cancelled", version=2, notification_id="n-1", recipient="patient:p1"), _after(requested)
    )
    (withdrawal,) = mapped.requests
    assert (withdrawal["kind"], withdrawal["withdraws"], withdrawal["withdrawn_id"], withdrawal["recipient"]) == (
        "withdraw",
        "none",
        "n-1",
        "patient:p1",
    )
    assert mapped.gate is not None
    assert (mapped.gate["gate_key"], mapped.gate["aggregate_version"]) == ("notification:n-1", None)
    whole = _map(
        event("notification.cancelled", version=2, notification_id=None, recipient="patient:p1"), _after(requested)
    )
    assert [(one["kind"], one["withdraws"]) for one in whole.requests] == [("withdraw", "all")]


def test_a_request_by_name_is_of_that_type() -> None:
    asked = event(
        "notification.requested",
        notification_type="appointment_confirmation",
        recipient="patient:p1",
        send_at=NOW + timedelta(hours=1),
    )
    (request,) = _map(asked).requests
    assert (request["notification_type"], request["category"], request["due_at"]) == (
        "appointment_confirmation",
        "transactional",
        NOW + timedelta(hours=1),
    )


def test_a_free_message_is_for_the_kind_of_its_recipient() -> None:
    assert _told(_map(event("notification.requested", recipient="staff:s1"))) == {
        "requested_staff_message": {"staff:s1"}
    }
    assert _told(_map(event("notification.requested", recipient="patient:p1", urgent=True))) == {
        "requested_message_urgent": {"patient:p1"}
    }


@pytest.mark.parametrize(
    ("name", "recipient", "code"),
    [
        ("no_such_type", "patient:p1", "unknown_notification_type"),
        ("low_stock_alert", "patient:p1", "wrong_recipient_kind"),
    ],
)
def test_a_request_that_cannot_be_meant_names_field_and_mend_but_no_value(name: str, recipient: str, code: str) -> None:
    with pytest.raises(MappingError) as refused:
        _map(event("notification.requested", notification_type=name, recipient=recipient))
    assert refused.value.code == code
    assert "p1" not in str(refused.value)
    assert "no_such_type" not in str(refused.value)


def test_a_campaign_for_a_group_that_nobody_listed_is_not_silence() -> None:
    with pytest.raises(MappingError) as refused:
        _map(event("campaign.launched", kind="vip", patients=[], segment="gold members"))
    assert refused.value.code == "segment_not_expanded"
    assert "gold" not in str(refused.value)


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
def test_every_event_type_can_be_mapped_twice_in_a_row(event_type: str) -> None:
    first = event(event_type, recipient="patient:p1") if event_type.startswith("notification.") else event(event_type)
    mapped = _map(first)
    again = _map(dict(first, event_id="11111111-2222-4333-8444-555555555555", aggregate_version=2), mapped.memory)
    for request in (*mapped.requests, *again.requests):
        assert request["recipient"].startswith(("patient:", "staff:"))
        assert request["due_at"] is None or request["expires_at"] is None or request["due_at"] < request["expires_at"]


def test_memory_survives_its_encoding() -> None:
    memory = _after(event("appointment.created"), event("appointment.cancelled", version=2))
    assert memory is not None
    assert AggregateMemory.decoded(memory.encoded()) == memory
    assert "p1" not in repr(memory)


_CHANGES = (
    "appointment.created",
    "appointment.rescheduled",
    "appointment.confirmed",
    "appointment.cancelled",
    "appointment.restored",
)


@settings(max_examples=200, deadline=None)
@given(st.permutations(range(1, 6)), st.lists(st.sampled_from(_CHANGES), min_size=5, max_size=5))
def test_in_whatever_order_events_arrive_nothing_superseded_is_asked_for(order: list[int], kinds: list[str]) -> None:
    memory: AggregateMemory | None = None
    floor, closed = -1, False
    for version in order:
        happened = event(kinds[version - 1], version=version)
        mapped = _map(happened, memory)
        for request in mapped.requests:
            assert request["aggregate_version"] >= floor
            assert not closed or CATALOG.event(happened["event_type"]).reopens
        if mapped.outcome in ("mapped", "nobody"):
            rule = CATALOG.event(happened["event_type"])
            if rule.withdraws != "none":
                floor, closed = max(floor, version), rule.withdraws == "all"
        assert mapped.memory.version == max(version, memory.version if memory else -1)
        memory = mapped.memory


def test_what_came_before_its_time_is_in_force_when_it_is_told_again() -> None:
    """A confirmation heard before the restoring that it is of: refused, then replayed."""
    memory = _after(event("appointment.created"), event("appointment.cancelled", version=2))
    early = event("appointment.confirmed", version=3)
    refused = _map(early, memory)
    assert refused.outcome == "closed"
    restored = _map(event("appointment.restored", version=3), refused.memory)
    assert restored.outcome == "mapped"
    assert _map(early, restored.memory).outcome == "mapped"
