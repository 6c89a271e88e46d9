"""What a change looks like: ids and codes, in a line or as JSON, and which ones are shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
import pytest

from cli.watch import Wanted, change_of, line_of
from tests.contract.golden import golden_value

AT = datetime(2026, 12, 1, 15, 4, 5, tzinfo=UTC)
DECISION = golden_value("luxe.pipeline.Decision") | {"decided_at": AT, "until": None, "sealed": None}
STATUS = golden_value("luxe.pipeline.DeliveryStatus") | {"status_at": AT, "retry_at": None}


def status(**changes: Any) -> dict[str, Any]:
    return change_of(STATUS | {"status": "sent", "reason": "", "error_class": None, "attempt": 1} | changes)


def test_a_decision_and_a_status_are_told_alike() -> None:
    decision = change_of(DECISION)
    assert decision.keys() == status().keys()
    assert decision["channels"] == [step["channel"] for step in DECISION["steps"]]
    assert (decision["kind"], status()["kind"]) == ("decision", "status")


def test_a_line_says_when_whose_and_what() -> None:
    line = click.unstyle(line_of(status(status="failed", attempt=2, error_class="transient", retry_at=AT)))
    assert line.startswith(f"15:04:05Z  {STATUS['notification_id']}  {STATUS['recipient']}")
    assert line.endswith(f": {STATUS['channel']} (attempt 2), transient, until 2026-12-01T15:04:05Z")
    # What its reason says already is not said twice.
    assert "deliver, deliver" not in click.unstyle(
        line_of(change_of(DECISION | {"outcome": "deliver", "reason": "deliver"}))
    )


def test_nothing_is_shown_but_ids_and_codes() -> None:
    assert set(status()) | set(change_of(DECISION)) == {
        *("at", "kind", "notification_id", "notification_type", "recipient", "clinic_id", "lane", "what", "reason"),
        *("channels", "until", "attempt", "delivery_id", "correlation_id"),
    }


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (Wanted(), True),
        (Wanted(recipient=STATUS["recipient"], channel=STATUS["channel"]), True),
        (Wanted(recipient="patient:other"), False),
        (Wanted(notification_type="other"), False),
        (Wanted(clinic_id="other"), False),
        (Wanted(channel="in_app" if STATUS["channel"] != "in_app" else "sms"), False),
    ],
)
def test_what_is_asked_for_is_shown(wanted: Wanted, shown: bool) -> None:
    assert wanted.shows(status()) is shown
