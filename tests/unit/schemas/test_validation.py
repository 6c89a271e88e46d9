"""Right schema, impossible values: each is found and named, and no value is told."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from schemas.definitions import UnknownRecordError
from schemas.validation import check_event, violations
from tests.unit.schemas.test_codec import EVENT, NAME, SECRET

NOW = dt.datetime(2026, 5, 1, 13, tzinfo=dt.UTC)


def test_a_good_event_has_no_violation() -> None:
    assert check_event(NAME, EVENT, NOW) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", "not-a-uuid"),
        ("event_type", "appointment.cancelled"),
        ("event_type", "appointment.created\n"),
        ("aggregate_version", -1),
        ("clinic_id", ""),
        ("patient_id", "   "),
        ("patient_id", "x" * 129),
        ("patient_id", "a\0b"),
        ("patient_id", None),
        ("duration", 0),
        ("duration", 1441),
        ("duration", True),
        ("appointment_time", "24:00"),
        ("appointment_time", "9:30"),
        ("appointment_time", "14:00\n"),
        ("patient_phone", "555-1234"),
        ("patient_phone", "+0123456789"),
        ("patient_email", "nobody"),
        ("patient_email", "a@b.example, c@d.example"),
        ("patient_email", "a@b.example\nBcc: c@d.example"),
        ("time_zone", "Mars/Olympus"),
        ("confirm_url", "javascript:alert(1)"),
        ("appointment_date", dt.date(1, 1, 1)),
        ("appointment_date", dt.date(9999, 12, 31)),
        ("metadata", {"note": "\0"}),
        ("metadata", {f"key{n}": "" for n in range(51)}),
        ("occurred_at", dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
        ("occurred_at", dt.datetime(2099, 1, 1, tzinfo=dt.UTC)),
        ("occurred_at", dt.datetime(2026, 5, 1)),  # noqa: DTZ001
    ],
)
def test_an_impossible_value_is_named_and_not_told(field: str, value: object) -> None:
    found = check_event(NAME, {**EVENT, field: value}, NOW)
    assert found
    assert all(violation.field.startswith(field) for violation in found)
    assert all(violation.mend.startswith(("send ", "set ")) for violation in found)
    if isinstance(value, str) and len(value) > 4:
        assert value not in " ".join(map(str, found))


def test_every_violation_is_found_at_once() -> None:
    wrong = {**EVENT, "duration": 0, "patient_phone": SECRET, "time_zone": SECRET}
    found = violations(NAME, wrong)
    assert {violation.field for violation in found} == {"duration", "patient_phone", "time_zone"}
    assert SECRET not in repr(found)


def test_items_are_named_by_their_place() -> None:
    slot = {"waitlist_patients": ["patient-1", "", "patient-3"]}
    found = [violation.field for violation in violations("luxe.events.WaitlistSlotAvailable", slot)]
    assert "waitlist_patients[1]" in found
    assert "waitlist_patients[0]" not in found


@pytest.mark.parametrize("amount", [Decimal("-0.01"), Decimal("NaN"), Decimal("Infinity"), "5"])
def test_an_amount_is_finite_and_not_negative(amount: object) -> None:
    fields = {violation.field for violation in violations("luxe.events.PaymentReceived", {"amount": amount})}
    assert "amount" in fields


def test_nested_records_are_looked_into() -> None:
    recipient = {"phones": [{"e164": "12"}], "preferences": {"quiet_hours": {"start": "25:00", "end": "08:00"}}}
    found = {violation.field for violation in violations("luxe.pipeline.RecipientContent", recipient)}
    assert {"phones[0].e164", "preferences.quiet_hours.start"} <= found


def test_a_record_that_is_not_ours_is_an_error() -> None:
    with pytest.raises(UnknownRecordError):
        violations("a.Note", {})
