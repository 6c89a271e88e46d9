"""Nobody is disturbed in their quiet hours, the clinic's, or those the law sets for texts; nor when they asked not to be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import phonenumbers

from cli.simulation.checks.check import Check, at
from cli.simulation.checks.wishes import Wishes, within, words_of

# 47 CFR § 64.1200(c)(1): in the United States no such call before 8 or after 21 o'clock of the called party.
_LAWFUL = ("21:00", "08:00")
_UNITED_STATES = frozenset({"US", "PR", "VI", "GU", "AS", "MP"})
_RINGING = ("sms", "push")


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

    def call(self, message: Mapping[str, Any], content: Mapping[str, Any], accepted: bool, at_ms: int) -> None:
        """Looks at the clock where the recipient is."""
        channel, recipient, kind = message["channel"], message["recipient"], message["notification_type"]
        if channel == "in_app" or message["lane"] == "critical" or kind in self._answers:
            return
        words = words_of(message)
        zone = self._wishes.zone(recipient, self._zone)
        local = f"{at(at_ms).astimezone(zone):%H:%M}"
        if self._wishes.is_quiet(recipient, channel, words, self._zone, at_ms):
            self.violates(message["delivery_id"], f"{kind} by {channel} at {local}, in the recipient's quiet hours")
        if self._wishes.undisturbed(recipient, at_ms) and channel in _RINGING:
            self.violates(message["delivery_id"], f"{kind} by {channel} to who is not to be disturbed")
        clinic = self._clinic
        if (
            clinic is not None
            and recipient.startswith("patient:")
            and words.isdisjoint(clinic.get("exceptions", ()))
            and within(clinic["start"], clinic["end"], zone, at_ms)
        ):
            self.violates(message["delivery_id"], f"{kind} by {channel} at {local}, in the clinic's quiet hours")
        if channel == "sms" and not message["essential"] and self._country_of(content["to"]) in _UNITED_STATES:
            home = self._wishes.of(recipient).get("time_zone")
            if home is not None and within(*_LAWFUL, zone, at_ms):
                self.violates(message["delivery_id"], f"{kind} by text at {local}, before 8 or after 21 o'clock")

    def _country_of(self, number: str) -> str:
        found = self._country.get(number)
        if found is None:
            region = phonenumbers.region_code_for_number(phonenumbers.parse(number))
            found = self._country[number] = region or ""
        return found
