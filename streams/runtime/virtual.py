"""A partition without a broker: the same batches, state, timers and dead letters, for a clock that somebody else moves.

Outputs come back as a list, the rows lie in memory, and there is no changelog: what is simulated need not survive its process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

from streams.runtime.batch import Batch, DeadLetter
from streams.runtime.memory_store import MemoryStore
from streams.runtime.metrics import Metrics
from streams.runtime.records import Headers, Output, Record
from streams.runtime.timers import DueIndex
from streams.runtime.tuning import Tuning


class _Outputs:
    """The outlet of a batch: keeps what it is given, in order."""

    def __init__(self) -> None:
        self.kept: list[Output] = []

    def check_size(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None) -> None:
        """Everything fits: there is no broker that would refuse it."""

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int = -1,
        headers: Headers | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Keeps a record."""
        self.kept.append(Output(topic, key, value, headers, timestamp_ms=timestamp_ms))


class VirtualPartition:
    """One partition of one agent. ``work``: the agent's, on one batch. Times in ms since the epoch."""

    def __init__(self, work: Callable[[Batch], None], dead_letter: DeadLetter, tuning: Tuning | None = None) -> None:
        self._tuning = tuning or Tuning()
        self._work, self._dead_letter = work, dead_letter
        self._store = MemoryStore()
        self._due = DueIndex(self._store)
        self.metrics = Metrics()
        self.timers = 0  # set, and neither fired nor cancelled

    @property
    def earliest_ms(self) -> int | None:
        """When the next timer is due; None without any."""
        return self._due.earliest_ms()

    def run(self, records: Sequence[Record], now_ms: int) -> list[Output]:
        """One batch: these records, then what is due by ``now_ms``, as many timers as a batch takes. Its outputs in order."""
        outputs = _Outputs()
        batch = Batch(
            0,
            list(records),
            self._due.due(now_ms, self._tuning.batch_timers),
            now_ms,
            changelog="",
            store=self._store,
            producer=outputs,
            dead_letter=self._dead_letter,
            metrics=self.metrics,
        )
        self._work(batch)
        batch.send_held()
        self._store.write(chain(batch._overlay.items(), batch._due_changes.items()))
        self._due.applied(batch._due_changes.items())
        self.timers += batch.timers
        return outputs.kept
