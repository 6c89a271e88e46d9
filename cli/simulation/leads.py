"""What each lead time got: appointments told apart by how long before they were booked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any, NamedTuple
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


class _Booked(NamedTuple):
    """An appointment as it was booked; what becomes of it later changes nothing of that."""

    at_ms: int
    day: date
    clock: str
    time_zone: str | None


class Leads(Onlooker):
    """``booked``: lead time → appointments; ``sent``: (type, lead time) → notifications that were sent about them."""

    def __init__(self, zone: str) -> None:
        self._zone = ZoneInfo(zone)
        self._lead: dict[str, str | _Booked] = {}  # found out when it is asked for
        self._sent: set[str] = set()
        self.booked: Counter[str] = Counter()
        self.sent: Counter[tuple[str, str]] = Counter()

    def event(self, event_type: str, value: Mapping[str, Any], at_ms: int) -> None:
        """Files an appointment by when it was booked."""
        self.elsewhere(event_type, value, at_ms)
        if event_type == "appointment.created" and (lead := self._lead_of(value["aggregate_id"])) is not None:
            self.booked[lead] += 1

    def elsewhere(self, event_type: str, value: Mapping[str, Any], at_ms: int) -> None:
        """Files it without counting it: staff are told of everybody's."""
        if event_type == "appointment.created":
            day, clock = value["appointment_date"], value["appointment_time"]
            self._lead[value["aggregate_id"]] = _Booked(at_ms, day, clock, value["time_zone"])

    def call(self, message: Mapping[str, Any], content: Mapping[str, Any], accepted: bool, at_ms: int) -> None:
        """Counts each notification once, by its first call."""
        lead = self._lead_of(message["aggregate_id"])
        if lead is not None and message["notification_id"] not in self._sent:
            self._sent.add(message["notification_id"])
            self.sent[message["notification_type"], lead] += 1

    def _lead_of(self, appointment: str) -> str | None:
        found = self._lead.get(appointment)
        if isinstance(found, _Booked):
            zone = ZoneInfo(found.time_zone) if found.time_zone else self._zone
            found = self._lead[appointment] = lead_of(found.at_ms, found.day, found.clock, zone)
        return found
