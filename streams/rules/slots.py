"""When one occurrence of a notification is due, and until when it means something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from streams.catalog_model import Moment, Timing, Trigger
from streams.rules.adjusting import Adjustment, adjusted
from streams.rules.event_fields import EventField
from streams.rules.local_time import LocalTime
from streams.rules.moments import Anchors, EventValue, compile_moment
from streams.rules.timing import Duration, clamped, wall_to_utc

_SECOND = timedelta(seconds=1)


class Slot(NamedTuple):
    """``due_at`` None: now. ``expires_at`` None: never. Both UTC. ``spread_seconds``: how much later each may be due.

    ``by_their_clocks``: what clocks show at ``due_at`` in the event's zone is meant by each recipient's own.
    """

    due_at: datetime | None
    expires_at: datetime | None
    spread_seconds: int = 0
    by_their_clocks: bool = False


class Why(StrEnum):
    """Why an occurrence is not sent at all."""

    TOO_LATE = "too_late"
    TOO_NEAR = "too_near"
    EXPIRED = "expired"
    FIELD_EMPTY = "field_empty"
    NOT_HERE = "not_for_this_service"


class Skipped(NamedTuple):
    """An occurrence that is not sent at all. ``due_at``: when it would have been due (UTC), where that can be said."""

    why: Why
    due_at: datetime | None


class Times(NamedTuple):
    """Now, as a batch has it: aware (UTC), and in ms since the epoch."""

    now: datetime
    now_ms: int


SlotOf = Callable[[EventValue, LocalTime, Anchors, Times], Slot | Skipped]
"""(event, local time, anchors, times) → the slot, or why this occurrence is not sent at all."""
_ExpiryOf = Callable[[EventValue, datetime, LocalTime, Anchors], datetime | None]
_DueOf = Callable[[datetime, LocalTime], tuple[datetime, int]]
"""What a timing makes of its moment: when it is due at the earliest, and how many seconds later at most."""


def times_at(now_ms: int) -> Times:
    """Now. ``now_ms``: ms since the epoch."""
    return Times(datetime.fromtimestamp(now_ms / 1000, UTC), now_ms)


def compile_slots(trigger: Trigger, fields: Mapping[str, EventField]) -> tuple[SlotOf, ...]:
    """One function for each occurrence of a trigger, in order."""
    expiry_of = _compile_expiry(trigger, fields)
    if trigger.timing == "immediate":
        return (_at_once(expiry_of),)
    return tuple(_timed(timing, fields, expiry_of) for timing in trigger.timing)


def compile_adjusted(trigger: Trigger, fields: Mapping[str, EventField], adjustment: Adjustment) -> tuple[SlotOf, ...]:
    """``compile_slots`` of what a clinic made of the trigger."""
    slots = compile_slots(adjusted(trigger, adjustment), fields)
    return tuple(_skipped for _ in slots) if adjustment.skip else slots


def _skipped(_event: EventValue, _local: LocalTime, _anchors: Anchors, _times: Times) -> Skipped:
    return Skipped(Why.NOT_HERE, None)


def spread(notification: str, seconds: int) -> timedelta:
    """How much later one notification is due, 0 to ``seconds``: by its id (a UUID), so the same at every run."""
    return timedelta(seconds=int(notification[:8], 16) % (seconds + 1))


def _at_once(expiry_of: _ExpiryOf) -> SlotOf:
    def slot_of(event: EventValue, local: LocalTime, anchors: Anchors, _: Times) -> Slot:
        return Slot(None, expiry_of(event, event["occurred_at"], local, anchors))

    return slot_of


def _timed(timing: Timing, fields: Mapping[str, EventField], expiry_of: _ExpiryOf) -> SlotOf:
    moment_of = compile_moment(timing, fields)
    due_of = _compile_due(timing)
    late_is_sent, null_is_sent = timing.if_late == "send_now", timing.if_null == "send_now"
    nearest = None if timing.skip_if_within is None else timedelta(seconds=timing.skip_if_within.total_seconds)
    wall_of = compile_moment(Moment(of=timing.clocks, after=Duration()), fields) if timing.clocks else None

    def slot_of(event: EventValue, local: LocalTime, anchors: Anchors, times: Times) -> Slot | Skipped:
        occurred_at: datetime = event["occurred_at"]
        if wall_of is not None and (wall := wall_of(event, local, anchors)) is not None:
            return Slot(wall, expiry_of(event, wall, local, anchors), by_their_clocks=True)
        due_at = moment_of(event, local, anchors)
        if due_at is None:
            if null_is_sent:
                return Slot(None, expiry_of(event, occurred_at, local, anchors))
            return Skipped(Why.FIELD_EMPTY, None)
        room = 0
        if due_of is not None:
            due_at, room = due_of(due_at, local)
        expires_at = expiry_of(event, due_at, local, anchors)
        # Seen from when it happened, not from when we hear of it: the same event always asks for the same.
        if nearest is not None and occurred_at < due_at < occurred_at + nearest:
            return Skipped(Why.TOO_NEAR, due_at)
        if due_at > times.now:
            if expires_at is None:
                return Slot(due_at, None, room)
            if expires_at <= due_at:
                return Skipped(Why.EXPIRED, due_at)
            return Slot(due_at, expires_at, min(room, _seconds_before(expires_at, due_at)) if room else 0)
        # Its time has passed. Either the event came too late for it (booked an hour ahead, no reminder a day ahead), and the
        # catalogue says what then; or we are late, and it is sent while it still means something.
        if due_at <= occurred_at and not late_is_sent:
            return Skipped(Why.TOO_LATE, due_at)
        if expires_at is not None and expires_at <= times.now:
            return Skipped(Why.EXPIRED, due_at)
        return Slot(None, expires_at)

    return slot_of


def _seconds_before(expires_at: datetime, due_at: datetime) -> int:
    """Whole seconds from one to a second before the other, at least 0."""
    return max((expires_at - due_at) // _SECOND - 1, 0)


def _compile_due(timing: Timing) -> _DueOf | None:
    """Hours of the day and jitter; None where a timing has neither."""
    earliest, latest = timing.not_before, timing.not_after
    jitter = timing.jitter.seconds if timing.jitter else 0
    if earliest is None and latest is None:
        return (lambda due_at, _: (due_at, jitter)) if jitter else None

    def within_hours(due_at: datetime, local: LocalTime) -> tuple[datetime, int]:
        kept = clamped(due_at, earliest, latest, local.where)
        if not jitter or latest is None:
            return kept, jitter
        end = wall_to_utc(kept.astimezone(local.where).date(), latest, local.where)
        if kept < due_at:
            # Brought back to the hour with all the others that were too late: spread before it.
            kept = clamped(end - timedelta(seconds=jitter), earliest, None, local.where)
        return kept, max(min(jitter, (end - kept) // _SECOND), 0)

    return within_hours


def _compile_expiry(trigger: Trigger, fields: Mapping[str, EventField]) -> _ExpiryOf:
    """The first expiry whose fields the event fills; one without fields counts from when it is due."""
    expiries = tuple(
        (compile_moment(expiry, fields) if expiry.of else None, timedelta(seconds=expiry.shift[0].total_seconds))
        for expiry in trigger.expiry
    )

    def expiry_of(event: EventValue, due_at: datetime, local: LocalTime, anchors: Anchors) -> datetime | None:
        for moment_of, life in expiries:
            if moment_of is None:
                return due_at + life
            found = moment_of(event, local, anchors)
            if found is not None:
                return found
        return None

    return expiry_of
