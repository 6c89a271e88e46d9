"""Event scopes against the plain model: a dict that changes only when a scope is left without an error."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.sealing import KeyRingError
from schemas.codec import LaterSchemaError
from schemas.registry import RegistryUnavailableError
from schemas.topics import EVENT_TOPICS
from streams.runtime import Batch, DueTimer, Event, FatalError, Output, OutputTooLarge, PoisonError, Record
from streams.runtime.metrics import Metrics
from streams.runtime.records import Headers
from streams.runtime.rows import STATE, TIMER, timer_value
from streams.runtime.store import Rows, Store, block_cache
from streams.runtime.timers import count_timers
from streams.runtime.tuning import Tuning

LIMIT_BYTES = 1000


class Outbox:
    """Takes what a batch produces."""

    def __init__(self) -> None:
        self.produced: list[tuple[str, bytes | None, bytes | None, int]] = []

    def check_size(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers | None) -> None:
        if len(value or b"") > LIMIT_BYTES:
            raise OutputTooLarge(f"record for {topic}")

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int = -1,
        headers: Headers | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        self.produced.append((topic, key, value, partition))


def record(offset: int = 0, value: bytes = b"v") -> Record:
    return Record("events", 0, offset, b"key", value, 0)


def letter(subject: Record | DueTimer, error: BaseException, batch: Batch) -> Output:
    content = subject.value if isinstance(subject, Record) else subject.payload
    return Output("dead", type(error).__name__.encode(), content)


def new_batch(
    store: Rows, outbox: Outbox, records: list[Record] | None = None, due: list[DueTimer] | None = None
) -> Batch:
    return Batch(
        0,
        records or [],
        due or [],
        1000,
        changelog="state",
        store=store,
        producer=outbox,
        dead_letter=letter,
        metrics=Metrics(),
        held_outputs=0,
    )


def test_an_error_takes_back_its_own_event_and_nothing_else(store: Rows) -> None:
    outbox = Outbox()
    batch = new_batch(store, outbox, [record(0), record(1, b"bad"), record(2)])
    for one in batch.records:
        with batch.event(one) as event:
            event.put(b"seen", (event.get(b"seen") or b"") + b"%d" % one.offset)
            event.produce("out", b"key", b"%d" % one.offset)
            event.set_timer(b"timer%d" % one.offset, 5000, b"")
            if one.value == b"bad":
                raise PoisonError("bad")
    assert [(topic, key, value) for topic, key, value, _ in outbox.produced] == [
        ("out", b"key", b"0"),
        ("dead", b"PoisonError", b"bad"),
        ("out", b"key", b"2"),
    ]
    with batch.event(record(3)) as event:
        assert event.get(b"seen") == b"02"
        assert event.get_timer(b"timer1") is None
        assert event.get_timer(b"timer2") is not None


@pytest.mark.parametrize(
    ("topic", "ends"),
    [("notifications.requested", True), ("notifications.status", True), (EVENT_TOPICS[0], False), (None, True)],
)
def test_what_a_later_release_of_ours_wrote_ends_the_process_and_is_never_buried(
    store: Rows, topic: str | None, ends: bool
) -> None:
    outbox = Outbox()
    batch = new_batch(store, outbox)
    subject = DueTimer(b"timer", 0, 2, b"v") if topic is None else Record(topic, 0, 7, b"key", b"v", 0)
    with (
        pytest.raises(FatalError, match=r"schema id 99 .*older than what it reads") if ends else nullcontext(),
        batch.event(subject),
    ):
        raise LaterSchemaError("unknown_schema_id", "unknown", schema_id=99)
    assert [key for _, key, _, _ in outbox.produced] == ([] if ends else [b"LaterSchemaError"])


def test_a_part_that_fails_takes_back_its_own_and_is_buried_with_the_rest_of_its_event(store: Rows) -> None:
    outbox = Outbox()
    batch = new_batch(store, outbox, [record()])
    with batch.event(batch.records[0]) as event:
        event.put(b"seen", b"event")
        for number in range(3):
            with event.part(DueTimer(b"part%d" % number, 0, 0, b"content %d" % number)):
                event.put(b"seen", (event.get(b"seen") or b"") + b" %d" % number)
                event.produce("out", b"key", b"%d" % number)
                event.set_timer(b"timer%d" % number, 5000, b"")
                if number == 1:
                    raise KeyError("no such field")
    assert [(topic, value) for topic, _, value, _ in outbox.produced] == [
        ("out", b"0"),
        ("out", b"2"),
        ("dead", b"content 1"),
    ]
    with batch.event(record(1)) as event:
        assert event.get(b"seen") == b"event 0 2"
        assert [event.get_timer(b"timer%d" % number) is None for number in range(3)] == [False, True, False]


def test_an_event_that_fails_is_buried_whole_and_not_also_its_parts(store: Rows) -> None:
    outbox = Outbox()
    batch = new_batch(store, outbox, [record()])
    with batch.event(batch.records[0]) as event:
        with event.part(DueTimer(b"part", 0, 0, b"content")):
            raise PoisonError("one")
        raise PoisonError("all")
    assert outbox.produced == [("dead", b"PoisonError", b"v", -1)]


def test_surroundings_that_fail_in_a_part_end_the_process(store: Rows) -> None:
    outbox = Outbox()
    batch = new_batch(store, outbox, [record()])
    part = DueTimer(b"part", 0, 0, b"")
    with pytest.raises(FatalError, match="ring"), batch.event(batch.records[0]) as event, event.part(part):
        raise KeyRingError("ring")
    assert outbox.produced == []


def test_outputs_are_held_until_they_are_many_or_the_commit_comes(store: Rows) -> None:
    outbox = Outbox()
    batch = Batch(
        0,
        [record(number) for number in range(5)],
        [],
        1000,
        changelog="state",
        store=store,
        producer=outbox,
        dead_letter=letter,
        metrics=Metrics(),
        held_outputs=2,
    )
    sent = []
    for one in batch.records:
        with batch.event(one) as event:
            event.produce("out", b"key", b"%d" % one.offset)
        sent.append(len(outbox.produced))
    assert sent == [0, 0, 3, 3, 3]
    batch.send_held()
    assert [value for _, _, value, _ in outbox.produced] == [b"0", b"1", b"2", b"3", b"4"]


def test_any_exception_of_the_work_is_poison(store: Rows) -> None:
    outbox = Outbox()
    batch = new_batch(store, outbox, [record()])
    with batch.event(batch.records[0]):
        raise KeyError("no such field")
    assert outbox.produced == [("dead", b"KeyError", b"v", -1)]


@pytest.mark.parametrize("error", [FatalError("the end"), KeyboardInterrupt()])
def test_what_is_not_the_events_fault_ends_the_process(store: Rows, error: BaseException) -> None:
    outbox = Outbox()
    batch = new_batch(store, outbox, [record()])
    with pytest.raises(type(error)), batch.event(batch.records[0]):
        raise error
    assert outbox.produced == []


@pytest.mark.parametrize("error", [KeyRingError("ring"), RegistryUnavailableError("away"), Exception("Corruption")])
def test_surroundings_that_fail_end_the_process_and_bury_nothing(store: Rows, error: Exception) -> None:
    outbox = Outbox()
    batch = new_batch(store, outbox, [record()])
    with pytest.raises(FatalError, match=str(error)), batch.event(batch.records[0]):
        raise error
    assert outbox.produced == []


def test_a_damaged_store_is_an_error_and_never_an_end_of_rows(tmp_path: Path) -> None:
    tuning = Tuning()
    store = Store(tmp_path / "damaged", tuning, block_cache(tuning))
    rows = [(b"%05d" % number, os.urandom(100)) for number in range(20_000)]
    store.write(rows)
    store.flush()
    store.close()
    for file in (tmp_path / "damaged").glob("*.sst"):
        content = bytearray(file.read_bytes())
        content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
        file.write_bytes(content)
    store = Store(tmp_path / "damaged", tuning, block_cache(tuning))
    with pytest.raises(FatalError, match="cannot be read"):
        list(store.items(b""))
    with pytest.raises(FatalError, match="cannot be read"):
        store.first(b"08000")
    store.close()


def test_an_output_too_large_is_that_events_dead_letter(store: Rows) -> None:
    outbox = Outbox()
    batch = new_batch(store, outbox, [record(0), record(1)])
    with batch.event(batch.records[0]) as event:
        event.produce("out", b"key", b"small")
        event.produce("out", b"key", b"x" * (LIMIT_BYTES + 1))
    with batch.event(batch.records[1]) as event:
        event.put(b"key", b"x" * (LIMIT_BYTES + 1))
    assert outbox.produced == [("dead", b"OutputTooLarge", b"v", -1)] * 2


def test_a_dead_letter_too_large_keeps_its_beginning(store: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.runtime.batch._TRUNCATED_BYTES", 10)
    outbox = Outbox()
    batch = new_batch(store, outbox, [record(0, b"0123456789" * 200)])
    with batch.event(batch.records[0]):
        raise PoisonError("bad")
    assert outbox.produced == [("dead", b"OutputTooLarge", b"0123456789", -1)]


def test_a_timer_that_fails_does_not_fire_again(store: Rows) -> None:
    timer = DueTimer(b"t", 500, 2, b"payload")
    store.write([(TIMER + b"t", timer_value(500, 2, b"payload"))])
    outbox = Outbox()
    batch = new_batch(store, outbox, due=[timer])
    for one in batch.due:
        with batch.event(one) as event:
            event.set_timer(b"t", 9000, b"a retry that must not stay")
            raise PoisonError("bad")
    assert outbox.produced == [("dead", b"PoisonError", b"payload", -1)]
    with batch.event(record()) as event:
        assert event.get_timer(b"t") is None


def test_a_due_timer_that_an_earlier_event_cancelled_or_moved_is_left_out(store: Rows) -> None:
    timers = [DueTimer(b"%d" % number, 500, 2, b"") for number in range(3)]
    store.write([(TIMER + timer.timer_id, timer_value(timer.due_ms, 2, b"")) for timer in timers])
    batch = new_batch(store, Outbox(), due=timers)
    fired: list[bytes] = []
    for timer in batch.due:
        with batch.event(timer) as event:
            fired.append(timer.timer_id)
            assert event.cancel_timer(b"1")
            event.set_timer(b"2", 2000, b"")
    assert fired == [b"0"]


def test_bad_timers_are_refused(store: Rows) -> None:
    batch = new_batch(store, Outbox())
    with batch.event(record()) as event:
        with pytest.raises(ValueError, match="due_ms"):
            event.set_timer(b"t", -1, b"")
        with pytest.raises(ValueError, match="priority"):
            event.set_timer(b"t", 1, b"", priority=256)
        assert not event.cancel_timer(b"t")


def test_nothing_that_may_be_health_data_is_printed() -> None:
    secret = b"Ada Example, +15550100000"
    things = [
        Record("t", 0, 1, secret, secret, 0, (("h", secret),)),
        DueTimer(secret, 1, 2, secret),
        Output("t", secret, secret),
    ]
    assert not any("Ada" in repr(thing) for thing in things)


ALL_KEYS = [b"", b"a", b"aa", b"ab", b"b", b"ba"]
KEYS = st.sampled_from(ALL_KEYS)
CHANGES = st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=3)), max_size=4)
EVENTS = st.lists(st.tuples(CHANGES, st.booleans()), max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stored=st.dictionaries(KEYS, st.binary(max_size=3)), events=EVENTS, prefix=KEYS, limit=st.integers(1, 8))
def test_reads_and_scans_see_what_the_model_sees(
    store: Rows,
    stored: dict[bytes, bytes],
    events: list[tuple[list[tuple[bytes, bytes | None]], bool]],
    prefix: bytes,
    limit: int,
) -> None:
    store.write([(STATE + key, None) for key in ALL_KEYS])
    store.write([(STATE + key, value) for key, value in stored.items()])
    store.write([(TIMER + b"t", timer_value(1, 2, b""))])  # lies right behind the states
    batch = new_batch(store, Outbox())
    model = dict(stored)
    for changes, fails in events:
        before = dict(model)
        with batch.event(record()) as event:
            for key, value in changes:
                if value is None:
                    event.delete(key)
                    model.pop(key, None)
                else:
                    event.put(key, value)
                    model[key] = value
            inside = sorted((key, value) for key, value in model.items() if key.startswith(prefix))[:limit]
            assert event.scan(prefix, limit) == inside
            assert all(event.get(key) == model.get(key) for key in [b"a", b"ab", b"zz"])
            if fails:
                model = before
                raise PoisonError("take it all back")
    with batch.event(record()) as event:
        found = sorted((key, value) for key, value in model.items() if key.startswith(prefix))[:limit]
        assert event.scan(prefix, limit) == found


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(("set", "cancel", "fail")),
        st.integers(0, 5),  # which timer
        st.integers(0, 3),  # when, in thousands of ms: an unchanged time too
        st.booleans(),  # inside a part
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(there=st.sets(st.integers(0, 5)), events=st.lists(OPERATIONS, max_size=5), due=st.booleans())
def test_a_batch_knows_by_how_many_timers_there_are_more(
    store: Rows, there: set[int], events: list[list[tuple[str, int, int, bool]]], due: bool
) -> None:
    def timer_id(number: int) -> bytes:
        return b"timer%d" % number

    store.write([(TIMER + timer_id(number), None) for number in range(6)])
    store.write([(TIMER + timer_id(number), timer_value(1000, 2, b"")) for number in there])
    batch = new_batch(
        store, Outbox(), due=[DueTimer(timer_id(number), 1000, 2, b"") for number in sorted(there)] if due else []
    )

    def act(event: Event, operations: list[tuple[str, int, int, bool]]) -> None:
        for what, number, thousands, apart in operations:
            with event.part(record()) if apart else nullcontext():
                if what == "set":
                    event.set_timer(timer_id(number), thousands * 1000, b"")
                elif what == "cancel":
                    event.cancel_timer(timer_id(number))
                else:
                    event.set_timer(timer_id(number), 7000, b"taken back")
                    raise PoisonError("taken back")

    pending = list(events)
    for timer in batch.due:
        with batch.event(timer) as event:
            act(event, pending.pop() if pending else [])
    for operations in pending:
        with batch.event(record()) as event:
            act(event, operations)
    before = count_timers(store)
    store.write(batch._overlay.items())
    assert count_timers(store) == before + batch.timers
