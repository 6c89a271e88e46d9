"""How benchmarks time and report: ours against a reference, in one run, round about, medians; figures gathered in one file."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path("build/bench.json")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report. ``ratio`` is so much better ours is; ``goal`` the least ratio wanted."""

    name: str
    ours: float
    reference: float
    ratio: float
    unit: str
    goal: float

    @property
    def is_met(self) -> bool:
        """Whether the ratio reaches the goal."""
        return self.ratio >= self.goal

    def line(self) -> str:
        """The figure as a line of text."""
        met = "met" if self.is_met else "MISSED"
        return (
            f"{self.name:<44} {self.ours:>14,.1f} {self.reference:>14,.1f} {self.unit:<12} "
            f"{self.ratio:>6.2f} goal ≥ {self.goal:g} {met}"
        )


def rate(name: str, ours: Sequence[float], reference: Sequence[float], unit: str, goal: float) -> Figure:
    """The figure of two series of rates, where more is better: their medians, and the ratio of these."""
    mine, other = statistics.median(ours), statistics.median(reference)
    return Figure(name, mine, other, mine / other, unit, goal)


def measure(
    ours: Callable[[], object], reference: Callable[[], object], *, units_per_call: int, rounds: int = 15
) -> tuple[list[float], list[float]]:
    """Rates per second of two functions that each do ``units_per_call`` units of the same work: a rate a round, for ``rate``.

    In turns, the first to start changing: a shared machine is faster and slower by the second, and so disturbs both.
    """
    rates: tuple[list[float], list[float]] = ([], [])
    both = ((rates[0], ours), (rates[1], reference))
    for _, function in both:
        function()
    for turn in range(rounds):
        for held, function in both if turn % 2 == 0 else both[::-1]:
            began = time.perf_counter()
            function()
            held.append(units_per_call / (time.perf_counter() - began))
    return rates


def write(figures: Iterable[Figure], path: Path = RESULTS) -> None:
    """Add figures to the report's list; a figure of the same name is replaced, the others stay."""
    added = {figure.name: asdict(figure) for figure in figures}
    held = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    kept = [figure for figure in held if figure["name"] not in added]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*kept, *added.values()], indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
