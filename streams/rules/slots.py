"""When one occurrence of a notification is due, and until when it means something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo

from streams.catalog_model import Trigger
from streams.rules.event_fields import EventField
from streams.rules.moments import Anchors, EventValue, MomentOf, compile_moment


class Slot(NamedTuple):
    """``due_at`` None: now. ``expires_at`` None: never. Both UTC."""

    due_at: datetime | None
    expires_at: datetime | None


class Why(StrEnum):
    """Why an occurrence is not sent at all."""

    TOO_LATE = "too_late"
    EXPIRED = "expired"
    FIELD_EMPTY = "field_empty"


class Skipped(NamedTuple):
    """An occurrence that is not sent at all. ``due_at``: when it would have been due (UTC), where that can be said."""

    why: Why
    due_at: datetime | None


class Times(NamedTuple):
    """Now, as a batch has it: aware (UTC), and in ms since the epoch."""

    now: datetime
    now_ms: int


SlotOf = Callable[[EventValue, ZoneInfo, Anchors, Times], Slot | Skipped]
"""(event, zone, anchors, times) → the slot, or why this occurrence is not sent at all."""
_ExpiryOf = Callable[[EventValue, datetime, ZoneInfo, Anchors], datetime | None]


def times_at(now_ms: int) -> Times:
    """Now. ``now_ms``: ms since the epoch."""
    return Times(datetime.fromtimestamp(now_ms / 1000, UTC), now_ms)


def compile_slots(trigger: Trigger, fields: Mapping[str, EventField]) -> tuple[SlotOf, ...]:
    """One function for each occurrence of a trigger, in order."""
    expiry_of = _compile_expiry(trigger, fields)
    if trigger.timing == "immediate":
        return (_at_once(expiry_of),)
    return tuple(
        _timed(compile_moment(timing, fields), expiry_of, timing.if_late == "send_now", timing.if_null == "send_now")
        for timing in trigger.timing
    )


def _at_once(expiry_of: _ExpiryOf) -> SlotOf:
    def slot_of(event: EventValue, where: ZoneInfo, anchors: Anchors, _: Times) -> Slot:
        return Slot(None, expiry_of(event, event["occurred_at"], where, anchors))

    return slot_of


def _timed(moment_of: MomentOf, expiry_of: _ExpiryOf, late_is_sent: bool, null_is_sent: bool) -> SlotOf:
    def slot_of(event: EventValue, where: ZoneInfo, anchors: Anchors, times: Times) -> Slot | Skipped:
        occurred_at: datetime = event["occurred_at"]
        due_at = moment_of(event, where, anchors)
        if due_at is None:
            if null_is_sent:
                return Slot(None, expiry_of(event, occurred_at, where, anchors))
            return Skipped(Why.FIELD_EMPTY, None)
        expires_at = expiry_of(event, due_at, where, anchors)
        if due_at > times.now:
            if expires_at is not None and expires_at <= due_at:
                return Skipped(Why.EXPIRED, due_at)
            return Slot(due_at, expires_at)
        # Its time has passed. Either the event came too late for it (booked an hour ahead, no reminder a day ahead), and the
        # catalogue says what then; or we are late, and it is sent while it still means something.
        if due_at <= occurred_at and not late_is_sent:
            return Skipped(Why.TOO_LATE, due_at)
        if expires_at is not None and expires_at <= times.now:
            return Skipped(Why.EXPIRED, due_at)
        return Slot(None, expires_at)

    return slot_of


def _compile_expiry(trigger: Trigger, fields: Mapping[str, EventField]) -> _ExpiryOf:
    """The first expiry whose fields the event fills; one without fields counts from when it is due."""
    expiries = tuple(
        (compile_moment(expiry, fields) if expiry.of else None, timedelta(seconds=expiry.shift[0].total_seconds))
        for expiry in trigger.expiry
    )

    def expiry_of(event: EventValue, due_at: datetime, where: ZoneInfo, anchors: Anchors) -> datetime | None:
        for moment_of, life in expiries:
            if moment_of is None:
                return due_at + life
            found = moment_of(event, where, anchors)
            if found is not None:
                return found
        return None

    return expiry_of
