"""The checks of what is asked for until it is done, and of what is announced, find what is told in vain, twice, late or never."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from cli.simulation.checks.every import Checks
from tests.unit.simulation.seen import NOON, appointment, asked, decides, happens, message, rules

DAY_MS = 86_400_000
FORM = {"kind": "forms_reminder", "aggregate_id": "f1", "aggregate_type": "forms", "event_id": "f-1"}
SESSION = {"kind": "package_session_reminder", "aggregate_id": "k1", "aggregate_type": "package", "event_id": "k-1"}
RETRY = {"kind": "payment_retry_reminder", "aggregate_id": "y1", "aggregate_type": "payment", "event_id": "y-1"}
ENDS = date(2026, 2, 10)


def said(event_type: str, aggregate: str, version: int = 1, **changes: Any) -> dict[str, Any]:
    """An event about anything but an appointment."""
    return {
        "event_id": f"{aggregate[0]}-{version}", "event_type": event_type, "aggregate_id": aggregate,
        "aggregate_version": version, "patient_id": "p1", "appointment_id": None, "appointment_date": None,
        "due_date": None, "time_zone": "America/New_York", "expiry_date": ENDS,
    } | changes  # fmt: skip


def handed(checks: Checks, at_ms: int, **changes: Any) -> None:
    one = message(**changes)
    for onlooker in checks.onlookers:
        onlooker.message(one, at_ms)


def visit(kind: str, version: int) -> dict[str, Any]:
    return appointment(f"appointment.{kind}", version, date(2026, 2, 20))


def test_a_form_is_asked_for_while_its_visit_stands(checks: Checks) -> None:
    happens(checks, visit("created", 1), NOON - 2)
    happens(checks, said("forms.due", "f1", appointment_id="a1"), NOON - 1)
    handed(checks, NOON, **FORM)
    happens(checks, visit("cancelled", 2), NOON + 1)
    happens(checks, visit("restored", 3), NOON + 2)
    happens(checks, visit("cancelled", 2), NOON + 3)  # heard once more
    handed(checks, NOON + 4, **FORM, delivery_id="d2", notification_id="n2")
    assert checks.violations == 0


@pytest.mark.parametrize("order", ["after", "before", "before all"])
def test_a_form_for_a_visit_that_is_off(checks: Checks, order: str) -> None:
    told = [visit("created", 1), visit("cancelled", 2)]
    asks = said("forms.due", "f1", appointment_id="a1")
    told = {"after": [told[0], asks, told[1]], "before": [*told, asks], "before all": [told[1], told[0], asks]}[order]
    for number, one in enumerate(told):
        happens(checks, one, NOON + number)
    handed(checks, NOON + 9, **FORM)
    assert rules(checks) == {"needed"}


@pytest.mark.parametrize(
    ("asks", "newer", "asking"),
    [
        ("forms.due", "forms.due", FORM),
        ("forms.due", "forms.completed", FORM),
        ("package.session_used", "package.session_used", SESSION),
        ("payment.failed", "payment.failed", RETRY),
        ("payment.failed", "payment.received", RETRY),
    ],
)
def test_what_is_told_of_what_was_told_anew_or_is_done(
    checks: Checks, asks: str, newer: str, asking: dict[str, Any]
) -> None:
    happens(checks, said(asks, asking["aggregate_id"]), NOON - 2)
    handed(checks, NOON - 1, **asking)
    happens(checks, said(newer, asking["aggregate_id"], 2), NOON)
    assert checks.violations == 0
    handed(checks, NOON + 1, **asking, delivery_id="d2", notification_id="n2")
    assert rules(checks) == {"needed"}


@pytest.mark.parametrize("reason", ["cancelled", "superseded", "already_done"])
@pytest.mark.parametrize("kind", ["forms_reminder", "package_session_reminder"])
def test_what_is_given_up_although_it_is_still_to_be_done(checks: Checks, kind: str, reason: str) -> None:
    asked(checks)
    decides(checks, NOON, "suppress", reason, notification_type=kind, aggregate_id="f1", event_id="f-1")
    assert rules(checks) == {"needed"}


def test_what_is_given_up_since_it_is_done(checks: Checks) -> None:
    happens(checks, said("forms.completed", "f1", 2), NOON)
    for name, kind, reason in (
        ("n1", "forms_reminder", "already_done"),
        ("n2", "consent_form_reminder", "opted_out"),
    ):
        asked(checks, name)
        decides(checks, NOON, "suppress", reason, notification_id=name, notification_type=kind, aggregate_id="f1")
    assert checks.violations == 0


def broken(checks: Checks, until_ms: int) -> list[str]:
    """What the check of announcements finds when it is over."""
    (check,) = (one for one in checks.others if one.rule == "announced")
    check.finish(until_ms)
    return [one.what for one in check.shown]


@pytest.mark.parametrize(("due_in_days", "least"), [(None, 3), (0, 0), (1, 1), (3, 2), (9, 3)])
def test_a_form_that_is_asked_for_too_seldom(checks: Checks, due_in_days: int | None, least: int) -> None:
    due = None if due_in_days is None else date(2026, 1, 12) + timedelta(days=due_in_days)
    happens(checks, said("forms.due", "f1", due_date=due), NOON)
    for number in range(least - 1):
        asked(checks, f"n{number}", event_id="f-1")
    found = broken(checks, NOON + 30 * DAY_MS)
    assert found == ([f"forms.due was asked for {least - 1} times instead of {least}"] if least else [])


@pytest.mark.parametrize(
    ("after_ms", "reason", "found"),
    [(0, "deliver", 0), (60_000, "deliver", 1), (-1, "deliver", 1), (-5 * 3_600_000, "before_quiet_hours", 0)],
)
def test_a_dose_at_another_minute_than_its_own(checks: Checks, after_ms: int, reason: str, found: int) -> None:
    due = NOON + DAY_MS
    happens(checks, said("medication.reminder_due", "m1", due_at=datetime.fromtimestamp(due / 1000, UTC)), NOON)
    asked(checks, event_id="m-1")
    decides(checks, due + after_ms, "deliver", reason, event_id="m-1", notification_type="medication_reminder")
    assert len(broken(checks, due + DAY_MS)) == found


WARNING = {"kind": "membership_credits_expiring", "aggregate_id": "c1", "aggregate_type": "membership"}


def test_credits_that_are_warned_of_twice_in_a_day_or_by_an_old_number(checks: Checks) -> None:
    happens(checks, said("membership.credits_expiring", "c1", 1), NOON)
    happens(checks, said("membership.credits_expiring", "c1", 2, expiry_date=date(2026, 3, 1)), NOON)
    handed(checks, NOON, **WARNING, event_id="c-1")
    handed(checks, NOON, **WARNING, event_id="c-2", delivery_id="d2", notification_id="n2")
    handed(checks, NOON + DAY_MS, **WARNING, event_id="c-1", delivery_id="d3", notification_id="n3")
    assert checks.violations == 0
    happens(checks, said("membership.credits_expiring", "c1", 3), NOON + DAY_MS)
    handed(checks, NOON + DAY_MS + 1, **WARNING, event_id="c-3", delivery_id="d4", notification_id="n4")
    assert [one.what.rpartition(" was ")[2] for one in checks.shown()] == ["told of the same credits twice in a day"]
    handed(checks, NOON + 2 * DAY_MS, **WARNING, event_id="c-1", delivery_id="d5", notification_id="n5")
    assert "announced anew since" in list(checks.shown())[-1].what


def test_of_a_visit_that_was_called_off_before_it_was_booked_no_reminder_is_expected(checks: Checks) -> None:
    for event in (visit("cancelled", 2), visit("created", 1)):
        happens(checks, event, NOON)
    checks.reminders.finish(NOON + 60 * DAY_MS)
    assert checks.violations == 0
    asked(checks)
    decides(checks, NOON, "deliver", event_id="e1")
    assert rules(checks) == {"reminders"}
