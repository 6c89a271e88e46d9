"""Nothing is sent after its time, or about what has changed since: no message past its end, none of a dead version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cli.simulation.checks.check import Check, at


class InTime(Check):
    """The message's own limits, looked at when the provider is called."""

    rule = "in time"

    def call(self, message: Mapping[str, Any], content: Mapping[str, Any], accepted: bool, at_ms: int) -> None:
        """Looks at both limits."""
        for limit in ("expires_at", "send_not_after"):
            until = message[limit]
            if until is not None and at(at_ms) >= until:
                self.violates(message["delivery_id"], f"{message['notification_type']} was sent after its {limit}")


# What makes void all that was said of an appointment's earlier versions; arrival and the end of a visit do too.
_REPLACES = frozenset(
    {
        "appointment.rescheduled", "appointment.restored", "appointment.checked_in", "appointment.completed",
        "appointment.no_show", "appointment.cancelled",
    }
)  # fmt: skip


class _Changed(NamedTuple):
    """The last change of an appointment that made void what was before."""

    at_ms: int
    version: int
    event_id: str
    cancelled: bool


class Living(Check):
    """No message of an appointment's version that was replaced or called off before the provider was called."""

    rule = "dead version"

    def __init__(self) -> None:
        super().__init__()
        self._changed: dict[str, _Changed] = {}

    def event(self, event_type: str, value: Mapping[str, Any], at_ms: int) -> None:
        """Notes what is void from now on."""
        before = self._changed.get(value["aggregate_id"])
        if event_type in _REPLACES and (before is None or value["aggregate_version"] > before.version):
            cancelled = event_type == "appointment.cancelled"
            changed = _Changed(at_ms, value["aggregate_version"], value["event_id"], cancelled)
            self._changed[value["aggregate_id"]] = changed

    def elsewhere(self, event_type: str, value: Mapping[str, Any], at_ms: int) -> None:
        """Staff are told of everybody's."""
        self.event(event_type, value, at_ms)

    def call(self, message: Mapping[str, Any], content: Mapping[str, Any], accepted: bool, at_ms: int) -> None:
        """Looks at what the message was made from."""
        changed = self._changed.get(message["aggregate_id"]) if message["aggregate_type"] == "appointment" else None
        if changed is None or at_ms <= changed.at_ms:
            return
        version = message["aggregate_version"]
        if version < changed.version or (
            changed.cancelled and version == changed.version and message["event_id"] != changed.event_id
        ):
            self.violates(
                message["delivery_id"],
                f"{message['notification_type']} of version {version} was sent {(at_ms - changed.at_ms) / 1000:.0f} s after "
                f"version {changed.version} made it void",
            )
