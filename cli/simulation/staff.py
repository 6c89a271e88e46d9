"""The partition of staff: whom the alarms of all partitions reach, through an intake of their own."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Any

from cli.simulation.event_records import EventRecords
from cli.simulation.parts import Alarm
from cli.simulation.second_hop import SecondHop
from connectors.alerts import AGAIN_AFTER
from streams.intake import intake_on
from streams.runtime import Output
from streams.runtime.virtual import VirtualPartition

_AGAIN_MS = round(AGAIN_AFTER.total_seconds() * 1000)


class Staff(SecondHop):
    """See the module. Its run comes after that of all other partitions to the same time."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        tables = self._tables
        intake, letters = intake_on(
            tables.codec,
            tables.ring,
            self._catalog,
            recipients=tables.recipients,
            policies=tables.policies,
            roster=tables.roster,
        )
        self._intake = VirtualPartition(intake.work, letters)
        self._events = EventRecords(tables.codec)
        self._alarmed: list[Alarm] = []  # a heap
        self._raised: set[tuple[bytes, int]] = set()

    @property
    def timers(self) -> int:
        """Timers of both hops that wait now."""
        return super().timers + self._intake.timers

    def hear(self, alarms: Iterable[Alarm]) -> None:
        """What other partitions raised in the time of the next run, in any order."""
        for alarm in alarms:
            self._alarm(alarm)

    def _alarm(self, alarm: Alarm) -> None:
        heapq.heappush(self._alarmed, alarm)

    def _next_ms(self) -> int | None:
        found = [at_ms for at_ms in (super()._next_ms(), self._intake.earliest_ms) if at_ms is not None]
        if self._alarmed:
            found.append(self._alarmed[0].at_ms)
        return min(found, default=None)

    def _arrived(self) -> list[Output]:
        outputs = super()._arrived()
        records = []
        while self._alarmed and self._alarmed[0].at_ms <= self._now_ms:
            at_ms, topic, key, value = heapq.heappop(self._alarmed)
            raised = (key, at_ms // _AGAIN_MS)
            if raised not in self._raised:  # all partitions stand for one, which tells a thing once in its time
                self._raised.add(raised)
                records.append(self._events.record(topic, key, value, at_ms))
        timer_ms = self._intake.earliest_ms
        if records or (timer_ms is not None and timer_ms <= self._now_ms):
            outputs += self._intake.run(records, self._now_ms)
        return outputs
