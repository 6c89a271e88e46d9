"""The times at which somebody acts on what they know: whoever drives to an appointment that was moved must hear of it before.

Quiet hours hold a notice so long as that leaves time enough. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from streams.catalog_model import Moment, NotificationType
from streams.rules.event_fields import event_fields
from streams.rules.local_time import LocalTime
from streams.rules.moments import compile_moment
from streams.rules.timing import Duration

_NOTHING = Duration()


class Deadline(NamedTuple):
    """``at_ms``: when they act (ms since the epoch); ``ahead_ms``: how long before it they must know."""

    at_ms: int
    ahead_ms: int


DeadlinesOf = Callable[[Mapping[str, Any], LocalTime], tuple[Deadline, ...]]
"""(event, local time) → its deadlines; none where the event leaves the fields empty."""


def compile_deadlines(kind: NotificationType, record: str) -> DeadlinesOf:
    """The deadlines of a type, for events of this record (its full name), which must have the fields."""
    fields = event_fields(record)
    moments = tuple(
        (compile_moment(Moment(of=one.of, after=_NOTHING), fields), one.ahead.total_seconds * 1000)
        for one in kind.in_time_for
    )

    def deadlines_of(event: Mapping[str, Any], local: LocalTime) -> tuple[Deadline, ...]:
        found = ((moment_of(event, local, {}), ahead_ms) for moment_of, ahead_ms in moments)
        return tuple(Deadline(round(at.timestamp() * 1000), ahead_ms) for at, ahead_ms in found if at is not None)

    return deadlines_of


def missed(deadlines: tuple[Deadline, ...], now_ms: int, told_ms: int) -> int | None:
    """The first deadline still ahead for which ``told_ms`` would be too late, ms since the epoch; None: it is in time for all.

    One that has passed is no reason for haste any more.
    """
    return min((one.at_ms for one in deadlines if now_ms < one.at_ms < told_ms + one.ahead_ms), default=None)
