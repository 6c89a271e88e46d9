"""What onlookers of a simulation see, made by hand: one patient, one appointment, and what is said about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from cli.simulation.checks.every import Checks
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
        "recipient": "patient:p1", "aggregate_id": "a1", "aggregate_version": 1,
        "sequence": 0, "outcome": outcome, "reason": reason or outcome,
        "until": None if until_ms is None else datetime.fromtimestamp(until_ms / 1000, UTC),
    } | changes  # fmt: skip
    for onlooker in checks.onlookers:
        onlooker.decision(decision, at_ms)


def asked(checks: Checks, name: str = "n1", at_ms: int = NOON, event_id: str = "e1") -> None:
    for onlooker in checks.onlookers:
        onlooker.request(
            {"kind": "notify", "notification_id": name, "event_id": event_id, "notification_type": REMINDER}, at_ms
        )


def heard(checks: Checks, status: str, at_ms: int) -> None:
    for onlooker in checks.onlookers:
        onlooker.status({"delivery_id": "d1", "notification_id": "n1", "status": status}, at_ms)


def rules(checks: Checks) -> set[str]:
    return {violation.rule for violation in checks.shown()}
