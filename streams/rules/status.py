"""What a notification has come to: receipts merged in any order, however often each comes.

Each channel has its own order of statuses, because providers contradict themselves differently. A text's first terminal status
stands (a carrier's later word is about the same attempt and less sure). An email that was accepted may bounce hours later, and
then the bounce is the truth. A later attempt begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

# StepState as NotificationState holds it.
StepState: TypeAlias = dict[str, Any]

_UNDER_WAY = ("", "queued", "sending", "unknown", "sent")
NEVER_SENT = ("cancelled", "suppressed", "expired")
FAILED = ("undelivered", "failed", "bounced")
_ARRIVED = ("delivered", "read", "clicked", "acknowledged", "unsubscribed", "complained")

# Which status stands, from lowest to highest, where the higher wins.
_LATER_WINS: Mapping[str, int] = {
    status: rank
    for rank, status in enumerate((*_UNDER_WAY, *NEVER_SENT, "undelivered", "failed", *_ARRIVED, "bounced"))
}
WITHOUT_SUCCESS = frozenset((*NEVER_SENT, *FAILED))
ARRIVED = frozenset(_ARRIVED)
# Others say nothing that a plan goes by, or caps.
SETTLING = WITHOUT_SUCCESS | ARRIVED
_TERMINAL = SETTLING
# By what they say of the reader: a provider took it, a device has it, somebody looked at it.
ACCEPTED = frozenset({"sent"})
DELIVERED = frozenset({"delivered"})
SEEN = ARRIVED - DELIVERED
# Channels whose first terminal status stands; for the others the higher of two does.
_FIRST_TERMINAL_STANDS = frozenset({"sms"})


def new_step(step: int, channel: str, delivery_id: str, attempt: int = 1) -> StepState:
    """A step of the plan that no status is known of."""
    return {
        "step": step,
        "channel": channel,
        "delivery_id": delivery_id,
        "status": "",
        "attempt": attempt,
        "status_at": None,
    }


def merged(step: StepState, attempt: int, status: str, status_at: datetime) -> StepState:
    """The step after one more status. Any order and any repetition of the same statuses give the same step."""
    if attempt < step["attempt"] or not _stands(step, attempt, status, status_at):
        return step
    return {**step, "status": status, "attempt": attempt, "status_at": status_at}


def _stands(step: StepState, attempt: int, status: str, status_at: datetime) -> bool:
    """Does the new status take the old one's place?"""
    if attempt > step["attempt"] or step["status_at"] is None:
        return True
    old, old_at = step["status"], step["status_at"]
    if step["channel"] in _FIRST_TERMINAL_STANDS and old in _TERMINAL and status in _TERMINAL and status_at != old_at:
        return bool(status_at < old_at)
    if old == status:
        return bool(status_at < old_at)
    return _LATER_WINS[status] > _LATER_WINS[old]


def final_of(steps: Sequence[StepState]) -> str:
    """delivered, failed, expired, suppressed or cancelled; empty while something may still come of a step."""
    statuses = {step["status"] for step in steps}
    if statuses & ARRIVED:
        return "delivered"
    if not statuses or not statuses <= _TERMINAL:
        return ""
    if statuses & set(FAILED):
        return "failed"
    return next(status for status in ("expired", "suppressed", "cancelled") if status in statuses)
