"""What must hold of the catalogue's times: of each moment by itself, and of a timing beside its expiries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import time

from streams.catalog_model import Expiry, Moment, NotificationType, Timing, Trigger
from streams.rules.timing import Duration

# Spreads a crowd, and does not move a notification to another part of the day.
JITTER_MOST = Duration(seconds=6 * 3600)
# Who must know earlier than that is not served by a message of the night before either.
AHEAD_MOST = Duration(seconds=3 * 3600)
# Three months of working weeks: what lies further off is meant in plain days.
BUSINESS_DAYS_MOST = 60


def moment_faults(moment: Moment) -> Iterator[str]:
    """Everything about one timing or expiry that cannot be meant; each says what to write instead."""
    if (moment.after is None) == (moment.before is None):
        yield "say one of after: and before: (after: PT0S is the instant itself)"
    duration, _ = moment.shift
    if moment.days == "business":
        if duration.seconds and not duration.days:
            yield f"days: business counts whole days: write P1D, not {duration}"
        if duration.days > BUSINESS_DAYS_MOST:
            yield f"days: business: at most {BUSINESS_DAYS_MOST} of them; further off, count plain days"
    if not moment.of and (moment.days == "business" or moment.plus_days):
        yield "days: business and plus_days: need `of`, the time that they are counted from"
    if isinstance(moment, Timing):
        yield from _hours_faults(moment.not_before, moment.not_after)
        yield from _jitter_faults(moment)
        yield from _clocks_faults(moment)
        if moment.skip_if_within is not None and moment.if_late == "send_now":
            yield "skip_if_within: with if_late: send_now the later event would be told and the earlier one not; drop one"


def past_expiry(moment: Moment, expiries: Sequence[Expiry]) -> Iterator[str]:
    """A timing that its first expiry has always overtaken: both hang on the same time, and it is due no sooner."""
    first = expiries[0]
    same = (moment.of, moment.plus_days, moment.days) == (first.of, first.plus_days, first.days)
    if isinstance(moment, Timing) and same and _offset_seconds(moment) >= _offset_seconds(first):
        yield "is due when it has expired already: let expiry be later"


def deadline_faults(kind: NotificationType) -> Iterator[str]:
    """Deadlines of a type that quiet hours may not, or need not, give way to."""
    if not kind.in_time_for:
        return
    if not kind.essential:
        yield "only what is essential passes quiet hours: the law's hours for texts hold the rest whatever it tells of"
    if any(trigger.timing != "immediate" for trigger in kind.triggers):
        yield "only what is told at once: what is due at a time has that time, and expiry"
    for deadline in kind.in_time_for:
        if not 0 < deadline.ahead.total_seconds <= AHEAD_MOST.seconds:
            yield f"ahead: write minutes or hours, up to {AHEAD_MOST}: more would be told in the night as a rule"


def _offset_seconds(moment: Moment) -> int:
    duration, direction = moment.shift
    return direction * duration.total_seconds


def _hours_faults(earliest: time | None, latest: time | None) -> Iterator[str]:
    if earliest is not None and latest is not None and earliest >= latest:
        yield "not_before must be earlier than not_after"


def _jitter_faults(timing: Timing) -> Iterator[str]:
    jitter, earliest, latest = timing.jitter, timing.not_before, timing.not_after
    if jitter is None:
        return
    if jitter.days or not 0 < jitter.seconds <= JITTER_MOST.seconds:
        yield f"jitter: write hours or minutes, up to {JITTER_MOST}"
    if (earliest is None) != (latest is None):
        yield "jitter: with hours of the day give both, not_before and not_after, or it would leave them"
    elif earliest is not None and latest is not None and not timing.jitter_fits(earliest, latest):
        yield "jitter: longer than the hours from not_before to not_after: shorten it"


def _clocks_faults(timing: Timing) -> Iterator[str]:
    if not timing.clocks:
        return
    if len(timing.clocks) != 2:
        yield "clocks: name two fields, a date and a time of day"
    if timing.if_late != "send_now":
        yield "clocks: needs if_late: send_now: whether it is late, only the recipient's clocks say"
    if timing.not_before or timing.not_after or timing.jitter or timing.skip_if_within:
        yield "clocks: not with not_before, not_after, jitter or skip_if_within, which go by the clinic's clocks"


def adjustable_faults(trigger: Trigger) -> Iterator[str]:
    """A timing that clinics may move: alone, its own offset within the bounds, and not over at either of them."""
    timings = () if trigger.timing == "immediate" else trigger.timing
    for timing in timings:
        bounds = timing.adjustable
        if bounds is None:
            continue
        if len(timings) > 1:
            yield "adjustable: only where a trigger has one timing: which of them would move?"
        low, high = bounds.at_least.total_seconds, bounds.at_most.total_seconds
        if not low <= timing.shift[0].total_seconds <= high or low == high:
            yield "adjustable: its own offset must lie from at_least to at_most, and these apart"
        if timing.days == "business":
            yield "adjustable: not with days: business; write plain days"
        direction = "after" if timing.after is not None else "before"
        for offset in (bounds.at_least, bounds.at_most):
            moved = timing.model_copy(update={direction: offset})
            yield from (f"adjustable: at {offset} it {problem}" for problem in past_expiry(moved, trigger.expiry))
