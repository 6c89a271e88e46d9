"""Every requested notification counted once, by its final state: the account that must close, from whatever records one has.

The same definition stands as SQL in connectors/clickhouse/ddl/003_notifications.sql; `luxe account` computes both and compares.

delivered    a provider or device said so
sent         a provider accepted it and has not said more (reason no_receipts: nor ever will, as Firebase; receipt_timeout: asked
             an hour later it knew no more)
unknown      a provider may have it; it was not sent again
failed       every delivery that was tried failed (reason: the error's class)
suppressed   decided so (reason: which rule), or a gate closed before the call
waiting      for a timer (reason: why; retry: for another try), in its channel's topic, untaken (not_taken), or at its sink,
             not handed over yet (queued: for a rate limit, a paused provider, or its turn), or just being handed over, or its
             sink died in that (sending: the provider may have it)
dead_letter  it could not be handled (reason: the error's code)
undecided    requested, and nothing more is known
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from schemas.codec import Decoded

State = Literal["delivered", "sent", "unknown", "failed", "suppressed", "waiting", "dead_letter", "undecided"]

# Who complains of a message, or unsubscribes by it, has it.
ARRIVED = frozenset({"delivered", "read", "clicked", "acknowledged", "complained", "unsubscribed"})
FAILED = frozenset({"failed", "undelivered", "bounced"})
STOPPED = frozenset({"suppressed", "cancelled", "expired"})
# Channels whose provider says no more than that it took a message: it is their last word.
WITHOUT_RECEIPTS = frozenset({"push"})
# It says that a notification failed, which its deliveries' statuses say too, and better: by class.
EXHAUSTED = "plan_exhausted"
# An unknown outcome is no end: the provider's receipt may still tell it.
_TERMINAL = ARRIVED | FAILED | STOPPED
_UNDER_WAY = ("sent", "unknown", "sending")  # the furthest first; before them only queued
_AT_ITS_SINK = frozenset({"sending", "queued"})
_ENDS: tuple[tuple[State, frozenset[str]], ...] = (
    ("unknown", frozenset({"unknown"})),
    ("failed", FAILED),
    ("suppressed", STOPPED),
)
_HAS_LEFT = ARRIVED | {"sent", "unknown", "undelivered", "bounced"}


@dataclass(slots=True)
class _Delivery:
    """One delivery, by its latest attempt: what an earlier one came to is why there was another."""

    channel: str
    attempt: int = 0
    statuses: set[str] = field(default_factory=set)
    terminal: tuple[Any, str] | None = None  # earliest terminal status: (when, which)
    why: tuple[Any, str] | None = None  # the earliest reason that any status gave: (when, which)
    is_overdue: bool = False

    @property
    def reason(self) -> str:
        """Why it is not as it should be; empty: nobody said."""
        return "" if self.why is None else self.why[1]

    def take(self, value: Mapping[str, Any]) -> None:
        """One status."""
        if value["attempt"] < self.attempt:
            return
        if value["attempt"] > self.attempt:
            self.attempt, self.statuses, self.terminal, self.why = value["attempt"], set(), None, None
            self.is_overdue = False
        status = value["status"]
        self.statuses.add(status)
        reason = value["reason"] or value.get("error_class") or ""
        if reason == "receipt_timeout":
            self.is_overdue = True
        elif reason and (self.why is None or (value["status_at"], reason) < self.why):
            self.why = value["status_at"], reason
        if status in _TERMINAL and (self.terminal is None or value["status_at"] < self.terminal[0]):
            self.terminal = value["status_at"], status

    def status(self) -> str:
        """Where it stands."""
        if not self.statuses:
            return "waiting"
        if "bounced" in self.statuses and self.channel == "email":
            return "bounced"
        if self.terminal is not None:
            # Who reads it has it, whatever was told of its way.
            return "delivered" if self.terminal[1] in ARRIVED else self.terminal[1]
        return next((status for status in _UNDER_WAY if status in self.statuses), "queued")


@dataclass(slots=True)
class _Notification:
    requested: bool = False
    sequence: int = -1
    outcome: str = ""
    reason: str = ""
    dead: str | None = None
    deliveries: dict[str, _Delivery] = field(default_factory=dict)

    def state(self) -> tuple[State, str]:
        if self.dead is not None:
            return "dead_letter", self.dead
        if not self.outcome:
            return "undecided", ""
        found = [(delivery.status(), delivery.reason) for delivery in self.deliveries.values()]
        statuses = {status for status, _ in found}
        if statuses & ARRIVED:
            return "delivered", ""
        if self.outcome == "defer":
            return "waiting", self.reason
        if "sent" in statuses:
            return "sent", self._why_no_more()
        if statuses & _AT_ITS_SINK:
            return "waiting", "sending" if "sending" in statuses else "queued"
        if self.outcome == "suppress":
            return "suppressed", self.reason
        for state, group in _ENDS:
            if statuses & group:
                # Of several the first by name: the views must come to the same.
                return state, min((reason for status, reason in found if status in group and reason), default="")
        return "waiting", "not_taken"

    def _why_no_more(self) -> str:
        under_way = [one for one in self.deliveries.values() if one.status() in {"sent"} | _AT_ITS_SINK]
        if all(one.channel in WITHOUT_RECEIPTS and one.status() == "sent" for one in under_way):
            return "no_receipts"
        return "receipt_timeout" if any(one.is_overdue for one in under_way) else ""


class Account:
    """Takes records in any order; states are right when all are in."""

    def __init__(self, correlation_id: str | None = None, unnamed_since: datetime | None = None) -> None:
        """``correlation_id``: only what carries it. ``unnamed_since``: and, from then on, dead letters that carry none."""
        self._correlation_id = correlation_id
        self._unnamed_since = unnamed_since
        self._notifications: dict[str, _Notification] = {}
        self.events = 0
        self.records: Counter[str] = Counter()
        self.decisions: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()  # by channel: provider accepted, counted once a delivery
        self._accepted_ids: set[str] = set()
        self._left: dict[str, set[int]] = {}
        self.event_dead_letters: Counter[str] = Counter()

    def take(self, record: Decoded) -> None:
        """One record of any pipeline topic or event topic."""
        value = record.value
        others = self._correlation_id is not None and value.get("correlation_id") != self._correlation_id
        if others and not self._is_unnamed(record):
            return
        name = record.name.rpartition(".")[2]
        if record.name.startswith("luxe.events."):
            self.events += 1
            return
        self.records[name] += 1
        handler = _HANDLERS.get(name)
        if handler is not None:
            handler(self, value)

    def _is_unnamed(self, record: Decoded) -> bool:
        # What cannot be read has no correlation id to tell whose it is.
        return (
            self._unnamed_since is not None
            and record.name.endswith(".DeadLetter")
            and record.value.get("correlation_id") is None
            and record.value["recorded_at"] >= self._unnamed_since
        )

    @property
    def requests(self) -> int:
        """Notifications requested, each once."""
        return sum(notification.requested for notification in self._notifications.values())

    def state(self, notification_id: str) -> tuple[State, str]:
        """State and reason of one that was taken. Raises KeyError."""
        return self._notifications[notification_id].state()

    def states(self) -> Counter[tuple[str, str]]:
        """(state, reason) → notifications."""
        return Counter(n.state() for n in self._notifications.values() if n.requested)

    def attempts_that_left(self, delivery_id: str) -> int | None:
        """How many attempts of a delivery the provider has, or may have; None: nothing is known of it."""
        left = self._left.get(delivery_id)
        return None if left is None else len(left)

    def deliveries(self, notification_id: str) -> dict[str, str]:
        """Delivery → where it stands."""
        found = self._notifications[notification_id].deliveries
        return {delivery_id: delivery.status() for delivery_id, delivery in found.items()}

    def _of(self, value: Mapping[str, Any]) -> _Notification:
        return self._notifications.setdefault(value["notification_id"], _Notification())

    def _request(self, value: Mapping[str, Any]) -> None:
        if value["kind"] == "notify":
            self._of(value).requested = True

    def _decision(self, value: Mapping[str, Any]) -> None:
        at = self._of(value)
        self.decisions[value["outcome"]] += 1
        if value["sequence"] > at.sequence:
            at.sequence, at.outcome, at.reason = value["sequence"], value["outcome"], value["reason"]

    def _message(self, value: Mapping[str, Any]) -> None:
        self._of(value).deliveries.setdefault(value["delivery_id"], _Delivery(value["channel"]))

    def _status(self, value: Mapping[str, Any]) -> None:
        delivery = self._of(value).deliveries.setdefault(value["delivery_id"], _Delivery(value["channel"]))
        delivery.take(value)
        status = value["status"]
        left = self._left.setdefault(value["delivery_id"], set())
        if status in _HAS_LEFT:
            left.add(value["attempt"])
        if status == "sent" and value["delivery_id"] not in self._accepted_ids:
            self._accepted_ids.add(value["delivery_id"])
            self.accepted[value["channel"]] += 1

    def _dead_letter(self, value: Mapping[str, Any]) -> None:
        if value.get("notification_id"):
            if value["error_code"] != EXHAUSTED:
                self._of(value).dead = value["error_code"]
        else:
            self.event_dead_letters[value["error_code"]] += 1


_HANDLERS: dict[str, Any] = {
    "NotificationRequest": Account._request,
    "Decision": Account._decision,
    "ChannelMessage": Account._message,
    "DeliveryStatus": Account._status,
    "DeadLetter": Account._dead_letter,
}
