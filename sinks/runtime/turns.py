"""Whose turn it is when there is not enough for messages of all lanes: critical first, the rest by weight. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

# How lanes share what is short, once critical has all it needs.
WEIGHTS: Mapping[str, int] = {"high": 4, "normal": 2, "low": 1}
CRITICAL = "critical"

Waiting = TypeVar("Waiting")


class Turns:
    """Remembers who was served, so that the shares come out over many rounds of a few."""

    def __init__(self) -> None:
        self._served = dict.fromkeys(WEIGHTS, 0.0)
        self._waited: frozenset[str] = frozenset()  # lanes of the last round

    def served(self, lane: str) -> None:
        """One message of this lane got what it waited for."""
        if lane in WEIGHTS:
            self._served[lane] += 1 / WEIGHTS[lane]

    def of(self, queues: Mapping[str, Sequence[Waiting]]) -> Iterator[Waiting]:
        """Everyone who waits, once, whose turn it is first; a lane's own in their order. ``served`` is to be told meanwhile.

        A lane that was empty has saved nothing up.
        """
        yield from queues[CRITICAL]
        left = {lane: iter(queues[lane]) for lane in WEIGHTS if queues[lane]}
        staying = [self._served[lane] for lane in left.keys() & self._waited]
        start = min(staying) if staying else max(self._served.values())
        for lane in left.keys() - self._waited:
            self._served[lane] = max(self._served[lane], start)
        self._waited = frozenset(left)
        while left:
            lane = min(left, key=self._served.__getitem__)
            waiting = next(left[lane], None)
            if waiting is None:
                del left[lane]
            else:
                yield waiting
