"""The clock that timers fire by: the machine's wall clock, without its blips.

A step back is taken at once: what was due waits until the clock says so again, and what fired is gone. A step forward is believed
when it has lasted for some seconds; until then time goes on at the old pace. So a clock set hours ahead by mistake, and put
right at once, fires nothing, and a machine resumed with a clock that was behind is a few seconds later, once.
What slept (a suspended host, a stopped process) has not stepped: its clocks went on together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# More than any slewing or scheduling between two readings, less than anybody's reminder is too early by.
STEP_MS = 1_000
_BOOT = getattr(
    time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC
)  # goes on while the host is suspended, where there is such a clock


def wall_clock_ms() -> int:
    """Now, in ms since the epoch, as the machine has it."""
    return time.time_ns() // 1_000_000


def boot_clock_ms() -> int:
    """Ms since the machine began; nobody sets it."""
    return time.clock_gettime_ns(_BOOT) // 1_000_000


class SettledClock:
    """Now, in ms since the epoch: never later than the wall clock says. Called from any thread.

    ``settle_seconds``: how long a step forward must have lasted; 0 believes it at once.
    """

    def __init__(
        self,
        settle_seconds: float,
        wall_ms: Callable[[], int] = wall_clock_ms,
        boot_ms: Callable[[], int] = boot_clock_ms,
    ) -> None:
        self._settle_ms = settle_seconds * 1000
        self._wall_ms, self._boot_ms = wall_ms, boot_ms
        self._lock = threading.Lock()
        self._apart_ms = wall_ms() - boot_ms()  # of the two clocks, as believed
        self._doubted_since: int | None = None  # on the boot clock

    def __call__(self) -> int:
        with self._lock:
            boot = self._boot_ms()
            apart = self._wall_ms() - boot
            if apart - self._apart_ms < STEP_MS:
                self._apart_ms, self._doubted_since = apart, None
            elif self._doubted_since is None and self._settle_ms > 0:
                self._doubted_since = boot
            elif self._doubted_since is None or boot - self._doubted_since >= self._settle_ms:
                self._apart_ms, self._doubted_since = apart, None
            return boot + self._apart_ms
