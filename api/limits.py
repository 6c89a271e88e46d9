"""How often one caller may ask: a token bucket a caller, for a bounded number of callers. Pure but for the clock passed in."""

from __future__ import annotations

from collections import OrderedDict

# Callers remembered, about 200 B each; whoever was not seen the longest is forgotten, and begins with a full bucket.
MAX_CALLERS = 50_000
# How many seconds' worth of requests may come at once.
BURST_SECONDS = 2.0


class Buckets:
    """Token buckets by caller."""

    def __init__(self, max_callers: int = MAX_CALLERS) -> None:
        self._max_callers = max_callers
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, per_second: float, now_seconds: float) -> float:
        """0.0 where the request may go on, else after how many seconds the next one may."""
        full = max(1.0, per_second * BURST_SECONDS)
        left, seen_at = self._buckets.pop(caller, (full, now_seconds))
        left = min(full, left + max(0.0, now_seconds - seen_at) * per_second)
        wait = 0.0
        if left >= 1.0:
            left -= 1.0
        else:
            wait = (1.0 - left) / per_second
        self._buckets[caller] = (left, now_seconds)
        if len(self._buckets) > self._max_callers:
            self._buckets.popitem(last=False)
        return wait

    def __len__(self) -> int:
        return len(self._buckets)
