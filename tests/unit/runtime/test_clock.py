"""The clock that timers fire by: steps back are taken at once, steps forward when they have lasted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.runtime import Batch, Output
from streams.runtime.clock import STEP_MS, SettledClock, boot_clock_ms, wall_clock_ms
from tests.partition_in_memory import Owner

HOUR_MS = 3_600_000
SETTLE_SECONDS = 5.0
START_MS = 1_800_000_000_000


class Machine:
    """Its two clocks. A step moves the wall clock alone; passing time, asleep or not, moves both."""

    def __init__(self) -> None:
        self.wall_ms, self.boot_ms = START_MS, 1_000
        self.now = SettledClock(SETTLE_SECONDS, lambda: self.wall_ms, lambda: self.boot_ms)

    def passes(self, ms: int) -> int:
        self.wall_ms += ms
        self.boot_ms += ms
        return self.now()


def test_time_that_passes_is_the_wall_clocks() -> None:
    machine = Machine()
    for ms in (1, 999, 40_000, 8 * HOUR_MS):  # the last as over a night's suspension
        assert machine.passes(ms) == machine.wall_ms


def test_a_step_forward_that_is_put_right_is_never_seen() -> None:
    machine = Machine()
    machine.wall_ms += 3 * HOUR_MS
    assert machine.passes(1000) == START_MS + 1000
    assert machine.passes(3000) == START_MS + 4000
    machine.wall_ms -= 3 * HOUR_MS
    assert machine.passes(10_000) == START_MS + 14_000 == machine.wall_ms


def test_a_step_forward_that_lasts_is_believed() -> None:
    machine = Machine()
    machine.wall_ms += 3 * HOUR_MS
    machine.now()
    assert machine.passes(int(SETTLE_SECONDS * 1000) - 1) < START_MS + HOUR_MS
    assert machine.passes(1) == machine.wall_ms


def test_a_step_back_is_believed_at_once() -> None:
    machine = Machine()
    machine.wall_ms -= 3 * HOUR_MS
    assert machine.passes(10) == machine.wall_ms


def test_small_corrections_are_the_wall_clocks() -> None:
    machine = Machine()
    for _ in range(100):
        machine.wall_ms += STEP_MS - 1
        assert machine.passes(10) == machine.wall_ms


def test_without_a_time_to_settle_every_step_is_believed() -> None:
    machine = Machine()
    now = SettledClock(0, lambda: machine.wall_ms, lambda: machine.boot_ms)
    machine.wall_ms += HOUR_MS
    assert now() == machine.wall_ms


@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(-HOUR_MS, HOUR_MS) | st.just(0)), max_size=30))
def test_it_is_never_ahead_of_the_wall_clock_and_agrees_with_it_once_that_is_left_alone(
    happens: list[tuple[int, int]],
) -> None:
    machine = Machine()
    for passed, stepped in happens:
        machine.wall_ms += stepped
        assert machine.passes(passed) <= machine.wall_ms
    machine.passes(0)
    assert machine.passes(int(SETTLE_SECONDS * 1000)) == machine.wall_ms


def test_the_machines_own_clocks_go_on() -> None:
    assert wall_clock_ms() > START_MS // 2
    before = boot_clock_ms()
    assert boot_clock_ms() >= before > 0


def test_a_timer_fires_once_however_the_clock_steps() -> None:
    fired: list[int] = []
    owner = counting_owner(fired)
    owner.append("in", b"k", b"set")
    owner.step(START_MS)  # due in an hour
    assert owner.step(START_MS - 5 * HOUR_MS) is None
    assert owner.step(START_MS + HOUR_MS - 1) is None
    owner.step(START_MS + HOUR_MS)
    assert fired == [START_MS + HOUR_MS]
    for now_ms in (START_MS - 5 * HOUR_MS, START_MS + HOUR_MS, START_MS + 9 * HOUR_MS):
        assert owner.step(now_ms) is None
    assert fired == [START_MS + HOUR_MS]


def counting_owner(fired: list[int]) -> Owner:
    """An agent that sets a timer an hour ahead for each record, and notes when one fires."""

    def work(batch: Batch) -> None:
        for record in batch.records:
            with batch.event(record) as event:
                event.set_timer(b"t%d" % record.offset, batch.now_ms + HOUR_MS, b"")
        for timer in batch.due:
            with batch.event(timer):
                fired.append(batch.now_ms)

    def letter(subject: object, error: BaseException, batch: Batch) -> Output:
        raise error

    return Owner(["in"], work, letter)
