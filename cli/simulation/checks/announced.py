"""What is announced is told as often as it must be, and no more: papers until they are done, credits, doses at their minute."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from cli.simulation.checks.check import Check, at

_MINUTE_MS = 60 * 1000
_PAPERS = frozenset({"forms.due", "consent.due"})
_CREDITS, _DOSE = "membership.credits_expiring", "medication.reminder_due"
_WARNING, _MEDICATION = "membership_credits_expiring", "medication_reminder"
# Days ahead from which on one more reminder must come: at once, the day before and three days before.
_LEADS = (1, 2, 4)
_WHENEVER = 3


@dataclass(slots=True)
class _Announced:
    """An event that something must come of. ``asked``: notifications; ``by_ms``: when a dose is due."""

    event_type: str
    least: int = 0
    due_ms: int = 0
    asked: set[str] = field(default_factory=set)
    decided_ms: list[int] = field(default_factory=list)
    moved: bool = False


class Announced(Check):
    """``zone``: the clinic's."""

    rule = "announced"

    def __init__(self, zone: str) -> None:
        super().__init__()
        self._zone = ZoneInfo(zone)
        self._announced: dict[str, _Announced] = {}
        self._credits: dict[str, tuple[str, date]] = {}  # event → whose credits, and when they run out
        self._newest: dict[tuple[str, date], str] = {}
        self._warned: defaultdict[tuple[str, date, date], set[str]] = defaultdict(set)

    def event(self, event_type: str, value: Mapping[str, Any], at_ms: int) -> None:
        """Notes what must come of it."""
        name = value["event_id"]
        if name in self._announced:
            return
        if event_type in _PAPERS:
            until = value["appointment_date"] or value["due_date"]
            days = None if until is None else (until - at(at_ms).astimezone(self._zone_of(value)).date()).days
            least = _WHENEVER if days is None else sum(days >= lead for lead in _LEADS)
            self._announced[name] = _Announced(event_type, least)
        elif event_type == _DOSE:
            self._announced[name] = _Announced(event_type, 1, round(value["due_at"].timestamp() * 1000))
        elif event_type == _CREDITS:
            self._announced[name] = _Announced(event_type)
            lot = self._credits[name] = (value["aggregate_id"], value["expiry_date"])
            self._newest[lot] = name

    def request(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Notes what was asked for by it."""
        found = self._announced.get(value["event_id"])
        if found is not None and value["kind"] == "notify":
            found.asked.add(value["notification_id"])

    def decision(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Notes when a dose was decided, or that a night is in the way."""
        found = self._announced.get(value["event_id"])
        if found is not None and value["reason"] != "not_due":
            found.decided_ms.append(at_ms)
            found.moved |= value["reason"] == "before_quiet_hours"

    def message(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Looks at warnings of credits: one a day, of what was announced last."""
        lot = self._credits.get(value["event_id"])
        if lot is None or value["notification_type"] != _WARNING:
            return
        told = self._warned[*lot, at(at_ms).astimezone(self._zone).date()]
        if told - {value["notification_id"]}:
            self.violates(value["delivery_id"], f"{_WARNING} was told of the same credits twice in a day")
        told.add(value["notification_id"])
        if self._newest[lot] != value["event_id"]:
            self.violates(value["delivery_id"], f"{_WARNING} tells what was announced anew since")

    def finish(self, now_ms: int) -> None:
        """Judges what must have been asked for."""
        for name, found in self._announced.items():
            if len(found.asked) < found.least:
                self.violates(
                    name, f"{found.event_type} was asked for {len(found.asked)} times instead of {found.least}"
                )
            past = found.due_ms and not found.moved and found.due_ms + _MINUTE_MS < now_ms
            if past and not any(found.due_ms <= one < found.due_ms + _MINUTE_MS for one in found.decided_ms):
                self.violates(name, f"{_MEDICATION}, due at {at(found.due_ms):%Y-%m-%d %H:%M}Z, was not decided then")

    def _zone_of(self, value: Mapping[str, Any]) -> ZoneInfo:
        return ZoneInfo(value["time_zone"]) if value["time_zone"] else self._zone
