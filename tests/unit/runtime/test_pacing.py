"""What is due and what comes in share a partition's batches: neither starves the other, and critical ones come first."""

from __future__ import annotations

from collections import Counter

import pytest

from streams.runtime import Batch, DueTimer, Output, Record
from streams.runtime.tuning import Tuning
from tests.partition_in_memory import Owner

NOW_MS = 1_800_000_000_000
STORM = 3_000
CRITICAL, NORMAL, LOW = 0, 2, 3


class Storm:
    """An agent whose records set timers (``priority:due_ms``) or ask something; what each batch held, in order."""

    def __init__(self, tuning: Tuning | None = None, seconds_each: float = 0.0) -> None:
        self.batches: list[list[str]] = []
        self._seconds_each = seconds_each
        self.owner = Owner(["in"], self._work, self._letter, tuning or Tuning())

    def _work(self, batch: Batch) -> None:
        held: list[str] = []
        for record in batch.records:
            with batch.event(record) as event:
                value = (record.value or b"").decode()
                held.append(value)
                if value != "asks":
                    priority, due_ms = map(int, value.split(":"))
                    event.set_timer(b"%d" % record.offset, due_ms, b"", priority)
        for timer in batch.due:
            with batch.event(timer):
                held.append(f"fired {timer.priority}")
        self.batches.append(held)
        # As if the work had taken so long; what the data plane measures, and fits the next batch to.
        self.owner.partition._began -= self._seconds_each * len(held)
        self.owner.partition.worked(batch)

    @staticmethod
    def _letter(subject: Record | DueTimer, error: BaseException, batch: Batch) -> Output:
        raise error

    def set(self, priority: int, due_ms: int) -> None:
        self.owner.append("in", b"k", b"%d:%d" % (priority, due_ms))

    def read_in(self) -> None:
        while self.owner.step(NOW_MS) is not None:
            pass
        self.batches.clear()


def test_records_are_worked_on_in_every_batch_of_a_storm() -> None:
    storm = Storm()
    for _ in range(STORM):
        storm.set(NORMAL, NOW_MS + 1000)
    storm.read_in()
    for _ in range(5):
        storm.owner.append("in", b"k", b"asks")
        storm.owner.step(NOW_MS + 1000)
        assert storm.batches[-1][0] == "asks"
        assert 0 < len(storm.batches[-1]) - 1 <= Tuning().batch_timers


def test_timers_fire_in_every_batch_of_a_flood_of_records() -> None:
    storm = Storm()
    for _ in range(STORM):
        storm.set(NORMAL, NOW_MS + 1000)
    storm.read_in()
    for _ in range(2 * STORM):
        storm.owner.append("in", b"k", b"asks")
    while storm.owner.unread():
        storm.owner.step(NOW_MS + 1000)
        assert "fired 2" in storm.batches[-1]
        assert "asks" in storm.batches[-1]


def test_critical_ones_that_come_due_amid_a_storm_are_in_the_next_batch() -> None:
    storm = Storm()
    for priority in (LOW, NORMAL):
        for _ in range(STORM):
            storm.set(priority, NOW_MS + 1000)
    storm.set(CRITICAL, NOW_MS + 1500)
    storm.read_in()
    storm.owner.step(NOW_MS + 1000)
    assert set(storm.batches[-1]) == {"fired 2"}
    storm.owner.step(NOW_MS + 1500)
    assert storm.batches[-1][0] == "fired 0"
    while storm.owner.step(NOW_MS + 1500) is not None:
        pass
    assert Counter(one for batch in storm.batches for one in batch) == {
        "fired 0": 1,
        "fired 2": STORM,
        "fired 3": STORM,
    }
    firsts = [min(batch) for batch in storm.batches[2:]]
    assert firsts == sorted(firsts)


@pytest.mark.parametrize("seconds_each", [0.01, 0.1])
def test_a_batch_of_slow_timers_is_as_short_as_one_of_slow_records(seconds_each: float) -> None:
    tuning = Tuning(batch_seconds=0.25)
    storm = Storm(tuning, seconds_each)
    for _ in range(STORM):
        storm.set(NORMAL, NOW_MS + 1000)
    for _ in range(STORM):
        storm.owner.step(NOW_MS)
    storm.batches.clear()
    for _ in range(10):
        storm.owner.append("in", b"k", b"asks")
        storm.owner.step(NOW_MS + 1000)
    most = max(len(batch) for batch in storm.batches[2:])
    assert most * seconds_each <= 2 * tuning.batch_seconds
    assert all("fired 2" in batch for batch in storm.batches)


def test_after_an_absence_timers_wait_for_the_input_that_lies_there_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr("streams.runtime.partition.time.monotonic", lambda: clock[0])
    partition = Storm(Tuning(catch_up_seconds=10)).owner.partition
    positions: dict[tuple[str, int], int] = {}
    partition.catch_up({"in": 7})
    assert not partition.may_fire(lambda: positions)
    positions["in", 0] = 7
    partition.accept([Record("in", 0, 6, b"k", b"asks", NOW_MS)])
    clock[0] += 1
    assert not partition.may_fire(lambda: positions)  # fetched, not worked on
    partition.clear_queue()
    assert not partition.may_fire(lambda: positions)  # the fetcher may be about to hand some over
    clock[0] += 0.2
    assert partition.may_fire(lambda: positions)
    partition.catch_up({"in": 9})
    assert not partition.may_fire(lambda: positions)
    clock[0] += 10
    assert partition.may_fire(lambda: positions)
    assert partition.may_fire(dict)  # and it stays so
