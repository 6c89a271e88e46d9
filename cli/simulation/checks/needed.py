"""Nobody is asked for what is done, called off or told anew, and nothing is given up as such that is still to be done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from cli.simulation.checks.check import Check

# Of each type: what is newer of the same aggregate than what it was asked for by, makes it void: asked anew, or done.
_VOID: Mapping[str, frozenset[str]] = {
    "forms_reminder": frozenset({"forms.due", "forms.completed"}),
    "consent_form_reminder": frozenset({"consent.due", "consent.signed"}),
    "package_session_reminder": frozenset({"package.session_used"}),
    "payment_reminder": frozenset({"payment.due", "payment.received"}),
    "outstanding_balance": frozenset({"payment.due", "payment.received"}),
    "payment_retry_reminder": frozenset({"payment.failed", "payment.received"}),
}
_NEWER = frozenset().union(*_VOID.values())
# Those that are for a visit, where their event names one.
_FOR_A_VISIT = frozenset({"forms.due", "consent.due"})
_VISITS = frozenset({"appointment.created", "appointment.rescheduled", "appointment.cancelled", "appointment.restored"})


class _Visit(NamedTuple):
    """How a visit stands by the newest that was heard of it."""

    version: int
    off_since_ms: int | None


class Needed(Check):
    """``_heard``: (aggregate, event type) → [(version, when)], of those that make something void."""

    rule = "needed"

    def __init__(self) -> None:
        super().__init__()
        self._heard: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        self._visits: dict[str, _Visit] = {}
        self._visit_of: dict[str, str] = {}  # event that asks → the visit that it is for

    def event(self, event_type: str, value: Mapping[str, Any], at_ms: int) -> None:
        """Notes what is void from now on, and what stands again."""
        aggregate, version = value["aggregate_id"], value["aggregate_version"]
        if event_type in _VISITS:
            before = self._visits.get(aggregate)
            if before is None or version > before.version:
                self._visits[aggregate] = _Visit(version, at_ms if event_type == "appointment.cancelled" else None)
        elif event_type in _NEWER and not value.get("remaining_balance"):
            self._heard[aggregate, event_type].append((version, at_ms))
            if event_type in _FOR_A_VISIT and value["appointment_id"]:
                self._visit_of[value["event_id"]] = value["appointment_id"]

    def message(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Looks whether it is still to be done when it is handed to a channel, its next channels included."""
        kind = value["notification_type"]
        if kind not in _VOID:
            return
        if (why := self._void(value, at_ms)) is not None:
            self.violates(
                value["delivery_id"], f"{kind} of version {value['aggregate_version']} was told although {why}"
            )

    def decision(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Looks whether what was given up as void is so."""
        kind, reason = value["notification_type"], value["reason"]
        if kind not in _VOID or value["outcome"] != "suppress":
            return
        if reason in ("superseded", "already_done", "cancelled") and self._void(value, at_ms + 1) is None:
            self.violates(value["notification_id"], f"{kind} was given up as {reason}, and it is still to be done")

    def _void(self, value: Mapping[str, Any], at_ms: int) -> str | None:
        """Why it was not to be done any more before then; None: it was."""
        for event_type in _VOID[value["notification_type"]]:
            for version, heard_ms in self._heard.get((value["aggregate_id"], event_type), ()):
                if version > value["aggregate_version"] and heard_ms < at_ms:
                    return f"{event_type} of version {version} was heard"
        visit = self._visits.get(self._visit_of.get(value["event_id"], ""))
        if visit is not None and visit.off_since_ms is not None and visit.off_since_ms < at_ms:
            return "its visit was called off"
        return None
