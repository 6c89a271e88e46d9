"""Each check finds what it is there for: what a rule got wrong is reported, and what is right is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from cli.simulation.checks.every import Checks, checks_for
from cli.simulation.checks.reminders import Reminders
from cli.simulation.checks.wishes import Wishes
from cli.simulation.running import SIMULATED_POLICY
from streams.catalog import Catalog

CATALOG = Catalog.load()
REMINDER = "appointment_reminder_24h"
HER = {
    "recipient_id": "p1", "last_name": "Castillo", "time_zone": "America/New_York", "phone": "+12125550123",
    "consent.sms_marketing": "opted_in", "sms_opt_in.marketing": "true",
}  # fmt: skip
CONTENT: dict[str, Any] = {
    "to": "+12125550123",
    "subject": None,
    "body": "Hi Ana! Until tomorrow at 14:00.",
    "data": {},
}


def ms(text: str) -> int:
    """ISO 8601, New York's winter time, in ms since the epoch."""
    return round(datetime.fromisoformat(f"{text}-05:00").timestamp() * 1000)


NOON = ms("2026-01-12T12:00")


@pytest.fixture
def checks() -> Checks:
    made = checks_for(CATALOG, SIMULATED_POLICY)
    for onlooker in made.onlookers:
        onlooker.wished(HER, ms("2026-01-01T00:00"))
    return made


def message(kind: str = "treatment_followup_3day", **changes: Any) -> dict[str, Any]:
    """A ChannelMessage, as far as anybody looks at it."""
    found = CATALOG.types[kind]
    return {
        "delivery_id": "d1", "notification_id": "n1", "event_id": "e1", "notification_type": kind, "recipient": "patient:p1",
        "clinic_id": "clinic-demo", "aggregate_type": "appointment", "aggregate_id": "a1", "aggregate_version": 1,
        "category": found.category, "lane": found.lane, "essential": found.essential, "channel": "sms", "step": 0,
        "attempt": 1, "expires_at": None, "send_not_after": None,
    } | changes  # fmt: skip


def called(checks: Checks, at_ms: int = NOON, content: Mapping[str, Any] | None = None, **changes: Any) -> None:
    """A message is handed over, and its provider takes it a moment later."""
    one = message(**changes)
    for onlooker in checks.onlookers:
        onlooker.message(one, at_ms)
        onlooker.call(one, {**CONTENT, **(content or {})}, True, at_ms + 100)


def appointment(event_type: str, version: int, day: date, **changes: Any) -> dict[str, Any]:
    """An event about the appointment, at 14:00 of that day in New York."""
    return {
        "event_id": f"e{version}", "event_type": event_type, "aggregate_id": "a1", "aggregate_version": version,
        "patient_id": "p1", "patient_name": "Ana Castillo", "service": "Botox", "provider": "Dr. Jennifer Smith",
        "appointment_date": day, "appointment_time": "14:00", "new_date": day, "new_time": "14:00",
        "time_zone": "America/New_York",
    } | changes  # fmt: skip


def happens(checks: Checks, event: dict[str, Any], at_ms: int) -> None:
    for onlooker in checks.onlookers:
        onlooker.event(event["event_type"], event, at_ms)


def decides(
    checks: Checks, at_ms: int, outcome: str, reason: str = "", until_ms: int | None = None, **changes: Any
) -> None:
    decision = {
        "notification_id": "n1", "event_id": "e1", "event_type": "appointment.created", "notification_type": REMINDER,
        "recipient": "patient:p1", "aggregate_id": "a1", "sequence": 0, "outcome": outcome, "reason": reason or outcome,
        "until": None if until_ms is None else datetime.fromtimestamp(until_ms / 1000, UTC),
    } | changes  # fmt: skip
    for onlooker in checks.onlookers:
        onlooker.decision(decision, at_ms)


def asked(checks: Checks, name: str = "n1", at_ms: int = NOON) -> None:
    for onlooker in checks.onlookers:
        onlooker.request({"kind": "notify", "notification_id": name, "notification_type": REMINDER}, at_ms)


def heard(checks: Checks, status: str, at_ms: int) -> None:
    for onlooker in checks.onlookers:
        onlooker.status({"delivery_id": "d1", "notification_id": "n1", "status": status}, at_ms)


def rules(checks: Checks) -> set[str]:
    return {violation.rule for violation in checks.shown()}


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


DUE = ms("2026-02-01T14:00")


def booked(checks: Checks) -> None:
    """For 14:00 on February 2nd, so that it is reminded of on the 1st; only the 24-hour reminder is asked for here."""
    happens(checks, appointment("appointment.created", 1, date(2026, 2, 2)), NOON)
    for kind, due_ms in (("48h", DUE - 86_400_000), ("2h", DUE + 22 * 3_600_000)):
        name = f"appointment_reminder_{kind}"
        decides(checks, due_ms, "deliver", notification_type=name, notification_id=name)


