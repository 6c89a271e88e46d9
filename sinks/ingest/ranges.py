"""Which range of a partition goes in next. Pure: a crash at any step and a replay give the same ranges, so the same tokens.

A partition is ``idle`` (all before ``next_offset`` is inserted) or has a ``planned`` range, persisted before its insert. After
a crash the planned range is read again and inserted under the same token, whether or not the first insert got through.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Range(Generic[Item]):
    """``[start, end)`` of one partition and the records found in it (fewer than its width: compaction, control records)."""

    start: int
    end: int
    items: list[Item] = field(repr=False)


class PartitionRanges(Generic[Item]):
    """Buffers one partition's records and cuts ranges. Offsets only rise; a record below what is done is skipped."""

    def __init__(
        self, next_offset: int, planned_end: int | None, size_bytes: Callable[[Item], int] = lambda _: 0
    ) -> None:
        self._size_bytes = size_bytes
        self.buffered_bytes = 0
        self._next_offset = next_offset
        self._planned_end = planned_end
        self._seen = next_offset  # every record below is in the buffer, or there is none
        self._offsets: list[int] = []  # of what is buffered, side by side with the items
        self._items: list[Item] = []

    @property
    def resume_at(self) -> int:
        """Where reading starts."""
        return self._next_offset

    @property
    def buffered(self) -> int:
        """Records waiting to be cut."""
        return len(self._items)

    def add(self, offsets: Sequence[int], items: Sequence[Item]) -> None:
        """Records, in the order of the log."""
        if not offsets:
            return
        fresh = bisect_left(offsets, self._seen)
        self._offsets += offsets[fresh:] if fresh else offsets
        added = items[fresh:] if fresh else items
        self._items += added
        self.buffered_bytes += sum(map(self._size_bytes, added))
        self._seen = max(self._seen, offsets[-1] + 1)

    def reached(self, position: int) -> None:
        """The reader stands at ``position``: whatever lies below and was not added does not exist."""
        self._seen = max(self._seen, position)

    def cut(self, max_items: int, max_bytes: int | None = None) -> Range[Item] | None:
        """The next range, or None when there is nothing (or not all yet of a range planned before a crash).

        One record that is larger than ``max_bytes`` is a range of its own.
        """
        if self._planned_end is not None:
            if self._seen < self._planned_end:
                return None
            end = self._planned_end
            count = bisect_left(self._offsets, end)
        elif self._items:
            count = min(max_items, len(self._items))
            if max_bytes is not None and self.buffered_bytes > max_bytes:
                sizes = accumulate(map(self._size_bytes, self._items[:count]))
                count = max(1, bisect_right(list(sizes), max_bytes))
            end = self._offsets[count - 1] + 1
        else:
            return None
        cut = Range(self._next_offset, end, self._items[:count])
        del self._items[:count], self._offsets[:count]
        self.buffered_bytes -= sum(map(self._size_bytes, cut.items))
        self._next_offset, self._planned_end = end, None
        return cut
