"""The checks of reminders and of the books find what is missing, late, at the wrong minute or for nobody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest

from cli.simulation.checks.every import Checks
from cli.simulation.checks.reminders import Promised, Reminders
from cli.simulation.checks.wishes import Wishes
from tests.unit.simulation.seen import (
    NOON,
    REMINDER,
    appointment,
    asked,
    decides,
    happens,
    heard,
    ms,
    rules,
)

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


def test_who_confirmed_is_not_asked_again(checks: Checks) -> None:
    booked(checks)
    happens(checks, appointment("appointment.confirmed", 2, date(2026, 2, 2)), DUE - 1000)
    decides(checks, DUE - 1000, "suppress", "already_done")
    assert dict(reminders(checks)) == {"confirmed": 1, "expected": 1}
    assert "reminders" not in rules(checks)


def test_who_confirmed_and_is_asked_again(checks: Checks) -> None:
    booked(checks)
    happens(checks, appointment("appointment.confirmed", 2, date(2026, 2, 2)), DUE - 1000)
    decides(checks, DUE, "deliver")
    assert dict(reminders(checks)) == {"expected": 1, "wrong minute": 1}
    assert any("a confirmation that was given" in violation.what for violation in checks.shown())


def test_nobody_confirmed_what_is_taken_for_confirmed(checks: Checks) -> None:
    booked(checks)
    decides(checks, DUE, "suppress", "already_done")
    assert dict(reminders(checks)) == {"expected": 1, "missing": 1}


def test_a_moved_appointment_calls_for_none_of_the_old_ones_and_for_all_of_the_new(checks: Checks) -> None:
    booked(checks)
    happens(checks, appointment("appointment.rescheduled", 2, date(2026, 2, 5)), DUE - 3_600_000)
    assert dict(reminders(checks)) == {"expected": 1, "missing": 1}
    decides(checks, DUE, "deliver")
    assert any("no appointment that stands" in violation.what for violation in checks.shown())


@pytest.mark.parametrize(("before", "clock"), [("P1D", "14:00"), ("PT24H", "13:00")])
def test_a_day_before_is_the_same_hour_on_the_wall_and_a_day_of_hours_is_not(before: str, clock: str) -> None:
    """New York's clocks go forward in the night to March 8th, 2026."""
    check = Reminders(Wishes(), {REMINDER: Promised(before)}, "America/New_York")
    event = appointment("appointment.created", 1, date(2026, 3, 8))
    check.event(event["event_type"], event, NOON)
    decision = {"notification_type": REMINDER, "aggregate_id": "a1", "event_id": "e1", "recipient": "patient:p1"}
    check.decision(decision | {"outcome": "deliver", "reason": "deliver"}, ms(f"2026-03-07T{clock}"))
    check.finish(NOON + 90 * 86_400_000)
    assert (check.table["over 30 days", REMINDER, "found"], check.count) == (1, 0)


@pytest.mark.parametrize(("not_within", "verdict"), [("PT6H", "too soon"), ("PT5H", "missing")])
def test_a_reminder_right_after_the_booking_is_none(not_within: str, verdict: str) -> None:
    check = Reminders(Wishes(), {REMINDER: Promised("P1D", not_within)}, "America/New_York")
    event = appointment("appointment.created", 1, date(2026, 1, 14))
    check.event(event["event_type"], event, ms("2026-01-13T09:00"))
    check.finish(NOON + 90 * 86_400_000)
    assert check.table["1 day", REMINDER, verdict] == 1


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
