"""A partition without a broker: batches, state and timers as on the data plane, by a clock that the test moves."""

from __future__ import annotations

import pytest

from streams.runtime import Batch, DueTimer, Output, Record, Tuning
from streams.runtime.batch import Subject
from streams.runtime.virtual import VirtualPartition


def work(batch: Batch) -> None:
    """A record's value is when its key is to be told again; ``bad`` cannot be handled. Everything told is counted."""
    for record in batch.records:
        with batch.event(record) as event:
            if record.value == b"bad":
                raise ValueError("bad")
            event.set_timer(record.key or b"", int(record.value or b"0"), b"")
    for timer in batch.due:
        with batch.event(timer) as event:
            told = int(event.get(b"told") or b"0") + 1
            event.put(b"told", b"%d" % told)
            event.produce("told", timer.timer_id, b"%d at %d" % (told, batch.now_ms))


def buried(subject: Subject, error: BaseException, batch: Batch) -> Output:
    return Output("letters", b"timer" if isinstance(subject, DueTimer) else subject.key, str(error).encode())


@pytest.fixture
def partition() -> VirtualPartition:
    return VirtualPartition(work, buried, Tuning(batch_timers=2))


def record(key: bytes, value: bytes) -> Record:
    return Record("asked", 0, 0, key, value, 0)


def standing(partition: VirtualPartition) -> tuple[int | None, int]:
    return partition.earliest_ms, partition.timers


def test_timers_fire_in_due_order_when_the_clock_comes_to_them(partition: VirtualPartition) -> None:
    assert standing(partition) == (None, 0)
    assert partition.run([record(b"b", b"200"), record(b"a", b"100"), record(b"c", b"300")], 0) == []
    assert standing(partition) == (100, 3)
    assert partition.run([], 99) == []
    first = partition.run([], 250)
    assert [(output.key, output.value) for output in first] == [(b"a", b"1 at 250"), (b"b", b"2 at 250")]
    assert standing(partition) == (300, 1)
    assert [output.value for output in partition.run([], 300)] == [b"3 at 300"]
    assert standing(partition) == (None, 0)


def test_one_batch_takes_no_more_timers_than_the_data_planes(partition: VirtualPartition) -> None:
    partition.run([record(b"%d" % number, b"10") for number in range(5)], 0)
    taken = []
    while partition.earliest_ms is not None:
        taken.append(len(partition.run([], 10)))
    assert taken == [2, 2, 1]


def test_what_cannot_be_handled_is_a_dead_letter_and_its_neighbours_go_on(partition: VirtualPartition) -> None:
    outputs = partition.run([record(b"x", b"bad"), record(b"y", b"5")], 0)
    assert [(output.topic, output.key) for output in outputs] == [("letters", b"x")]
    assert partition.earliest_ms == 5
    assert partition.metrics.dead_letters == 1
