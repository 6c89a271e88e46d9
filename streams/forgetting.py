"""Aggregates that nothing happened to for long are forgotten: each has a timer that asks again when it would be due."""

from __future__ import annotations

from streams.rules.memory import AggregateMemory
from streams.runtime import DueTimer, Event

# Appointments are booked at most a year ahead; an aggregate that nothing happened to for longer is forgotten.
FORGET_MS = 400 * 24 * 60 * 60 * 1000
_PRIORITY = 3  # the low lane: forgetting never stands before mapping


def remember(event: Event, row: bytes, now_ms: int) -> None:
    """Set the timer of an aggregate that is seen for the first time. ``row`` is its state key."""
    event.set_timer(row, now_ms + FORGET_MS, b"", _PRIORITY)


def forget(event: Event, timer: DueTimer, now_ms: int) -> None:
    """The aggregate's timer is due: forgotten if nothing happened since, else asked again when that would be due."""
    kept = event.get(timer.timer_id)
    forget_ms = 0 if kept is None else AggregateMemory.decoded(kept).touched_ms + FORGET_MS
    if forget_ms <= now_ms:
        event.delete(timer.timer_id)
    else:
        event.set_timer(timer.timer_id, forget_ms, b"", _PRIORITY)
