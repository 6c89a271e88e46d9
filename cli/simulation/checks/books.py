"""The books close: what was asked for has ended or waits, each message leaves once, nothing waits for a time that has passed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cli.simulation.checks.check import Check, at

# A batch takes so many timers that what is due in one instant is fired in it: nothing is late by more than a second.
_LATE_MS = 1_000
_ARRIVED = frozenset({"delivered", "read"})


class _Stands(NamedTuple):
    """What a notification came to last. ``until_ms``: when it is decided again, 0: not by itself."""

    notification_type: str
    sequence: int
    outcome: str
    until_ms: int


class Books(Check):
    """Of every notification, by its id. ``ended``, ``waiting``: after ``finish``; with them ``requested`` closes."""

    rule = "the books"

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[str, str] = {}
        self._stands: dict[str, _Stands] = {}
        self._own: set[str] = set()  # digests: notify asks for them itself
        self._buried: set[str] = set()
        self._arrived: set[str] = set()
        self.ended = self.waiting = 0

    @property
    def requested(self) -> int:
        """Notifications asked for, digests included."""
        return len(self._asked) + len(self._own)

    def request(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Notes what was asked for."""
        if value["kind"] == "notify":
            if value["notification_id"] in self._asked:
                self.violates(value["notification_id"], f"{value['notification_type']} was asked for twice")
            self._asked[value["notification_id"]] = value["notification_type"]

    def decision(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Notes what it came to."""
        name = value["notification_id"]
        if name not in self._asked:
            if value["event_type"] != "notification.requested":
                self.violates(name, f"{value['notification_type']} was decided, and nobody asked for it")
            self._own.add(name)
        before = self._stands.get(name)
        sequence = value["sequence"]
        if sequence != (0 if before is None else before.sequence + 1):
            self.violates(
                name, f"{value['notification_type']}: decision {sequence} follows another than the one before it"
            )
        if before is not None and before.until_ms and at_ms - before.until_ms > _LATE_MS:
            self.violates(
                name, f"{value['notification_type']} was decided {(at_ms - before.until_ms) / 1000:.0f} s late"
            )
        until = value["until"]
        until_ms = 0 if value["outcome"] != "defer" or until is None else round(until.timestamp() * 1000)
        self._stands[name] = _Stands(value["notification_type"], sequence, value["outcome"], until_ms)

    def letter(self, value: Mapping[str, Any], at_ms: int) -> None:
        """What nobody could handle has ended, and is kept."""
        if value["notification_id"] is not None:
            self._buried.add(value["notification_id"])

    def status(self, value: Mapping[str, Any], at_ms: int) -> None:
        """What arrived has ended, though its next channel had been put off till morning."""
        if value["status"] in _ARRIVED:
            self._arrived.add(value["notification_id"])

    def finish(self, now_ms: int) -> None:
        """Counts what ended and what waits; names what does neither."""
        for name, kind in self._asked.items():
            if name not in self._stands and name not in self._buried:
                self.violates(name, f"{kind} was asked for, and never decided")
        for name, stands in self._stands.items():
            if not stands.until_ms or name in self._buried or name in self._arrived:
                self.ended += 1
                continue
            self.waiting += 1
            if now_ms - stands.until_ms > _LATE_MS:
                self.violates(name, f"{stands.notification_type} still waits for {at(stands.until_ms):%Y-%m-%d %H:%M}Z")
        only_buried = sum(name not in self._stands for name in self._buried if name in self._asked)
        self.ended += only_buried
        if self.requested != self.ended + self.waiting:
            lost = self.requested - self.ended - self.waiting
            self.violates(
                "all", f"{self.requested} asked for, {self.ended} ended, {self.waiting} wait: {lost} are neither"
            )


class Once(Check):
    """One message, and one call, for each notification, step and attempt; nothing more once a provider took a step."""

    rule = "once"

    def __init__(self) -> None:
        super().__init__()
        self._messages: dict[str, int] = {}  # delivery → its latest attempt
        self._steps: dict[tuple[str, int], str] = {}
        self._called: dict[str, int] = {}
        self._arrived: set[str] = set()

    def message(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Notes that it was handed over."""
        delivery, attempt, kind = value["delivery_id"], value["attempt"], value["notification_type"]
        if attempt <= self._messages.get(delivery, 0):
            self.violates(delivery, f"{kind} by {value['channel']}: attempt {attempt} was handed over twice")
        self._messages[delivery] = attempt
        if self._steps.setdefault((value["notification_id"], value["step"]), delivery) != delivery:
            self.violates(delivery, f"{kind}: step {value['step']} of its plan was taken on two channels")

    def call(self, message: Mapping[str, Any], content: Mapping[str, Any], accepted: bool, at_ms: int) -> None:
        """Notes the call."""
        delivery, attempt, kind = message["delivery_id"], message["attempt"], message["notification_type"]
        if attempt <= self._called.get(delivery, 0):
            self.violates(delivery, f"{kind} by {message['channel']}: attempt {attempt} was called for twice")
        if delivery in self._arrived:
            self.violates(delivery, f"{kind} by {message['channel']} was sent again after it had arrived")
        self._called[delivery] = attempt

    def status(self, value: Mapping[str, Any], at_ms: int) -> None:
        """Notes that it arrived."""
        if value["status"] in _ARRIVED:
            self._arrived.add(value["delivery_id"])
