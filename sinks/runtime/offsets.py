"""Which offset of a partition may be committed: the end of the prefix in which every record taken is finished. Pure."""

from __future__ import annotations

from collections import deque


class PartitionOffsets:
    """One assignment of one partition. Records end in any order; the position only moves over an unbroken run of ends.

    Offsets may have holes (control records, compaction): what was never taken blocks nothing. Not thread-safe.
    """

    __slots__ = ("_abandoned", "_order", "_position", "_unfinished")

    def __init__(self) -> None:
        self._order: deque[int] = deque()
        self._unfinished: set[int] = set()
        self._abandoned = 0
        self._position: int | None = None

    def take(self, offset: int) -> None:
        """A record was handed out. Raises ValueError unless offsets rise: one taken twice would be committed too early."""
        last = self._order[-1] if self._order else (self._position or 0) - 1
        if offset <= last:
            raise ValueError(f"offset {offset} was taken after {last}; a partition's records must come in order")
        self._order.append(offset)
        self._unfinished.add(offset)

    def finish(self, offset: int) -> None:
        """All that was owed for this record is durable elsewhere. Raises KeyError for one not in flight."""
        self._unfinished.remove(offset)
        while self._order and self._order[0] not in self._unfinished:
            self._position = self._order.popleft() + 1

    def abandon(self, offset: int) -> None:
        """Nothing was done for this record and nothing will be: the position stops before it. Raises KeyError as finish does."""
        if offset not in self._unfinished:
            raise KeyError(offset)
        self._abandoned += 1

    @property
    def position(self) -> int | None:
        """Offset to commit (the next one to read after a restart); None while nothing is finished."""
        return self._position

    @property
    def pinned(self) -> int:
        """Records taken that no commit covers: from the oldest that is not finished, those that ended behind it too."""
        return len(self._order)

    @property
    def in_flight(self) -> int:
        """Records taken that are neither finished nor abandoned."""
        return len(self._unfinished) - self._abandoned
