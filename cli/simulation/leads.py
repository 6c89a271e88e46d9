"""What each lead time got: appointments told apart by how long before they were booked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from cli.simulation.onlooker import Onlooker

LEADS = ("already begun", "same day", "1 day", "2-3 days", "4-7 days", "8-14 days", "15-30 days", "over 30 days")
_MOST_DAYS = (0, 1, 3, 7, 14, 30)


def lead_of(booked_ms: int, day: date, clock: str, zone: ZoneInfo) -> str:
    """How long before an appointment something happened to it, in calendar days of its zone."""
    if booked_ms >= datetime.combine(day, time.fromisoformat(clock), zone).timestamp() * 1000:
        return LEADS[0]
    days = (day - datetime.fromtimestamp(booked_ms / 1000, zone).date()).days
    return next((name for name, most in zip(LEADS[1:], _MOST_DAYS, strict=False) if days <= most), LEADS[-1])


class Leads(Onlooker):
    """``booked``: lead time → appointments; ``sent``: (type, lead time) → notifications that were sent about them."""

    def __init__(self, zone: str) -> None:
        self._zone = ZoneInfo(zone)
        self._lead: dict[str, str] = {}
        self._sent: set[str] = set()
        self.booked: Counter[str] = Counter()
        self.sent: Counter[tuple[str, str]] = Counter()

    def event(self, event_type: str, value: Mapping[str, Any], at_ms: int) -> None:
        """Files an appointment by when it was booked; what becomes of it later changes nothing of that."""
        if event_type != "appointment.created":
            return
        zone = ZoneInfo(value["time_zone"]) if value["time_zone"] else self._zone
        lead = lead_of(at_ms, value["appointment_date"], value["appointment_time"], zone)
        self._lead[value["aggregate_id"]] = lead
        self.booked[lead] += 1

    def call(self, message: Mapping[str, Any], content: Mapping[str, Any], accepted: bool, at_ms: int) -> None:
        """Counts each notification once, by its first call."""
        lead = self._lead.get(message["aggregate_id"])
        if lead is not None and message["notification_id"] not in self._sent:
            self._sent.add(message["notification_id"])
            self.sent[message["notification_type"], lead] += 1
