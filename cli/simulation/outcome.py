"""What a simulation came to: of one partition, or of all of them together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from cli.simulation.checks.check import SHOWN, Violation


@dataclass(frozen=True, slots=True)
class Outcome:
    """Counts. Nothing in it names anybody, so it may go from process to process and be printed.

    ``sent``: (type, channel); ``hours``: (hour of the clinic, channel); ``refused``: channel; ``outcomes``: (outcome, reason);
    ``letters``: code; ``booked``: lead time; ``led``: (type, lead time); ``reminders``: (lead time, type, verdict);
    ``shown``: the first violations of each rule, in the order of the checks.
    """

    events: int
    requested: int
    ended: int
    waiting: int
    timers: int
    violations: int
    sent: Counter[tuple[str, str]]
    hours: Counter[tuple[int, str]]
    refused: Counter[str]
    outcomes: Counter[tuple[str, str]]
    letters: Counter[str]
    booked: Counter[str]
    led: Counter[tuple[str, str]]
    reminders: Counter[tuple[str, str, str]]
    shown: Mapping[str, list[Violation]]

    def with_timers(self, more: int) -> Outcome:
        """With the timers of the first hop too."""
        return replace(self, timers=self.timers + more)


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """Of all partitions, given in their order. Raises ValueError for none."""
    first, *others = outcomes
    for one in others:
        first = _both(first, one)
    return first


def _both(one: Outcome, other: Outcome) -> Outcome:
    return Outcome(
        one.events + other.events,
        one.requested + other.requested,
        one.ended + other.ended,
        one.waiting + other.waiting,
        one.timers + other.timers,
        one.violations + other.violations,
        one.sent + other.sent,
        one.hours + other.hours,
        one.refused + other.refused,
        one.outcomes + other.outcomes,
        one.letters + other.letters,
        one.booked + other.booked,
        one.led + other.led,
        one.reminders + other.reminders,
        {rule: (shown + other.shown[rule])[:SHOWN] for rule, shown in one.shown.items()},
    )
