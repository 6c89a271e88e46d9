"""What the log and the provider show afterwards: after each change, how late was the last thing that did not obey it? Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from tests.integration.hammer.crowd import Patient


class Act(NamedTuple):
    """Something that happened to one patient on her channel: at (seconds since the epoch), and whether it went to it."""

    at: float
    goes: bool


class Lateness(NamedTuple):
    """Seconds by which the last act against a change came after its 200; 0 for none. ``tried``: acts that could have been."""

    seconds: float
    tried: int


def latenesses(patient: Patient, acts: Iterable[Act], *, goes: bool) -> list[Lateness]:
    """For each of the patient's changes to ``goes``: the acts between its answer and the asking for the next change."""
    known = sorted(acts)
    found: list[Lateness] = []
    for change, following in pairwise([*patient.changes, None]):
        if change is None or change.goes != goes:
            continue
        until = following.asked if following else float("inf")
        meanwhile = [act for act in known if change.answered <= act.at < until]
        against = [act.at for act in meanwhile if act.goes != goes]
        found.append(Lateness(max(against, default=change.answered) - change.answered, len(meanwhile)))
    return found


class Distribution(NamedTuple):
    """Of latenesses, in ms."""

    changes: int
    late: int
    p50: float
    p99: float
    most: float

    def __str__(self) -> str:
        return (
            f"{self.changes:5d} changes, {self.late:4d} with anything later: p50 {self.p50:.0f} ms, "
            f"p99 {self.p99:.0f} ms, most {self.most:.0f} ms"
        )


def distribution(found: Sequence[Lateness]) -> Distribution:
    """All of them together."""
    ordered = sorted(one.seconds * 1000 for one in found) or [0.0]
    return Distribution(
        len(found),
        sum(one.seconds > 0 for one in found),
        quantile(ordered, 0.5),
        quantile(ordered, 0.99),
        ordered[-1],
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """By rank; of what is sorted."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