def reminders(checks: Checks, name: str = REMINDER) -> Iterator[tuple[str, int]]:
    checks.reminders.finish(DUE + 30 * 86_400_000)
    return ((verdict, count) for (_, kind, verdict), count in sorted(checks.reminders.table.items()) if kind == name)


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ([(0, "deliver", "")], "found"),
        ([(59_999, "deliver", "")], "found"),
        ([(60_000, "deliver", "")], "wrong minute"),
        ([(-1, "deliver", "")], "wrong minute"),
        ([(3_600_000, "deliver", "")], "wrong minute"),
        ([], "missing"),
        ([(0, "suppress", "superseded")], "missing"),
        ([(0, "suppress", "daily_cap")], "missing"),
        ([(0, "suppress", "opted_out")], "missing"),  # she withdrew nothing
        ([(0, "defer", "daily_cap"), (60_000, "deliver", "")], "wrong minute"),
        ([(0, "defer", "quiet_hours"), (7_200_000, "deliver", "")], "held"),
    ],
)
def test_a_reminder_that_did_not_come_as_it_should(
    checks: Checks, said: list[tuple[int, str, str]], verdict: str
) -> None:
    booked(checks)
    for after_ms, outcome, reason in said:
        decides(checks, DUE + after_ms, outcome, reason)
    assert dict(reminders(checks)) == {"expected": 1, verdict: 1}
    assert ("reminders" in rules(checks)) == (verdict in ("missing", "wrong minute"))


def test_a_withdrawn_consent_is_a_reason_to_send_none(checks: Checks) -> None:
    booked(checks)
    for onlooker in checks.onlookers:
        onlooker.wished({"recipient_id": "p1", "consent.sms_transactional": "opted_out"}, DUE - 1)
    decides(checks, DUE, "suppress", "opted_out")
    assert dict(reminders(checks)) == {"expected": 1, "not sent": 1}
    assert "reminders" not in rules(checks)


def test_a_moved_appointment_calls_for_none_of_the_old_ones_and_for_all_of_the_new(checks: Checks) -> None:
    booked(checks)
    happens(checks, appointment("appointment.rescheduled", 2, date(2026, 2, 5)), DUE - 3_600_000)
    assert dict(reminders(checks)) == {"expected": 1, "missing": 1}
    decides(checks, DUE, "deliver")
    assert any("no appointment that stands" in violation.what for violation in checks.shown())


@pytest.mark.parametrize(("before", "clock"), [("P1D", "14:00"), ("PT24H", "13:00")])
def test_a_day_before_is_the_same_hour_on_the_wall_and_a_day_of_hours_is_not(before: str, clock: str) -> None:
    """New York's clocks go forward in the night to March 8th, 2026."""
    check = Reminders(Wishes(), {REMINDER: before}, "America/New_York")
    event = appointment("appointment.created", 1, date(2026, 3, 8))
    check.event(event["event_type"], event, NOON)
    decision = {"notification_type": REMINDER, "aggregate_id": "a1", "event_id": "e1", "recipient": "patient:p1"}
    check.decision(decision | {"outcome": "deliver", "reason": "deliver"}, ms(f"2026-03-07T{clock}"))
    check.finish(NOON + 90 * 86_400_000)
    assert (check.table["over 30 days", REMINDER, "found"], check.count) == (1, 0)


def test_books_that_close(checks: Checks) -> None:
    asked(checks)
    decides(checks, NOON, "defer", "not_due", NOON + 5000)
    decides(checks, NOON + 5000, "deliver", sequence=1)
    asked(checks, "n2")
    decides(checks, NOON, "defer", "not_due", NOON + 90_000, notification_id="n2")
    checks.books.finish(NOON + 60_000)
    assert (checks.books.requested, checks.books.ended, checks.books.waiting, checks.books.count) == (2, 1, 1, 0)


def unclosed(checks: Checks) -> list[str]:
    checks.books.finish(NOON + 60_000)
    return [violation.what for violation in checks.books.shown]


def test_what_was_never_decided(checks: Checks) -> None:
    asked(checks)
    assert any("never decided" in what for what in unclosed(checks))


def test_what_was_asked_for_twice(checks: Checks) -> None:
    asked(checks)
    asked(checks)
    assert any("asked for twice" in what for what in unclosed(checks))


def test_what_nobody_asked_for(checks: Checks) -> None:
    decides(checks, NOON, "deliver")
    assert any("nobody asked for it" in what for what in unclosed(checks))


def test_a_decision_that_is_missing_between_two(checks: Checks) -> None:
    asked(checks)
    decides(checks, NOON, "deliver", sequence=1)
    assert any("follows another" in what for what in unclosed(checks))


def test_what_was_forgotten_while_it_waited(checks: Checks) -> None:
    asked(checks)
    decides(checks, NOON, "defer", "not_due", NOON + 5000)
    assert any("still waits" in what for what in unclosed(checks))


def test_what_was_put_off_and_arrived_meanwhile_waits_no_more(checks: Checks) -> None:
    asked(checks)
    decides(checks, NOON, "deliver")
    decides(checks, NOON, "defer", "quiet_hours", NOON + 5000, sequence=1)
    heard(checks, "delivered", NOON + 1000)
    assert unclosed(checks) == []
    assert (checks.books.ended, checks.books.waiting) == (1, 0)


def test_what_was_decided_late(checks: Checks) -> None:
    asked(checks)
    decides(checks, NOON, "defer", "not_due", NOON + 5000)
    decides(checks, NOON + 9000, "deliver", sequence=1)
    assert any("4 s late" in what for what in unclosed(checks))
