"""Each check finds what it is there for: what a rule got wrong is reported, and what is right is not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from cli.simulation.checks.every import Checks
from tests.unit.simulation.seen import (
    NOON,
    REMINDER,
    appointment,
    called,
    happens,
    heard,
    ms,
    rules,
)


def test_an_ordinary_message_breaks_no_rule(checks: Checks) -> None:
    called(checks)
    assert checks.violations == 0


@pytest.mark.parametrize(
    ("wish", "changes", "found"),
    [
        ({}, {"kind": "seasonal_campaign"}, set()),
        ({"consent.sms_marketing": "opted_out"}, {"kind": "seasonal_campaign"}, {"consent"}),
        ({"consent.sms_marketing": "pending"}, {"kind": "seasonal_campaign"}, {"consent"}),
        ({"global_opt_out": "true"}, {"kind": "seasonal_campaign"}, {"consent"}),
        ({"sms_enabled": "false"}, {"kind": "seasonal_campaign"}, {"consent"}),
        ({"sms_opt_in.marketing": "false"}, {"kind": "seasonal_campaign"}, {"consent"}),
        ({}, {"kind": "review_request"}, {"consent"}),  # she never opted in to reviews
        ({}, {"kind": "seasonal_campaign", "channel": "push"}, {"consent"}),
        ({"consent.sms_transactional": "opted_out"}, {"kind": REMINDER}, {"consent"}),
        ({"frequency_marketing": "never"}, {"kind": "seasonal_campaign"}, {"caps"}),
        ({"do_not_disturb": "true"}, {}, {"quiet hours"}),
        ({"do_not_disturb": "true", "do_not_disturb_until": "2026-01-11T00:00:00Z"}, {}, set()),
        ({"do_not_disturb": "true"}, {"channel": "email"}, set()),
        ({"quiet_hours.start": "11:00", "quiet_hours.end": "13:00"}, {}, {"quiet hours"}),
        ({"quiet_hours.start": "11:00", "quiet_hours.end": "13:00"}, {"channel": "email"}, {"quiet hours"}),
        ({"quiet_hours.start": "11:00", "quiet_hours.end": "13:00"}, {"channel": "in_app"}, set()),
        ({"quiet_hours.start": "11:00", "quiet_hours.end": "13:00"}, {"kind": "appointment_cancelled"}, set()),
        ({"quiet_hours.start": "11:00", "quiet_hours.end": "12:00"}, {}, set()),
        ({"quiet_hours.start": "13:00", "quiet_hours.end": "12:01", "quiet_hours.weekdays": "7"}, {}, {"quiet hours"}),
        ({"quiet_hours.start": "13:00", "quiet_hours.end": "12:01", "quiet_hours.weekdays": "1"}, {}, set()),
        (
            {
                "quiet_hours.start": "11:00",
                "quiet_hours.end": "13:00",
                "quiet_hours.exceptions": "appointment_reminders",
            },
            {"kind": REMINDER},
            set(),
        ),
    ],
)
def test_what_somebody_did_not_agree_to(
    checks: Checks, wish: dict[str, str], changes: dict[str, Any], found: set[str]
) -> None:
    for onlooker in checks.onlookers:
        onlooker.wished({"recipient_id": "p1"} | wish, NOON - 1)
    called(checks, **changes)
    assert rules(checks) == found


@pytest.mark.parametrize(
    ("clock", "changes", "found"),
    [
        ("21:31", {}, {"quiet hours"}),  # the clinic's
        ("07:29", {"kind": "payment_confirmation"}, {"quiet hours"}),
        ("21:31", {"kind": REMINDER}, set()),  # its exception, and essential
        ("07:45", {}, {"quiet hours"}),  # the law's, until 8
        ("07:45", {"kind": "payment_confirmation"}, set()),  # essential
        ("07:45", {"channel": "email"}, set()),
        ("08:00", {}, set()),
        ("03:00", {"kind": "appointment_cancelled"}, set()),  # critical
    ],
)
def test_the_clinics_night_and_the_laws(checks: Checks, clock: str, changes: dict[str, Any], found: set[str]) -> None:
    called(checks, ms(f"2026-01-12T{clock}"), **changes)
    assert rules(checks) == found


@pytest.mark.parametrize(
    ("old", "found"), [("08:30", set()), ("07:00", set()), ("09:30", {"quiet hours"}), ("02:30", {"quiet hours"})]
)
def test_news_of_an_hour_may_come_in_the_night_before_it(checks: Checks, old: str, found: set[str]) -> None:
    moved = appointment(
        "appointment.rescheduled", 2, date(2026, 2, 3), old_date=date(2026, 1, 12), old_time=old, event_id="e1"
    )
    happens(checks, moved, ms("2026-01-12T02:59"))
    called(checks, ms("2026-01-12T03:00"), kind="appointment_rescheduled", aggregate_version=2)
    assert rules(checks) == found


@pytest.mark.parametrize("limit", ["expires_at", "send_not_after"])
def test_what_was_sent_after_its_time(checks: Checks, limit: str) -> None:
    until = datetime.fromtimestamp(NOON / 1000, UTC)
    late: dict[str, Any] = {limit: until}
    called(checks, NOON - 1000, **late)
    assert checks.violations == 0
    called(checks, NOON, delivery_id="d2", notification_id="n2", **late)
    assert rules(checks) == {"in time"}


@pytest.mark.parametrize("change", ["appointment.rescheduled", "appointment.cancelled", "appointment.checked_in"])
def test_what_was_sent_of_a_dead_version(checks: Checks, change: str) -> None:
    happens(checks, appointment("appointment.created", 1, date(2026, 2, 2)), NOON - 1000)
    called(checks, NOON - 500)
    happens(checks, appointment(change, 2, date(2026, 2, 3)), NOON)
    called(checks, NOON, aggregate_version=2, event_id="e2", delivery_id="d2", notification_id="n2")
    assert checks.violations == 0
    called(checks, NOON, delivery_id="d3", notification_id="n3")
    assert rules(checks) == {"dead version"}


def test_what_a_cancelled_appointments_own_version_still_says(checks: Checks) -> None:
    happens(checks, appointment("appointment.cancelled", 2, date(2026, 2, 3)), NOON)
    called(checks, NOON, aggregate_version=2, event_id="another")
    assert rules(checks) == {"dead version"}


@pytest.mark.parametrize(
    ("changes", "content", "found"),
    [
        ({}, {"body": "Hi Ana! Your Botox is tomorrow."}, {"PHI ceiling"}),
        ({}, {"body": "Hi Ana Castillo!"}, {"PHI ceiling"}),
        ({}, {"body": "See Dr. Jennifer Smith tomorrow."}, {"PHI ceiling"}),
        ({}, {"body": "You paid $120.00."}, {"PHI ceiling"}),
        ({"channel": "push"}, {"body": "Hi", "data": {"about": "Botox"}}, {"PHI ceiling"}),
        ({"channel": "email"}, {"subject": "With Dr. Jennifer Smith"}, {"PHI ceiling"}),
        ({"channel": "email"}, {"body": "With Dr. Jennifer Smith"}, set()),
        ({"channel": "email"}, {"body": "Your Botox"}, {"PHI ceiling"}),
        ({"channel": "email"}, {"body": "Stop: https://luxe.example/u/castillo-9USD"}, set()),  # a sealed token
        ({"channel": "email"}, {"body": "Pay: https://elsewhere.example/castillo"}, {"PHI ceiling"}),
        ({"channel": "in_app"}, {"body": "Ana Castillo: Botox, $120.00"}, set()),
    ],
)
def test_what_tells_more_than_its_channel_may(
    checks: Checks, changes: dict[str, Any], content: dict[str, Any], found: set[str]
) -> None:
    happens(checks, appointment("appointment.created", 1, date(2026, 2, 2)), NOON - 1000)
    called(checks, content=content, **changes)
    assert rules(checks) == found


def test_more_in_a_day_than_the_clinic_sends(checks: Checks) -> None:
    for number in range(6):
        called(checks, NOON + number, kind=REMINDER, delivery_id=f"d{number}", notification_id=f"n{number}")
    assert checks.violations == 0
    called(checks, NOON + 9, delivery_id="d9", notification_id="n9")
    assert rules(checks) == {"caps"}


def test_what_failed_or_is_essential_is_not_one_too_many(checks: Checks) -> None:
    for number in range(8):
        called(checks, NOON + number, kind=REMINDER, delivery_id=f"d{number}", notification_id=f"n{number}")
        for onlooker in checks.onlookers:
            onlooker.status({"delivery_id": "", "notification_id": f"n{number}", "status": "failed"}, NOON + number)
    called(checks, NOON + 9, delivery_id="d9", notification_id="n9")
    assert checks.violations == 0


def test_one_digest_a_day_and_no_second_may_be_above_the_cap(checks: Checks) -> None:
    for number in range(6):
        called(checks, NOON + number, kind=REMINDER, delivery_id=f"d{number}", notification_id=f"n{number}")
    called(checks, NOON + 9, kind="patient_digest", delivery_id="d9", notification_id="n9", channel="email")
    assert checks.violations == 0
    called(checks, NOON + 10, kind="patient_digest", delivery_id="d10", notification_id="n10", channel="email")
    assert rules(checks) == {"caps"}


def test_a_next_channel_takes_the_place_of_its_first(checks: Checks) -> None:
    called(checks, NOON, channel="in_app", delivery_id="d0", notification_id="n0")
    for number in range(1, 7):
        called(checks, NOON + number, kind=REMINDER, delivery_id=f"d{number}", notification_id=f"n{number}")
    called(checks, NOON + 9, step=1, delivery_id="d9", notification_id="n0")
    assert checks.violations == 0


def test_marketing_within_its_gap(checks: Checks) -> None:
    called(checks, NOON, kind="seasonal_campaign")
    again = NOON + round(timedelta(days=6, hours=23).total_seconds() * 1000)
    called(checks, again, kind="vip_promotion", delivery_id="d2", notification_id="n2")
    assert rules(checks) == {"caps"}


def test_what_was_handed_over_or_sent_twice(checks: Checks) -> None:
    called(checks)
    called(checks)
    assert [violation.what.rpartition(" was ")[2] for violation in checks.shown()] == [
        "handed over twice",
        "called for twice",
    ]


def test_a_step_on_two_channels(checks: Checks) -> None:
    called(checks)
    called(checks, delivery_id="d2", channel="email")
    assert rules(checks) == {"once"}


def test_what_was_sent_again_after_it_had_arrived(checks: Checks) -> None:
    called(checks)
    heard(checks, "delivered", NOON + 1)
    called(checks, attempt=2)
    assert rules(checks) == {"once"}


def test_a_second_attempt_and_a_next_channel_are_no_second_message(checks: Checks) -> None:
    called(checks)
    heard(checks, "failed", NOON + 1)
    called(checks, attempt=2)
    called(checks, delivery_id="d2", channel="email", step=1)
    assert checks.violations == 0
