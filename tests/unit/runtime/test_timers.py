"""The due index against the plain model: a list, sorted."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streams.runtime.memory_store import MemoryStore
from streams.runtime.rows import DUE, TIMER, due_key, due_of, timer_value
from streams.runtime.store import Rows, Store, block_cache
from streams.runtime.timers import DueIndex
from streams.runtime.tuning import Tuning


def put(store: Rows, index: DueIndex, timer_id: bytes, due_ms: int, priority: int) -> None:
    added: list[tuple[bytes, bytes | None]] = [(due_key(priority, due_ms, timer_id), b"")]
    store.write([(TIMER + timer_id, timer_value(due_ms, priority, b"")), *added])
    index.applied(added)


def test_urgent_ones_come_first_then_early_ones_and_never_more_than_asked_for(store: Rows) -> None:
    index = DueIndex(store)
    for timer_id, due_ms, priority in [(b"a", 30, 3), (b"b", 20, 2), (b"c", 90, 0), (b"d", 10, 2), (b"e", 101, 0)]:
        put(store, index, timer_id, due_ms, priority)
    assert [timer.timer_id for timer in index.due(100, 10)] == [b"c", b"d", b"b", b"a"]
    assert [timer.timer_id for timer in index.due(100, 2)] == [b"c", b"d"]
    assert index.due(9, 10) == []
    assert index.earliest_ms() == 10


def test_entries_whose_timer_moved_or_went_are_passed_over_and_removed(store: Rows) -> None:
    index = DueIndex(store)
    put(store, index, b"a", 10, 2)
    put(store, index, b"b", 10, 2)
    # As a restore does it: the newer row of "a" does not look up the older one's entry, and "b" was deleted.
    put(store, index, b"a", 50, 2)
    store.write([(TIMER + b"b", None)])
    assert index.due(20, 10) == []
    assert [timer.due_ms for timer in index.due(60, 10)] == [50]
    assert [key for key, _ in store.items(DUE) if key.startswith(DUE)] == [due_key(2, 50, b"a")]


def test_a_new_index_finds_all_priorities(store: Rows) -> None:
    first = DueIndex(store)
    for priority in (0, 7, 255):
        put(store, first, b"p%d" % priority, 100 - priority % 10, priority)
    again = DueIndex(store)
    assert again.earliest_ms() == 93
    assert [timer.priority for timer in again.due(200, 10)] == [0, 7, 255]


class DueIndexMachine(RuleBasedStateMachine):
    """Sets, cancels and fires at random; index and sorted list must agree throughout."""

    ids = st.sampled_from([b"", b"a", b"b", b"c", b"\xff"])
    times = st.integers(0, 20)
    priorities = st.sampled_from([0, 1, 2, 255])

    def __init__(self) -> None:
        super().__init__()
        self.store = self.opened()
        self.index = DueIndex(self.store)
        self.model: dict[bytes, tuple[int, int]] = {}  # id → (priority, due)

    def opened(self) -> Rows:
        return MemoryStore()

    @rule(timer_id=ids, due_ms=times, priority=priorities)
    def set_timer(self, timer_id: bytes, due_ms: int, priority: int) -> None:
        self.cancel(timer_id)
        put(self.store, self.index, timer_id, due_ms, priority)
        self.model[timer_id] = (priority, due_ms)

    @rule(timer_id=ids)
    def cancel(self, timer_id: bytes) -> None:
        if timer_id in self.model:
            priority, due_ms = self.model.pop(timer_id)
            removed: list[tuple[bytes, bytes | None]] = [(due_key(priority, due_ms, timer_id), None)]
            self.store.write([(TIMER + timer_id, None), *removed])
            self.index.applied(removed)

    @rule(now_ms=times, limit=st.integers(1, 3))
    def fire(self, now_ms: int, limit: int) -> None:
        expected = sorted((*where, timer_id) for timer_id, where in self.model.items() if where[1] <= now_ms)[:limit]
        found = self.index.due(now_ms, limit)
        assert [(timer.priority, timer.due_ms, timer.timer_id) for timer in found] == expected
        for timer in found:
            self.cancel(timer.timer_id)

    @rule()
    def reopen(self) -> None:
        self.index = DueIndex(self.store)

    @invariant()
    def knows_the_next(self) -> None:
        assert self.index.earliest_ms() == min((due_ms for _, due_ms in self.model.values()), default=None)


class OnDisk(DueIndexMachine):
    """The same, on RocksDB."""

    def opened(self) -> Rows:
        tuning = Tuning()
        self.folder = tempfile.TemporaryDirectory()
        self.on_disk = Store(Path(self.folder.name), tuning, block_cache(tuning))
        return self.on_disk

    def teardown(self) -> None:
        self.on_disk.close()
        self.folder.cleanup()


TestDueIndexAgainstAList = DueIndexMachine.TestCase
TestDueIndexOnDiskAgainstAList = OnDisk.TestCase
for machine in (TestDueIndexAgainstAList, TestDueIndexOnDiskAgainstAList):
    machine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_keys_sort_as_priority_time_id() -> None:
    timers = [(0, 5, b""), (0, 5, b"\x00"), (0, 256, b"a"), (1, 0, b"z"), (2, 2**40, b"a"), (255, 1, b"")]
    assert sorted(due_key(*timer) for timer in timers) == [due_key(*timer) for timer in timers]
    assert [due_of(due_key(*timer)) for timer in timers] == timers
