"""The hammer: changes of mind and events at once, at a steady pace and in bursts."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.integration.hammer.crowd import Events, Patient
from tests.integration.hammer.phones import Phones

# After a no's 200, in seconds: each is one more event that must not reach her.
PROBES_AFTER_NO = (0.0, 0.01, 0.03, 0.06, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 5.0)
PROBES_AFTER_YES = (0.0, 0.05, 0.3, 1.0, 2.0)
PROBE_WHILE_ASKING_SECONDS = 0.02
# How long each stands, and so the latest that could be seen of what does not obey it.
NO_SECONDS, YES_SECONDS = 6.0, 3.0


@dataclass(frozen=True, slots=True)
class Pace:
    """``changes`` and ``noise`` (events about those who never change) a second, and bursts of both every few seconds."""

    seconds: float
    changes_per_second: float = 4.0
    noise_per_second: float = 30.0
    burst_every_seconds: float = 5.0
    burst_changes: int = 15
    burst_noise: int = 150


class Hammer:
    """See the module. ``say`` is told of progress."""

    def __init__(self, phones: Phones, events: Events, patients: Sequence[Patient], say: Callable[[str], None]) -> None:
        self._phones = phones
        self._events = events
        self._changing = [patient for patient in patients if patient.way is not None]
        self._noise = [patient for patient in patients if patient.way is None]
        self._say = say
        self._random = random.Random(4)
        self._cycles: list[asyncio.Task[None]] = []

    async def run(self, pace: Pace) -> None:
        """Hammer for as long as the pace says; returns when every change is answered and its events are sent."""
        end = time.monotonic() + pace.seconds
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(1 / pace.changes_per_second, end, lambda: self._start(1)))
            group.create_task(self._every(1 / pace.noise_per_second, end, lambda: self._make_noise(1)))
            group.create_task(self._every(pace.burst_every_seconds, end, lambda: self._burst(pace)))
            group.create_task(self._every(10.0, end, self._report))
        await asyncio.gather(*self._cycles)
        self._events.flush()

    async def _every(self, seconds: float, end: float, act: Callable[[], None]) -> None:
        due = time.monotonic() + seconds
        while due < end:
            await asyncio.sleep(due - time.monotonic())
            act()
            due += seconds

    def _burst(self, pace: Pace) -> None:
        self._start(pace.burst_changes)
        self._make_noise(pace.burst_noise)

    def _make_noise(self, count: int) -> None:
        for patient in self._random.choices(self._noise, k=count):
            self._events.tell(patient)

    def _start(self, count: int) -> None:
        idle = [patient for patient in self._changing if not patient.busy]
        for patient in self._random.sample(idle, min(count, len(idle))):
            patient.busy = True
            self._cycles.append(asyncio.create_task(self._cycle(patient)))

    async def _cycle(self, patient: Patient) -> None:
        """A no in the midst of events, and a yes again."""
        if not patient.once:  # one that reached her would be the day's
            self._events.tell(patient)
            await asyncio.sleep(self._random.uniform(0, 0.08))
        await self._change(patient, goes=False)
        await self._probe(patient, PROBES_AFTER_NO)
        await asyncio.sleep(max(0.0, patient.changes[-1].answered + NO_SECONDS - time.time()))
        await self._change(patient, goes=True)
        await self._probe(patient, PROBES_AFTER_YES)
        await asyncio.sleep(YES_SECONDS - PROBES_AFTER_YES[-1])
        patient.busy = patient.once

    async def _change(self, patient: Patient, *, goes: bool) -> None:
        asking = asyncio.create_task(self._phones.say(patient, goes))
        while not asking.done():
            if not patient.once:
                self._events.tell(patient)
            await asyncio.wait([asking], timeout=PROBE_WHILE_ASKING_SECONDS)
        await asking

    async def _probe(self, patient: Patient, after: Sequence[float]) -> None:
        answered = patient.changes[-1].answered
        for seconds in after:
            await asyncio.sleep(max(0.0, answered + seconds - time.time()))
            self._events.tell(patient)

    def _report(self) -> None:
        changes = sum(len(patient.changes) for patient in self._changing)
        self._say(f"{changes} changes, {len(self._events.sent)} events")
