"""Tokens of one limit in a worker's hand, and when to ask for more. Pure: monotonic seconds come as arguments."""

from __future__ import annotations

import math

from connectors.postgres.rate_limits import Lease, Limit

# A limit that had none is asked again after a tenth of its window: what is reserved melts, and windows end. Not oftener than
# Postgres should hear of it, nor so rarely that a night's window is noticed late.
SOONEST_SECONDS = 0.05
LATEST_SECONDS = 5.0


class Purse:
    """What is not used when its window ends lapses; nothing is given back."""

    __slots__ = ("_ask_at", "_left", "_until", "_window", "limit")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._left = 0
        self._until = -math.inf
        self._window = 0
        self._ask_at = 0.0

    def left(self, now: float) -> int:
        """Tokens that may be used now."""
        return self._left if now < self._until else 0

    def take(self) -> int:
        """Use one; there must be one ``left``. Which window it is of."""
        self._left -= 1
        return self._window

    def put_back(self, window: int) -> None:
        """One of that window was not used; once it is over, it lapses."""
        self._left += window == self._window

    def fill(self, lease: Lease, asked_at: float, wanted: int, received_at: float | None = None) -> None:
        """What asking brought. ``asked_at``: before it was asked, so that delay only shortens it; ``wanted``: what was needed.

        What had lapsed when it was received is used all the same, within half a window: Postgres far away, or slow, must not stop
        a channel for good. It was granted; it only comes late.
        """
        if lease.tokens:
            until = asked_at + lease.seconds
            if received_at is not None and until <= received_at:
                until = received_at + self.limit.window_seconds / 2
            if (
                abs(until - self._until) > self.limit.window_seconds / 2
            ):  # another window: what was left of the last lapses
                self._left, self._until = 0, until
                self._window += 1
            self._until = min(self._until, until)
            self._left += lease.tokens
        if lease.tokens < wanted:
            pause = min(LATEST_SECONDS, max(SOONEST_SECONDS, self.limit.window_seconds / 10))
            self._ask_at = asked_at + max(0.001, min(lease.seconds, pause))

    def ask_at(self, now: float) -> float | None:
        """When to ask again; None: at once."""
        return self._ask_at if self._ask_at > now else None

    def is_dry(self, now: float) -> bool:
        """It is known to have none for a moment."""
        return self.left(now) == 0 and self._ask_at > now
