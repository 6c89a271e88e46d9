"""What a simulation comes to: counted while it runs, by type, hour and channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from cli.simulation.onlooker import Onlooker


class Counted(Onlooker):
    """An onlooker that counts. Hours are those of ``zone``, the clinic's."""

    def __init__(self, zone: str) -> None:
        self._zone = ZoneInfo(zone)
        self.events: Counter[str] = Counter()
        self.requested = 0
        self.sent: Counter[tuple[str, str]] = Counter()  # (type, channel): calls that the provider took
        self.hours: Counter[tuple[int, str]] = Counter()
        self.refused: Counter[str] = Counter()  # channel: calls that the provider did not take
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.letters: Counter[str] = Counter()
        self.statuses: Counter[tuple[str, str]] = Counter()

    def event(self, event_type: str, value: Mapping[str, Any], at_ms: int) -> None:
        """Counts an event."""
        self.events[event_type] += 1

    def request(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Counts what was asked for."""
        self.requested += value["kind"] == "notify"

    def decision(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Counts a decision by its outcome and reason."""
        self.outcomes[value["outcome"], value["reason"]] += 1

    def call(self, message: Mapping[str, Any], content: Mapping[str, Any], accepted: bool, at_ms: int) -> None:
        """Counts a call by type, hour and channel."""
        channel = message["channel"]
        if not accepted:
            self.refused[channel] += 1
            return
        self.sent[message["notification_type"], channel] += 1
        local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(self._zone)
        self.hours[local.hour, channel] += 1

    def status(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Counts what was heard."""
        self.statuses[value["channel"], value["status"]] += 1

    def letter(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Counts what could not be handled."""
        self.letters[value["error_code"]] += 1
