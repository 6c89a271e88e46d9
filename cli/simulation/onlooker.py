"""Whoever looks on while a world goes on. Times in ms since the epoch; values are decoded records, and hold PHI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Onlooker:
    """Sees everything, and does nothing with it: what looks on overrides what it cares for. Values are not to be changed."""

    def event(self, event_type: str, value: Mapping[str, Any], at_ms: int) -> None:
        """A producer's event arrived."""

    def elsewhere(self, event_type: str, value: Mapping[str, Any], at_ms: int) -> None:
        """An event arrived that is about nobody of this partition."""

    def wished(self, cells: Mapping[str, str], at_ms: int) -> None:
        """Somebody's record was made or changed: a line of ``luxe recipients import``."""

    def request(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Intake asked for something (NotificationRequest)."""

    def decision(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Notify decided (Decision)."""

    def message(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Notify handed something to a channel (ChannelMessage)."""

    def call(self, message: Mapping[str, Any], content: Mapping[str, Any], accepted: bool, at_ms: int) -> None:
        """A provider was called for a message with this content (MessageContent), and took it or not."""

    def status(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Something was heard of a delivery (DeliveryStatus)."""

    def letter(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Something could not be handled (DeadLetter)."""
