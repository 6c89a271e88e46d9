"""Every appointment that stands has its reminders at the right local minute, or a reason on record why not; no other has any."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from cli.simulation.checks.check import Check, at
from cli.simulation.checks.wishes import Wishes
from cli.simulation.leads import lead_of

_MINUTE_MS = 60 * 1000
# Fields of each event that say when the appointment is.
_SETS: Mapping[str, tuple[str, str]] = {
    "appointment.created": ("appointment_date", "appointment_time"),
    "appointment.rescheduled": ("new_date", "new_time"),
    "appointment.restored": ("appointment_date", "appointment_time"),
}
_ENDS = frozenset({"appointment.cancelled", "appointment.checked_in", "appointment.completed", "appointment.no_show"})
# Reminders are essential: only these can stand against one of an appointment that stands. Wishes about frequency cannot.
_MAY_STOP = frozenset(
    {
        "opted_out", "consent_expired", "address_suppressed", "recipient_blocked", "inactive", "type_disabled",
        "channel_disabled_by_clinic", "event_opt_out", "unreachable", "unknown_recipient", "unverified", "do_not_disturb",
        "expired",
    }
)  # fmt: skip
_MAY_MOVE = frozenset({"quiet_hours", "clinic_quiet_hours", "before_quiet_hours", "do_not_disturb"})
_SHIFT = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?)?")
VERDICTS = ("expected", "found", "held", "confirmed", "not sent", "missing", "wrong minute", "too late", "too soon")


class Promised(NamedTuple):
    """``before``: how long before an appointment a reminder comes (``PT24H`` elapsed, ``P1D`` on the wall clock).

    ``not_within``: it does not come at all within so long after the booking, which told them already.
    """

    before: str
    not_within: str = "PT0M"


@dataclass(slots=True)
class _Expected:
    """One reminder that must come. ``said``: what was decided of it, (when, outcome, reason)."""

    due_ms: int
    lead: str
    narrowed: bool  # by the event itself
    confirmed_ms: int | None = None  # she said that she will come
    plain: bool = False  # when it was not sent: nothing that we know of stood against it
    said: list[tuple[int, str, str]] = field(default_factory=list)


class Reminders(Check):
    """``promised``: type → how long before it comes, as the catalogue says.

    ``asking``: those types that ask for a confirmation, and so are not for who has confirmed.
    ``table``: (lead time, type, verdict) → how many; ``too late``, ``too soon``: none is due, since its time had passed when
    the appointment was booked, or came so soon after that they had just been told.
    """

    rule = "reminders"

    def __init__(
        self, wishes: Wishes, promised: Mapping[str, Promised], clinic_zone: str, asking: Collection[str] = ()
    ) -> None:
        super().__init__()
        self._asking = frozenset(asking)
        self._wishes, self._clinic_zone = wishes, clinic_zone
        self._before = {name: _parsed(one.before) for name, one in promised.items()}
        self._within = {name: _ms_of(one.not_within) for name, one in promised.items()}
        self._heard: set[str] = set()  # events: told twice they are one
        self._versions: dict[str, int] = {}  # appointment → of its latest change; what is older is heard late
        self._live: dict[str, dict[tuple[str, str], _Expected]] = {}  # appointment → (event, type) → what must come
        self.table: Counter[tuple[str, str, str]] = Counter()

    def event(self, event_type: str, value: Mapping[str, Any], at_ms: int) -> None:
        """What must come from now on, and what must not any more."""
        if value["event_id"] in self._heard:
            return
        self._heard.add(value["event_id"])
        if event_type == "appointment.confirmed":
            for (_, kind), expected in self._live.get(value["aggregate_id"], {}).items():
                if kind in self._asking:
                    expected.confirmed_ms = expected.confirmed_ms or at_ms
            return
        newest = self._changed(event_type, value, at_ms)
        names = _SETS.get(event_type)
        if names is None or not newest:
            return
        zone = ZoneInfo(value["time_zone"] or self._clinic_zone)
        starts = datetime.combine(value[names[0]], time.fromisoformat(value[names[1]]), zone)
        lead = lead_of(at_ms, value[names[0]], value[names[1]], zone)
        narrowed = value.get("sms_opt_in") is False or value.get("email_opt_in") is False
        found = self._live[value["aggregate_id"]] = {}
        for kind, (days, elapsed) in self._before.items():
            wall = datetime.combine(starts.date() - timedelta(days=days), starts.time(), zone)
            due_ms = round((wall.astimezone(UTC) - elapsed).timestamp() * 1000)
            if due_ms <= at_ms:
                self.table[lead, kind, "too late"] += 1
            elif due_ms < at_ms + self._within[kind]:
                self.table[lead, kind, "too soon"] += 1
            else:
                found[value["event_id"], kind] = _Expected(due_ms, lead, narrowed)

    def elsewhere(self, event_type: str, value: Mapping[str, Any], at_ms: int) -> None:
        """An appointment that became somebody else's is nobody's here any more."""
        self._changed(event_type, value, at_ms)

    def _changed(self, event_type: str, value: Mapping[str, Any], at_ms: int) -> bool:
        """What was to come before a change does not come after it. False: it is none, or an older one, heard late."""
        if event_type not in _SETS and event_type not in _ENDS:
            return False
        appointment, version = value["aggregate_id"], value["aggregate_version"]
        if version < self._versions.get(appointment, 0):
            return False
        self._versions[appointment] = version
        for key, expected in self._live.pop(appointment, {}).items():
            if expected.due_ms < at_ms:
                self._judge(key, expected)
        return True

    def _is_plain(self, recipient: str) -> bool:
        """Nothing that we know of them stands against a reminder, at any hour."""
        cells = self._wishes.of(recipient)
        withdrawn = any(name.startswith("consent.") and said == "opted_out" for name, said in cells.items())
        asks = any(name.startswith(("quiet_hours.", "do_not_disturb")) for name in cells)
        return bool(cells) and not withdrawn and not asks

    def decision(self, value: Mapping[str, Any], at_ms: int) -> None:
        """What was decided of a reminder."""
        kind = value["notification_type"]
        if kind not in self._before:
            return
        expected = self._live.get(value["aggregate_id"], {}).get((value["event_id"], kind))
        if expected is not None:
            expected.said.append((at_ms, value["outcome"], value["reason"]))
            expected.plain = not expected.narrowed and self._is_plain(value["recipient"])
        elif value["outcome"] == "deliver":
            self.violates(value["notification_id"], f"{kind} was sent, and no appointment that stands calls for it")

    def finish(self, now_ms: int) -> None:
        """Judges those whose time has come."""
        for living in self._live.values():
            for key, expected in living.items():
                if expected.due_ms < now_ms:
                    self._judge(key, expected)
        self._live.clear()

    def _judge(self, key: tuple[str, str], expected: _Expected) -> None:
        event_id, kind = key
        verdict, why = _verdict(expected)
        self.table[expected.lead, kind, "expected"] += 1
        self.table[expected.lead, kind, verdict] += 1
        if verdict in ("missing", "wrong minute"):
            self.violates(event_id, f"{kind}, due at {at(expected.due_ms):%Y-%m-%d %H:%M}Z: {why}")


def _verdict(expected: _Expected) -> tuple[str, str]:
    """found, held (sent at another minute for a reason), not sent (for a reason), missing, wrong minute; and why."""
    due_ms, moved_by = expected.due_ms, ""
    confirmed_ms = expected.confirmed_ms
    for at_ms, outcome, reason in expected.said:
        if reason == "already_done" and confirmed_ms is not None:
            return "confirmed", reason
        if outcome == "deliver" and confirmed_ms is not None and at_ms > confirmed_ms:
            return "wrong minute", "it asks for a confirmation that was given"
        if outcome == "defer":
            if reason not in ("not_due", "retry"):
                moved_by = reason
        elif outcome == "suppress":
            if reason in _MAY_STOP and not (expected.plain and not moved_by):
                return "not sent", reason
            return "missing", f"not sent, reason {reason}"
        elif due_ms <= at_ms < due_ms + _MINUTE_MS:
            return "found", ""
        elif moved_by in _MAY_MOVE:
            return "held", moved_by
        else:
            return "wrong minute", f"sent {(at_ms - due_ms) / _MINUTE_MS:+.1f} minutes off"
    return ("held", moved_by) if moved_by in _MAY_MOVE else ("missing", "nothing was sent")


def _parsed(text: str) -> tuple[int, timedelta]:
    found = _SHIFT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text}: not a time before an appointment that this check can read")
    days, hours, minutes = (int(part or 0) for part in found.groups())
    return days, timedelta(hours=hours, minutes=minutes)


def _ms_of(text: str) -> int:
    days, elapsed = _parsed(text)
    return round((timedelta(days=days) + elapsed).total_seconds() * 1000)
