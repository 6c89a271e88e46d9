"""What one channel's process counts: how attempts end, how the ledger is written, how the provider does lately."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol

from connectors.metrics import catalogue
from connectors.metrics.counting import Counts, Labels, Read, Source, Timings, one
from connectors.providers.outcome import ErrorClass
from schemas.topics import LANES
from sinks.runtime import call_ends
from sinks.runtime.breaker import State
from sinks.runtime.outcome import Outcome

CallResult = Literal["accepted", "refused", "unknown", "error"]

BREAKER_STATES: tuple[State, ...] = ("closed", "open", "half_open")
RECENT_SECONDS = 300
_STEP_SECONDS = 10
# A number that does not exist, or somebody who opted out, says nothing of the provider.
RECIPIENTS_OWN: frozenset[ErrorClass] = frozenset({"permanent_recipient", "opted_out"})


class Recent:
    """Calls and errors of the last RECENT_SECONDS, in steps of ten seconds: bounded, whatever the rate. Times in seconds."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, int, int]] = deque(maxlen=RECENT_SECONDS // _STEP_SECONDS)

    def add(self, now: float, *, error: bool) -> None:
        """A call ended."""
        step = int(now) // _STEP_SECONDS
        calls = errors = 0
        if self._steps and self._steps[-1][0] == step:
            _, calls, errors = self._steps.pop()
        self._steps.append((step, calls + 1, errors + error))

    def since(self, now: float) -> tuple[int, int]:
        """Calls and errors within the last RECENT_SECONDS."""
        oldest = (int(now) - RECENT_SECONDS) // _STEP_SECONDS
        steps = [step for step in tuple(self._steps) if step[0] > oldest]
        return sum(calls for _, calls, _ in steps), sum(errors for _, _, errors in steps)


class LaneSeen(Protocol):
    """What is read of a lane."""

    name: str
    topic: str

    @property
    def in_flight(self) -> int: ...
    @property
    def pinned(self) -> int: ...
    @property
    def unread(self) -> dict[int, int]: ...


class Pausing(Protocol):
    """What is read of a channel's admission."""

    counted: call_ends.Counted

    def standing(self) -> dict[str, Any]: ...


class Counted:
    """One channel's counters. All methods are called in the event loop, the sources in the exporter's thread."""

    def __init__(self, channel: str, *, clock: Callable[[], float] = time.time) -> None:
        """``clock``: seconds since 1970."""
        self._channel = channel
        self._clock = clock
        self._deliveries = Counts(catalogue.DELIVERIES)
        self._retries = Counts(catalogue.RETRIES)
        self._dead_letters = Counts(catalogue.DEAD_LETTERS)
        self._calls = Timings(catalogue.CALLS)
        self._ledger = Timings(catalogue.LEDGER_ROWS)
        self._recent = {lane: Recent() for lane in LANES}
        self._last_success: dict[str, float] = {}

    def ended(self, lane: str, outcome: Outcome) -> None:
        """An attempt has its end."""
        self._deliveries.add(self._channel, lane, outcome.status, outcome.error_class or "")
        if outcome.retry_at is not None:
            self._retries.add(self._channel, lane, outcome.error_class or "")

    def called(self, lane: str, result: CallResult, seconds: float, error_class: str | None = None) -> None:
        """A call to the provider ended."""
        self._calls.observe(seconds, self._channel, result)
        now = self._clock()
        self._recent[lane].add(now, error=result != "accepted" and error_class not in RECIPIENTS_OWN)
        if result == "accepted":
            self._last_success[lane] = now

    def buried(self, code: str) -> None:
        """A record went to the dead letters."""
        self._dead_letters.add(self._channel, code)

    def wrote(self, step: Literal["begin", "finish"], rows: int) -> None:
        """The ledger took so many rows in one statement."""
        self._ledger.observe(rows, self._channel, step)

    def sources(
        self, lanes: Sequence[LaneSeen], gates_age_seconds: Callable[[], float | None], pausing: Pausing
    ) -> list[Source]:
        """All of them, for the exporter. ``lanes`` may fill later."""

        def age() -> Iterable[tuple[Labels, float]]:
            seconds = gates_age_seconds()
            return [] if seconds is None else [((self._channel,), seconds)]

        return [
            self._deliveries,
            self._retries,
            self._dead_letters,
            self._calls,
            self._ledger,
            Read(catalogue.IN_FLIGHT, lambda: [((self._channel, lane.name), lane.in_flight) for lane in list(lanes)]),
            Read(catalogue.PINNED, lambda: [((self._channel, lane.name), lane.pinned) for lane in list(lanes)]),
            Read(
                catalogue.QUEUE,
                lambda: [
                    ((self._channel, lane.name), lane.in_flight + sum(lane.unread.values())) for lane in list(lanes)
                ],
            ),
            Read(
                catalogue.LAG,
                lambda: [
                    ((lane.topic, str(partition)), records)
                    for lane in list(lanes)
                    for partition, records in lane.unread.items()
                ],
            ),
            Read(catalogue.RECENT_CALLS, lambda: self._lately(0)),
            Read(catalogue.RECENT_ERRORS, lambda: self._lately(1)),
            Read(
                catalogue.LAST_SUCCESS,
                lambda: [((self._channel, lane), at) for lane, at in self._last_success.copy().items()],
            ),
            Read(catalogue.GATES_AGE, age),
            *self._paused(pausing),
        ]

    def _paused(self, pausing: Pausing) -> list[Source]:
        def breakers() -> Iterable[tuple[Labels, float]]:
            for breaker in pausing.standing()["breakers"]:
                for state in BREAKER_STATES:
                    yield (self._channel, breaker["subject"], state), float(breaker["state"] == state)

        seen = pausing.counted
        return [
            Read(catalogue.BREAKERS, breakers),
            Read(catalogue.WAITING, one(lambda: pausing.standing()["waiting"], self._channel)),
            Read(
                catalogue.PAUSES,
                lambda: [((self._channel, cause), count) for cause, count in seen.pauses.copy().items()],
            ),
            Read(catalogue.PROBES, one(lambda: seen.probes, self._channel)),
            Read(catalogue.POSTPONED, one(lambda: seen.postponed, self._channel)),
        ]

    def _lately(self, which: int) -> list[tuple[Labels, float]]:
        now = self._clock()
        return [((self._channel, lane), recent.since(now)[which]) for lane, recent in self._recent.items()]
