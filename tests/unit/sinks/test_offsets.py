"""Commits cover only an unbroken run of finished records, whatever order they finish in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sinks.runtime.offsets import PartitionOffsets


def test_nothing_is_committed_before_the_first_record_is_finished() -> None:
    offsets = PartitionOffsets()
    offsets.take(5)
    offsets.take(6)
    offsets.finish(6)
    assert offsets.position is None


def test_a_late_record_releases_all_that_finished_behind_it() -> None:
    offsets = PartitionOffsets()
    for offset in (5, 6, 9):
        offsets.take(offset)
    offsets.finish(9)
    offsets.finish(6)
    offsets.finish(5)
    assert offsets.position == 10


def test_an_abandoned_record_is_not_in_flight_and_is_never_committed_over() -> None:
    offsets = PartitionOffsets()
    for offset in (1, 2, 3):
        offsets.take(offset)
    offsets.abandon(2)
    offsets.finish(1)
    offsets.finish(3)
    assert (offsets.position, offsets.in_flight) == (2, 0)


@pytest.mark.parametrize("offset", [3, 2])
def test_a_record_cannot_be_taken_twice_or_backwards(offset: int) -> None:
    offsets = PartitionOffsets()
    offsets.take(3)
    with pytest.raises(ValueError, match="in order"):
        offsets.take(offset)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=50, unique=True))
def test_in_the_end_everything_taken_is_covered_in_any_order(finishing: list[int]) -> None:
    offsets = PartitionOffsets()
    for offset in sorted(finishing):
        offsets.take(offset)
    for offset in finishing:
        offsets.finish(offset)
    assert offsets.position == max(finishing) + 1
    assert offsets.in_flight == 0


class CommitsOnlyFinishedPrefixes(RuleBasedStateMachine):
    """Against the definition: the position is the first offset taken and not finished, or the end of all taken."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets = PartitionOffsets()
        self.taken: list[int] = []
        self.open: set[int] = set()
        self.next = 0
        self.before: int | None = None

    @rule(gap=st.integers(0, 3))
    def take(self, gap: int) -> None:
        offset = self.next + gap
        self.offsets.take(offset)
        self.taken.append(offset)
        self.open.add(offset)
        self.next = offset + 1

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.open)))
        self.offsets.finish(offset)
        self.open.discard(offset)

    @invariant()
    def the_position_stands_before_the_first_open_record(self) -> None:
        position = self.offsets.position
        finished_before = [offset for offset in self.taken if not self.open or offset < min(self.open)]
        assert position == (finished_before[-1] + 1 if finished_before else None)
        assert self.offsets.in_flight == len(self.open)
        assert self.offsets.pinned == len(self.taken) - len(finished_before)

    @invariant()
    def the_position_never_goes_back(self) -> None:
        position = self.offsets.position
        assert self.before is None or (position is not None and position >= self.before)
        self.before = position


TestCommitsOnlyFinishedPrefixes = CommitsOnlyFinishedPrefixes.TestCase
