"""Texts, push messages and subjects tell no more than their level: no names in full, no treatments, providers or amounts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cli.simulation.checks.check import Check
from cli.simulation.checks.wishes import Wishes
from cli.simulation.links import BASE_URL

_WORD = re.compile(r"[^\W\d_][\w'-]*")
_AMOUNT = re.compile(r"[$€£]\s?\d|\d\s?(?:USD|EUR|GBP)\b")
# Our own links end in sealed tokens, whose letters say nothing and may spell anything.
_LINK = re.compile(rf"{re.escape(BASE_URL)}/\S+")
# Words of a campaign are its own, written by the clinic for everybody.
_PUBLIC = frozenset({"marketing", "engagement"})


class Ceilings(Check):
    """Learns from events what nobody else may read, and looks for it in what is sent."""

    rule = "PHI ceiling"

    def __init__(self, wishes: Wishes) -> None:
        super().__init__()
        self._wishes = wishes
        self._services: set[str] = set()
        self._providers: set[str] = set()
        self._patient_of: dict[str, str] = {}

    def event(self, event_type: str, value: Mapping[str, Any], at_ms: int) -> None:
        """Learns a patient's treatment, and who gives it."""
        if value.get("service"):
            self._services.add(value["service"].lower())
        if value.get("provider"):
            self._providers.add(value["provider"].lower())
        if value.get("patient_id"):
            self._patient_of[value["aggregate_id"]] = f"patient:{value['patient_id']}"

    def elsewhere(self, event_type: str, value: Mapping[str, Any], at_ms: int) -> None:
        """Staff are told of everybody's."""
        self.event(event_type, value, at_ms)

    def call(self, message: Mapping[str, Any], content: Mapping[str, Any], accepted: bool, at_ms: int) -> None:
        """Looks at each surface by its level: 1 for texts, push and subjects, 2 for an email's body; the portal shows all."""
        channel = message["channel"]
        if channel == "in_app" or message["category"] in _PUBLIC:
            return
        if channel == "email":
            self._look(message, "subject", content["subject"] or "", 1)
            self._look(message, "body", content["body"], 2)
        else:
            told = " ".join((content["subject"] or "", content["body"], *content["data"].values()))
            self._look(message, channel, told, 1)

    def _look(self, message: Mapping[str, Any], surface: str, text: str, level: int) -> None:
        text = _LINK.sub("", text)
        lower = text.lower()
        what = ""
        if any(service in lower for service in self._services):
            what = "names the treatment"
        elif level == 1 and any(provider in lower for provider in self._providers):
            what = "names the provider"
        elif _AMOUNT.search(text):
            what = "names an amount"
        else:
            about = self._patient_of.get(message["aggregate_id"], message["recipient"])
            last_name = self._wishes.of(about).get("last_name", "").lower()
            if last_name and last_name in {word.lower() for word in _WORD.findall(text)}:
                what = "names the patient in full"
        if what:
            self.violates(message["delivery_id"], f"{message['notification_type']}: the {surface} {what}")
