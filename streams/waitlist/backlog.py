"""Whether there is more to hear: then nobody is asked yet, since what became of a slot may be said next. Pure."""

from __future__ import annotations


class Backlog:
    """``batch_records``: a read of so many has more behind it. ``settle_seconds``: how long it is waited for."""

    def __init__(self, batch_records: int, settle_seconds: float) -> None:
        self._batch_records, self._settle_seconds = batch_records, settle_seconds
        self._until = 0.0

    def read(self, records: int, now: float) -> None:
        """A read brought so many. ``now``: seconds of a monotonic clock.

        What is heard of it may wait for Postgres or a key; the wait for the rest ends all the same, and what is due goes on.
        """
        if records >= self._batch_records:
            self._until = now + self._settle_seconds
        elif not records:
            self._until = 0.0

    def seconds_left(self, now: float) -> float:
        """How long nobody is to be asked still; 0: nothing waits to be heard."""
        return max(0.0, self._until - now)
