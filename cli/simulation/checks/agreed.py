"""Nobody is written to against their word: consents for everything, and for advertising an explicit yes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from cli.simulation.checks.check import Check
from cli.simulation.checks.wishes import Wishes

# The opt-in that the specification files each kind of advertising under.
_OPT_INS = {"engagement": "reviews", "membership": "membership"}
_OWN_CONSENT = {"push": "push_notifications", "in_app": "portal_notifications"}


class Agreed(Check):
    """``marketing``: types that are advertising, by the catalogue; ``no_consent``: types that need none (staff's)."""

    rule = "consent"

    def __init__(self, wishes: Wishes, marketing: Collection[str], no_consent: Collection[str]) -> None:
        super().__init__()
        self._wishes, self._marketing, self._no_consent = wishes, frozenset(marketing), frozenset(no_consent)

    def call(self, message: Mapping[str, Any], content: Mapping[str, Any], accepted: bool, at_ms: int) -> None:
        """Looks at the consents as they stand at the call."""
        kind = message["notification_type"]
        if kind in self._no_consent:
            return
        channel, recipient = message["channel"], message["recipient"]
        is_marketing = kind in self._marketing
        needed = _OWN_CONSENT.get(channel) or f"{channel}_{'marketing' if is_marketing else 'transactional'}"
        cells = self._wishes.of(recipient)
        said = cells.get(f"consent.{needed}")
        if said == "opted_out":
            self.violates(message["delivery_id"], f"{kind} by {channel} although {needed} was withdrawn")
        elif is_marketing and (lacks := self._lacks(message, said)):
            self.violates(message["delivery_id"], f"{kind} by {channel} {lacks}")

    def _lacks(self, message: Mapping[str, Any], said: str | None) -> str:
        channel, recipient = message["channel"], message["recipient"]
        cells = self._wishes.of(recipient)
        if channel in ("sms", "email") and said != "opted_in":
            return "without an explicit consent"
        if cells.get("global_opt_out") == "true":
            return "to who wants essential messages only"
        if cells.get(f"{channel}_enabled") == "false":
            return "on a channel that was switched off"
        opt_in = "marketing" if channel == "push" else _OPT_INS.get(message["category"], "marketing")
        if channel != "in_app" and not self._wishes.opted_in(recipient, channel, opt_in):
            return f"without the opt-in {opt_in}"
        return ""
