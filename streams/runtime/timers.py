"""The due index of one partition: which timers are due, and when the next one will be.

It lies beside the timers in the store, sorted by (priority, due time, id), so that insert, cancel and fire cost O(log n) and
an idle partition looks at one row. It is not in the changelog: a restore makes it from the timers, without looking up
what a newer row replaces, so an entry may be stale; entries are checked against their timer before they count.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable

from streams.runtime.records import DueTimer
from streams.runtime.rows import COUNT, DUE, TIMER, due_key, due_of, timer_of
from streams.runtime.store import Rows

_COUNT_VALUE = struct.Struct(">q")


def count_value(timers: int) -> bytes:
    """The value of the row that says how many timers the store holds."""
    return _COUNT_VALUE.pack(timers)


def count_timers(store: Rows) -> int:
    """How many timers there are: as the store says, else by looking at each, seconds a million. Blocking."""
    kept = store.get(COUNT)
    if kept is not None:
        return int(_COUNT_VALUE.unpack(kept)[0])
    return sum(1 for _ in itertools.takewhile(lambda row: row[0][:1] == TIMER, store.items(TIMER)))


class DueIndex:
    """Timers of one partition's store, by priority and due time. Times in ms since the epoch."""

    def __init__(self, store: Rows) -> None:
        self._store = store
        # For each priority: no entry lies below this key. RocksDB would else walk over the tombstones of all fired ones.
        self._floors: dict[int, bytes] = {}
        self._earliest_ms: int | None = None
        self._stale_earliest = True
        self._find_priorities()

    def _find_priorities(self) -> None:
        key = self._store.first(DUE)
        while key is not None and key[:1] == DUE:
            priority = due_of(key)[0]
            self._floors[priority] = key
            key = self._store.first(DUE + bytes([priority + 1])) if priority < 255 else None

    def applied(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Due index rows were written to the store: None removed, else added."""
        for key, value in changes:
            priority, due_ms, _ = due_of(key)
            if value is None:
                self._stale_earliest = self._stale_earliest or due_ms == self._earliest_ms
                continue
            floor = self._floors.get(priority)
            if floor is None or key < floor:
                self._floors[priority] = key
            if self._earliest_ms is None or due_ms < self._earliest_ms:
                self._earliest_ms = due_ms

    @property
    def known_ms(self) -> int | None:
        """What ``earliest_ms`` last found; for other threads, which may not look themselves."""
        return self._earliest_ms

    def earliest_ms(self) -> int | None:
        """When the next timer is due; None without any."""
        if self._stale_earliest:
            heads = [head for priority in list(self._floors) if (head := self._head_ms(priority)) is not None]
            self._earliest_ms = min(heads, default=None)
            self._stale_earliest = False
        return self._earliest_ms

    def _head_ms(self, priority: int) -> int | None:
        key = self._store.first(self._floors[priority])
        if key is None or key[:1] != DUE or key[1] != priority:
            del self._floors[priority]
            return None
        self._floors[priority] = key
        return due_of(key)[1]

    def due(self, now_ms: int, limit: int) -> list[DueTimer]:
        """At most ``limit`` due timers, by priority and then due time."""
        earliest_ms = self.earliest_ms()
        if earliest_ms is None or earliest_ms > now_ms:
            return []
        found: list[DueTimer] = []
        stale: list[tuple[bytes, bytes | None]] = []
        for priority in sorted(self._floors):
            for key, _ in self._store.items(self._floors[priority]):
                if len(found) + len(stale) >= limit or key[:1] != DUE or key[1] != priority:
                    break
                _, due_ms, timer_id = due_of(key)
                if due_ms > now_ms:
                    break
                value = self._store.get(TIMER + timer_id)
                timer = timer_of(timer_id, value) if value is not None else None
                if timer is None or due_key(timer.priority, timer.due_ms, timer_id) != key:
                    stale.append((key, None))
                else:
                    found.append(timer)
        if stale:
            self._store.write(stale)
            self.applied(stale)
        return found
