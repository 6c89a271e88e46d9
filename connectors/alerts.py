"""Alarms: a ``system.alert`` event, which the catalogue turns into notifications for the clinic's administrators. Pure.

One thing that is wrong is one aggregate: it is told once in its time, however often, and by however many processes, it is seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from schemas.ids import derived_id
from schemas.topics import event_topic

EVENT_TYPE = "system.alert"
RECORD = "luxe.events.SystemAlert"
TOPIC = event_topic(EVENT_TYPE)
# What goes on is told again after so long: an hour's alarms fit one screen.
AGAIN_AFTER = timedelta(hours=1)

Severity = Literal["info", "warning", "critical"]


def system_alert(
    clinic_id: str,
    *,
    component: str,
    code: str,
    summary: str,
    now: datetime,
    severity: Severity = "warning",
    subject: str = "",
    since: datetime | None = None,
    resolved: bool = False,
    details: Mapping[str, str] | None = None,
    again_after: timedelta = AGAIN_AFTER,
    seen_by: str = "",
) -> dict[str, Any]:
    """The event. The same cause within ``again_after`` has the same event_id, and, whoever it was ``seen_by``, the same alert.

    So a repetition is recognised, and what several see is told once (the catalogue: one of an alert in so many minutes). What has
    a beginning (``since``) is told for each, so that a pause that comes back is not taken for the one that is over.
    ``component``: what is wrong (``sink.sms``); ``subject``: which of it, e.g. an account's name. ``summary``: what is wrong, and
    what to do; nothing of a patient. Key it by its ``aggregate_id``.
    """
    period = int(now.timestamp() // again_after.total_seconds())
    alert_id = derived_id("alert", clinic_id, component, code, subject)
    return {
        "event_id": derived_id("alert-event", alert_id, since.isoformat() if since else period, str(resolved), seen_by),
        "event_type": EVENT_TYPE,
        "occurred_at": now,
        "schema_version": "1.0",
        "source": "luxe-notify",
        "correlation_id": None,
        "clinic_id": clinic_id,
        "aggregate_id": alert_id,
        "aggregate_version": round(now.timestamp() * 1000),
        "metadata": {},
        "alert_id": alert_id,
        "severity": severity,
        "component": component,
        "code": code,
        "summary": summary,
        "resolved": resolved,
        "first_seen_at": since,
        "details": dict(details or {}),
        "staff_ids": [],
        "roles": [],
    }
