"""One partition's rows in memory: what ``Store`` promises, for whoever needs none of it after the process.

Rows lie in a dictionary; their keys beside it in sorted pieces, so that a row is added, removed and found in order at
O(log n), as in RocksDB.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator

from streams.runtime.store import Changes

# A piece is cut in two when it holds more keys: as many as are moved faster than a tree of them would be walked.
_MOST_KEYS = 512


class MemoryStore:
    """See the module. Rows written while somebody iterates may be seen by them, or not."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}
        self._pieces: list[list[bytes]] = [[]]
        self._firsts: list[bytes] = [
            b""
        ]  # no key of a piece is below its entry, and all of the next are at or above theirs
        self.get: Callable[[bytes], bytes | None] = self._rows.get

    def write(self, changes: Changes) -> None:
        """All of the changes, in their order."""
        rows = self._rows
        for key, value in changes:
            if value is None:
                if rows.pop(key, None) is not None:
                    self._remove(key)
            else:
                if key not in rows:
                    self._add(key)
                rows[key] = value

    def items(self, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows from ``start`` on, in the order of their keys."""
        rows = self._rows
        at = bisect_right(self._firsts, start) - 1
        piece = self._pieces[at]
        keys = piece[bisect_left(piece, start) :]
        while True:
            for key in keys:
                value = rows.get(key)
                if value is not None:
                    yield key, value
            # By key, not by number: pieces may have been cut meanwhile.
            at = bisect_right(self._firsts, keys[-1] if keys else start)
            if at >= len(self._pieces):
                return
            start = self._firsts[at]
            keys = self._pieces[at][:]

    def first(self, start: bytes) -> bytes | None:
        """The first key at or after ``start``."""
        at = bisect_right(self._firsts, start) - 1
        piece = self._pieces[at]
        place = bisect_left(piece, start)
        if place < len(piece):
            return piece[place]
        return self._pieces[at + 1][0] if at + 1 < len(self._pieces) else None

    def _add(self, key: bytes) -> None:
        at = bisect_right(self._firsts, key) - 1
        piece = self._pieces[at]
        piece.insert(bisect_left(piece, key), key)
        if len(piece) > _MOST_KEYS:
            half = len(piece) // 2
            self._pieces.insert(at + 1, piece[half:])
            self._firsts.insert(at + 1, piece[half])
            del piece[half:]

    def _remove(self, key: bytes) -> None:
        at = bisect_right(self._firsts, key) - 1
        piece = self._pieces[at]
        del piece[bisect_left(piece, key)]
        if not piece and at:
            del self._pieces[at], self._firsts[at]
