"""One partition on the real broker: what is committed, what is restored, who is fenced, what starts anew."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from connectors.kafka import make_producer
from streams.runtime import DueTimer, Event, FatalError, PoisonError, Record, Tuning
from streams.runtime.errors import FencedError
from streams.runtime.rows import STATE
from streams.runtime.settle import outputs_of, settle, wait_decided
from tests.conftest import Stack
from tests.integration.runtime.conftest import NOW_MS, Bench

pytestmark = pytest.mark.integration


def keep(event: Event, subject: Record | DueTimer) -> None:
    """Only state."""
    event.put(b"last", subject.value or b"" if isinstance(subject, Record) else subject.payload)


def test_a_restore_into_an_empty_folder_gives_back_the_lost_state(bench: Bench, tmp_path: Path) -> None:
    first = bench.open()
    for start in range(0, 40, 10):
        bench.work(first, [b"%d" % number for number in range(start, start + 10)], keep, first=start)

    def change(event: Event, subject: Record | DueTimer) -> None:
        event.delete(b"value:3")
        event.set_timer(b"moved", NOW_MS + 5, b"")
        event.set_timer(b"moved", NOW_MS + 900, b"", priority=0)
        event.set_timer(b"gone", NOW_MS + 5, b"")

    bench.work(first, [b"a"], change, first=40)
    bench.work(first, [b"b"], lambda event, _: event.put(b"cancelled", b"%d" % event.cancel_timer(b"gone")), first=41)
    lost, due_ms = bench.state(first), first.earliest_due_ms()
    first.close()

    again = bench.open(folder=tmp_path / "elsewhere")
    assert bench.state(again) == lost
    assert lost[STATE + b"cancelled"] == b"1"
    assert again.next_offset(bench.topics["events"]) == 42
    assert due_ms == NOW_MS + 900
    # The restored index may still hold what was moved or cancelled; nothing of it fires, and what is due does.
    bench.now_ms = NOW_MS + 1000
    fired: list[bytes] = []
    while bench.work(again, [], lambda _, timer: fired.append(timer.timer_id if isinstance(timer, DueTimer) else b"")):
        pass
    assert fired == [b"moved"]


def test_a_restore_reads_all_and_a_second_one_only_what_is_new(bench: Bench) -> None:
    rows = bench.fill_changelog(20_000)
    first = bench.open()
    assert {key: value for key, value in bench.state(first).items() if key[:1] == STATE} == rows
    assert bench.plan.metrics.restored_records == 20_000
    bench.work(first, [b"a"], keep)
    first.close()
    again = bench.open()
    assert bench.plan.metrics.restored_records == 20_000
    assert bench.state(again)[STATE + b"last"] == b"a"


def test_a_store_of_an_earlier_owner_catches_up_with_what_others_did_since(bench: Bench, tmp_path: Path) -> None:
    first = bench.open()
    bench.work(first, [b"a"], keep)
    first.close()
    other = bench.open(folder=tmp_path / "other")
    bench.work(other, [b"b"], keep, first=1)
    other.close()
    again = bench.open()
    assert bench.state(again)[STATE + b"last"] == b"b"
    assert again.next_offset(bench.topics["events"]) == 2


def test_a_store_that_is_too_old_to_have_heard_of_deletions_is_not_reused(bench: Bench) -> None:
    first = bench.open()
    first._store.write([(STATE + b"deleted long ago", b"x")])
    bench.work(first, [b"a"], keep)
    first.close()
    bench.now_ms += 13 * 3_600_000
    again = bench.open()
    assert STATE + b"deleted long ago" not in bench.state(again)
    assert bench.state(again)[STATE + b"last"] == b"a"


def test_an_error_in_restoring_is_fatal_and_never_an_empty_state(bench: Bench) -> None:
    producer = make_producer(bench.stack.settings)
    producer.produce(bench.topics["out"], b"value", None, 0)  # a compacted topic would not take it
    producer.flush()
    with pytest.raises(FatalError, match="without key"):
        bench.open(changelog=bench.topics["out"])


def test_the_new_owner_fences_the_old_one_before_it_restores(bench: Bench, tmp_path: Path) -> None:
    zombie = bench.open()
    bench.work(zombie, [b"a"], keep)
    zombie.accept([Record(bench.topics["events"], 0, 1, b"key", b"of the zombie", NOW_MS)])
    batch = zombie.begin(NOW_MS)
    assert batch is not None
    with batch.event(batch.records[0]) as event:
        keep(event, batch.records[0])
        event.produce(bench.topics["out"], b"key", b"of the zombie")

    owner = bench.open(folder=tmp_path / "owner")
    for number in range(4):  # nothing is left undecided, for which committed readers would have to wait
        decided, end = bench.plan.topics.decided_to(bench.topics["out"], number)
        assert decided == end
    bench.work(owner, [b"of the owner"], keep, first=1)
    with pytest.raises(FencedError):
        zombie.commit(batch)
    assert bench.state(owner)[STATE + b"last"] == b"of the owner"
    assert bench.state(zombie)[STATE + b"last"] == b"a"
    assert bench.committed("out") == []


def test_one_poison_event_never_blocks_or_loses_its_neighbours(bench: Bench) -> None:
    def body(event: Event, subject: Record | DueTimer) -> None:
        assert isinstance(subject, Record)
        event.put(b"count", b"%d" % (int(event.get(b"count") or b"0") + 1))
        event.produce(bench.topics["out"], b"key", subject.value)
        if subject.value == b"poison":
            raise PoisonError("poison")
        if subject.value == b"huge":
            event.produce(bench.topics["out"], b"key", b"x" * 2_000_000)

    partition = bench.open()
    bench.work(partition, [b"0", b"poison", b"2", b"huge", b"4"], body)
    assert [value for _, value in bench.committed("out")] == [b"0", b"2", b"4"]
    assert bench.committed("dead") == [(b"PoisonError", b"poison"), (b"OutputTooLarge", b"huge")]
    assert bench.state(partition)[STATE + b"count"] == b"3"
    assert partition.next_offset(bench.topics["events"]) == 5
    assert bench.plan.metrics.dead_letters == 2


def test_records_below_the_position_are_skipped(bench: Bench) -> None:
    partition = bench.open()
    bench.work(partition, [b"0", b"1"], keep)
    batch = bench.work(partition, [b"1", b"2"], keep, first=1)
    assert batch is not None
    assert [record.value for record in batch.records] == [b"2"]
    assert bench.plan.metrics.skipped == 1
    assert bench.work(partition, [b"2"], keep, first=2) is None


def test_a_topic_created_anew_under_its_old_name_starts_anew(bench: Bench) -> None:
    partition = bench.open()
    bench.work(partition, [b"0", b"1"], keep)
    partition.close()
    admin = AdminClient({"bootstrap.servers": bench.stack.kafka_bootstrap})
    admin.delete_topics([bench.topics["events"]])[bench.topics["events"]].result(30)
    deadline = time.monotonic() + 30
    while bench.topics["events"] in admin.list_topics(timeout=10).topics and time.monotonic() < deadline:
        time.sleep(0.1)
    admin.create_topics([NewTopic(bench.topics["events"], 4, 1)])[bench.topics["events"]].result(30)
    again = bench.open()
    assert again.next_offset(bench.topics["events"]) is None
    bench.work(again, [b"new"], keep)
    assert again.next_offset(bench.topics["events"]) == 1
    with pytest.raises(FatalError, match="created anew"):
        again.check_topics(dict.fromkeys([*bench.plan.inputs, bench.plan.changelog], (b"0" * 16, 4)))


def test_batches_grow_from_small_and_shrink_when_work_is_slow(stack: Stack, tmp_path: Path) -> None:
    bench = Bench(stack, tmp_path, Tuning(batch_seconds=0.25))
    partition = bench.open()
    sizes: list[int] = []
    offset = 0

    def run(pause_seconds: float) -> None:
        nonlocal offset
        partition.clear_queue()
        partition.accept([Record(bench.topics["events"], 0, offset + n, b"k", b"v", NOW_MS) for n in range(2000)])
        batch = partition.begin(NOW_MS)
        assert batch is not None
        time.sleep(pause_seconds)
        partition.worked(batch)
        sizes.append(len(batch.records))
        offset += len(batch.records)
        partition.committed(batch, partition.commit(batch))

    for _ in range(4):
        run(0)
    assert sizes == [64, 256, 1000, 1000]
    run(2.5)
    run(0)
    assert sizes[-1] <= 100
    bench.close()


def test_what_a_broker_forgot_to_decide_is_aborted_everywhere_and_seen_by_nobody(bench: Bench) -> None:
    def body(event: Event, subject: Record | DueTimer) -> None:
        event.produce(bench.topics["out"], b"key", b"committed")
        keep(event, subject)

    partition = bench.open()
    bench.work(partition, [b"0"], body)
    assert outputs_of(partition._store) == {bench.topics["out"]}
    for number in range(4):  # a commit is told before its markers are written
        wait_decided(bench.plan.topics, bench.topics["out"], number)
    before = [bench.plan.topics.decided_to(bench.topics["out"], number)[1] for number in range(4)]
    settle(partition._producer, bench.plan.topics, outputs_of(partition._store), bench.topics["state"], 0)
    after = [bench.plan.topics.decided_to(bench.topics["out"], number) for number in range(4)]
    # A record and an abort marker in each partition, and everything before it decided.
    assert after == [(end + 2, end + 2) for end in before]
    assert bench.committed("out") == [(b"key", b"committed")]
    bench.work(partition, [b"1"], body, first=1)
    assert len(bench.committed("out")) == 2
