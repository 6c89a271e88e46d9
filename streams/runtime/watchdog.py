"""Liveness: work that is there gets done, or the process ends and is started again.

In a thread of its own, with a client of its own: it must notice a blocked event loop and a fetcher that asks for nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from streams.runtime.errors import FatalError, StalledError
from streams.runtime.partition import Phase

if TYPE_CHECKING:
    from streams.runtime.plane import DataPlane

# How long the group waits for its members in a rebalance, and so the longest that one takes while all is well.
REBALANCE_SECONDS = 60.0

log = logging.getLogger(__name__)

_ROUNDS_PER_STALL = 6  # so a stall is noticed at most a sixth later than it is one
_MAX_ROUND_SECONDS = 10.0
_ANSWER_SECONDS = 5.0  # of the membership's thread, which only waits for the network
# A round that began so much later than it should have means that the whole process stood still (SIGSTOP, a sleeping
# host): nothing can be said of what happened meanwhile.
_OVERSLEPT_SECONDS = 2.0


class Watchdog(threading.Thread):
    """Looks every few seconds whether positions move while there is input, and whether the topics are still the same ones."""

    def __init__(self, plane: DataPlane, on_error: Callable[[BaseException], None]) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._plane, self._on_error = plane, on_error
        self._stall_seconds = plane.tuning.stall_seconds
        self._round_seconds = min(self._stall_seconds / _ROUNDS_PER_STALL, _MAX_ROUND_SECONDS)

    def run(self) -> None:
        """Until the process ends."""
        while True:
            before = time.monotonic()
            time.sleep(self._round_seconds)
            if time.monotonic() - before > self._round_seconds + _OVERSLEPT_SECONDS:
                self._forgive()
                continue
            try:
                self._look()
            except StalledError as error:
                self._plane.metrics.stalls += 1
                self._on_error(error)
            except FatalError as error:
                log.info("watchdog: %s", error)  # the broker does not answer: that is nobody's stall
            except Exception as error:  # noqa: BLE001 - a watchdog that died in silence would look as if all were well
                self._on_error(error)

    def _forgive(self) -> None:
        now = time.monotonic()
        for partition in list(self._plane.partitions.values()):
            partition.progress_at = now
        if self._plane.rebalancing_since is not None:
            self._plane.rebalancing_since = now

    def _look(self) -> None:
        running = [one for one in list(self._plane.partitions.values()) if one.phase is Phase.RUNNING]
        plan = self._plane.plan
        described = plan.topics.describe([*plan.inputs, plan.changelog])
        ends = plan.topics.ends((topic, one.number) for topic in plan.inputs for one in running)
        positions = self._plane.fetcher.positions()
        self._plane.metrics.input_lag_records = {tp: max(0, end - positions.get(tp, end)) for tp, end in ends.items()}
        try:
            self._plane.thread.check_membership(_ANSWER_SECONDS)
        except TimeoutError:
            positions = dict.fromkeys(ends, -1)  # it counts as standing still
        except KafkaError as error:
            self._on_error(FatalError(f"the group's coordination ended: {type(error).__name__}"))
        since = self._plane.rebalancing_since
        if since is not None and time.monotonic() - since > REBALANCE_SECONDS + self._stall_seconds:
            raise StalledError(f"a rebalance began {time.monotonic() - since:.0f} s ago and has not ended")
        for partition in running:
            try:
                partition.check_topics(described)
            except FatalError as error:
                self._on_error(error)
            if not partition.is_behind(positions, ends, plan.clock_ms()):
                partition.progress_at = time.monotonic()
            elif time.monotonic() - partition.progress_at > self._stall_seconds:
                raise StalledError(
                    f"partition {partition.number} has input, and its position has not moved for {self._stall_seconds:.0f} s"
                )
