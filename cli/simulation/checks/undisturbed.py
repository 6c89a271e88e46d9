"""Nobody is disturbed in their quiet hours, the clinic's, or those the law sets for texts; nor when they asked not to be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import phonenumbers

from cli.simulation.checks.check import Check, at
from cli.simulation.checks.wishes import Wishes, within, words_of

# 47 CFR § 64.1200(c)(1): in the United States no such call before 8 or after 21 o'clock of the called party.
_LAWFUL = ("21:00", "08:00")
_UNITED_STATES = frozenset({"US", "PR", "VI", "GU", "AS", "MP"})
_RINGING = ("sms", "push")
# News of an hour that comes before it, quiet or not; an hour before, and the ten minutes over which a night's end is spread.
_NEWS = frozenset({"appointment_rescheduled", "appointment_restored"})
_HOURS = {"appointment.rescheduled": ("old", "new"), "appointment.restored": ("appointment",)}
_AHEAD_MS = 70 * 60 * 1000


class Undisturbed(Check):
    """``answers``: types that the recipient asked for a moment ago; what is critical, they and the portal never disturb.

    ``policy``: the clinic's (ClinicPolicy).
    """

    rule = "quiet hours"

    def __init__(self, wishes: Wishes, policy: Mapping[str, Any], answers: Collection[str]) -> None:
        super().__init__()
        self._wishes, self._answers = wishes, frozenset(answers)
        self._zone: str = policy["time_zone"]
        self._clinic: Mapping[str, Any] | None = policy.get("quiet_hours")
        self._country: dict[str, str] = {}
        self._hours: dict[str, list[int]] = {}  # event → the hours that its news is about, ms

    def event(self, event_type: str, value: Mapping[str, Any], at_ms: int) -> None:
        """Notes the hours that somebody would miss, or drive to in vain."""
        zone = ZoneInfo(value.get("time_zone") or self._zone)
        for name in _HOURS.get(event_type, ()):
            day, clock = value.get(f"{name}_date"), value.get(f"{name}_time")
            if day is not None and clock is not None:
                found = datetime.combine(day, time.fromisoformat(clock), zone)
                self._hours.setdefault(value["event_id"], []).append(round(found.timestamp() * 1000))

    def call(self, message: Mapping[str, Any], content: Mapping[str, Any], accepted: bool, at_ms: int) -> None:
        """Looks at the clock where the recipient is."""
        channel, recipient, kind = message["channel"], message["recipient"], message["notification_type"]
        if channel == "in_app" or message["lane"] == "critical" or kind in self._answers:
            return
        words = words_of(message)
        zone = self._wishes.zone(recipient, self._zone)
        local = f"{at(at_ms).astimezone(zone):%H:%M}"
        hers, clinics = self._nights(message, words, at_ms)
        if (hers or clinics) and kind in _NEWS and self._would_be_too_late(message, words, at_ms):
            hers = clinics = False
        if hers:
            self.violates(message["delivery_id"], f"{kind} by {channel} at {local}, in the recipient's quiet hours")
        if self._wishes.undisturbed(recipient, at_ms) and channel in _RINGING:
            self.violates(message["delivery_id"], f"{kind} by {channel} to who is not to be disturbed")
        if clinics:
            self.violates(message["delivery_id"], f"{kind} by {channel} at {local}, in the clinic's quiet hours")
        if channel == "sms" and not message["essential"] and self._country_of(content["to"]) in _UNITED_STATES:
            home = self._wishes.of(recipient).get("time_zone")
            if home is not None and within(*_LAWFUL, zone, at_ms):
                self.violates(message["delivery_id"], f"{kind} by text at {local}, before 8 or after 21 o'clock")

    def _nights(self, message: Mapping[str, Any], words: frozenset[str], at_ms: int) -> tuple[bool, bool]:
        """Is it within the recipient's quiet hours, and the clinic's?"""
        recipient, clinic = message["recipient"], self._clinic
        hers = self._wishes.is_quiet(recipient, message["channel"], words, self._zone, at_ms)
        return hers, (
            clinic is not None
            and recipient.startswith("patient:")
            and words.isdisjoint(clinic.get("exceptions", ()))
            and within(clinic["start"], clinic["end"], self._wishes.zone(recipient, self._zone), at_ms)
        )

    def _would_be_too_late(self, message: Mapping[str, Any], words: frozenset[str], at_ms: int) -> bool:
        """Is an hour of its news ahead, and is it still quiet when she must have heard of it?"""
        for hour_ms in self._hours.get(message["event_id"], ()):
            last_ms = hour_ms - _AHEAD_MS
            if at_ms < hour_ms and (last_ms <= at_ms or any(self._nights(message, words, last_ms))):
                return True
        return False

    def _country_of(self, number: str) -> str:
        found = self._country.get(number)
        if found is None:
            region = phonenumbers.region_code_for_number(phonenumbers.parse(number))
            found = self._country[number] = region or ""
        return found
