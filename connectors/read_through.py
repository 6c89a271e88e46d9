"""Until when a reader knows what a topic's partitions hold: by where their leaders say that they end, not by its own rounds.

A reader that comes round hears nothing of a partition whose leader is away, nor of what waits behind a transaction that stands
open: the log grows, and what may be read of it does not. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class _Claim(NamedTuple):
    """At ``asked_at`` the log ended no later than ``end``."""

    asked_at: float
    end: int


class ReadThrough:
    """Times are seconds of one clock of the caller's, read before the leaders are asked."""

    def __init__(self, partitions: Iterable[int]) -> None:
        self._next: dict[int, int] = dict.fromkeys(partitions, 0)
        self._known: dict[int, float] = {}
        self._claims: dict[int, _Claim] = {}

    def read(self, partition: int, before: int) -> None:
        """Everything before this offset was read: a record's offset and one, or the end that the client met."""
        self._next[partition] = before

    def told(self, asked_at: float, ends: Mapping[int, int]) -> None:
        """Leaders' answers, open transactions' records included; partitions whose leader gave none are left out."""
        self._settle()
        for partition, end in ends.items():
            # An end that is not read to stays the one to meet: a reader a little late for ever would meet no newer one.
            self._claims.setdefault(partition, _Claim(asked_at, end))
        self._settle()

    def since(self) -> float | None:
        """What was there at this time is known of every partition; None while there is one of which nothing is."""
        self._settle()
        return min(self._known.values()) if len(self._known) == len(self._next) else None

    def behind(self, moment: float) -> list[int]:
        """The partitions of which less is known than what was there at that moment."""
        self._settle()
        return sorted(one for one in self._next if self._known.get(one, float("-inf")) < moment)

    def _settle(self) -> None:
        for partition, claim in list(self._claims.items()):
            if self._next[partition] >= claim.end:
                self._known[partition] = claim.asked_at
                del self._claims[partition]
