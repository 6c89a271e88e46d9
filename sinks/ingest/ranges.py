"""Which range of a partition goes in next. Pure: a crash at any step and a replay give the same ranges, so the same tokens.

A partition is ``idle`` (all before ``next_offset`` is inserted) or has a ``planned`` range, persisted before its insert. After
a crash the planned range is read again and inserted under the same token, whether or not the first insert got through.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
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

    def __init__(self, next_offset: int, planned_end: int | None) -> None:
        self._next_offset = next_offset
        self._planned_end = planned_end
        self._seen = next_offset  # every record below is in the buffer, or there is none
        self._buffer: deque[tuple[int, Item]] = deque()

    @property
    def resume_at(self) -> int:
        """Where reading starts."""
        return self._next_offset

    @property
    def buffered(self) -> int:
        """Records waiting to be cut."""
        return len(self._buffer)

    def add(self, offset: int, item: Item) -> None:
        """One record, in the order of the log."""
        if offset < self._seen:
            return
        self._buffer.append((offset, item))
        self._seen = offset + 1

    def reached(self, position: int) -> None:
        """The reader stands at ``position``: whatever lies below and was not added does not exist."""
        self._seen = max(self._seen, position)

    def cut(self, max_items: int) -> Range[Item] | None:
        """The next range, or None when there is nothing (or not all yet of a range planned before a crash)."""
        if self._planned_end is not None:
            if self._seen < self._planned_end:
                return None
            end = self._planned_end
            items = []
            while self._buffer and self._buffer[0][0] < end:
                items.append(self._buffer.popleft()[1])
        elif self._buffer:
            items = []
            end = self._next_offset
            while self._buffer and len(items) < max_items:
                offset, item = self._buffer.popleft()
                items.append(item)
                end = offset + 1
        else:
            return None
        cut = Range(self._next_offset, end, items)
        self._next_offset, self._planned_end = end, None
        return cut
