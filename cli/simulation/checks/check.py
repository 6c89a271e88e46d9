"""What every check is: somebody who looks on, and says what was against the rules."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from cli.simulation.onlooker import Onlooker

# Of each check so many are kept to be shown; all are counted.
SHOWN = 50


class Violation(NamedTuple):
    """A rule that was broken: which, by what (an id of ours), and how. Shows nobody's name, number or words."""

    rule: str
    subject: str
    what: str


class Check(Onlooker):
    """``count``: violations found; ``shown``: the first of them."""

    rule: str = ""

    def __init__(self) -> None:
        self.count = 0
        self.shown: list[Violation] = []

    def violates(self, subject: str, what: str) -> None:
        """Notes a violation."""
        self.count += 1
        if len(self.shown) < SHOWN:
            self.shown.append(Violation(self.rule, subject, what))

    def finish(self, now_ms: int) -> None:
        """The simulation is over: what is still open is judged."""


@lru_cache(maxsize=64)  # several checks look at one instant
def at(ms: int) -> datetime:
    """The instant, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC)
