"""A topic is known as far as its least known partition, and no further than leaders said that it goes."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.read_through import ReadThrough

Step = tuple[Literal["grow", "read", "ask", "answer"], int]


def test_a_partition_that_nobody_tells_of_holds_the_others_back() -> None:
    through = ReadThrough([0, 1])
    through.told(1.0, {0: 0, 1: 3})
    assert through.since() is None
    through.read(1, 3)
    assert through.since() == 1.0
    through.told(2.0, {0: 0})
    assert (through.since(), through.behind(2.0)) == (1.0, [1])
    through.told(3.0, {0: 0, 1: 3})
    assert (through.since(), through.behind(2.0)) == (3.0, [])


def test_what_waits_behind_an_open_transaction_is_not_known() -> None:
    through = ReadThrough([0])
    through.read(0, 5)  # the end that may be read
    through.told(1.0, {0: 7})
    through.told(9.0, {0: 8})
    assert through.since() is None
    through.read(0, 7)
    assert through.since() == 1.0, "of what was asked later, less is read than was there"
    through.told(10.0, {0: 8})
    through.read(0, 8)
    assert through.since() == 10.0


PARTITIONS = 2
STEP: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(["grow", "read", "ask", "answer"]), st.integers(0, PARTITIONS - 1)
)


@given(st.lists(STEP, max_size=60))
def test_it_never_knows_more_than_was_read(steps: list[Step]) -> None:
    """Against the whole history of each partition's ends; leaders answer late, each for itself, or never."""
    through = ReadThrough(range(PARTITIONS))
    ends, read = [0] * PARTITIONS, [0] * PARTITIONS
    grown_at: list[list[int]] = [[] for _ in range(PARTITIONS)]
    asked: tuple[int, tuple[int, ...]] | None = None
    now = 0
    for now, (step, partition) in enumerate(steps, start=1):
        if step == "grow":
            ends[partition] += 1
            grown_at[partition].append(now)
        elif step == "read" and read[partition] < ends[partition]:
            read[partition] += 1
            through.read(partition, read[partition])
        elif step == "ask":
            asked = (now, tuple(ends))
        elif step == "answer" and asked is not None:
            through.told(asked[0], {partition: asked[1][partition]})
        since = through.since()
        if since is not None:
            for one in range(PARTITIONS):
                assert all(at > since for at in grown_at[one][read[one] :])
    for one in range(PARTITIONS):
        through.read(one, ends[one])
    through.told(now + 1, dict(enumerate(ends)))
    assert through.since() == pytest.approx(now + 1)
    assert through.behind(now + 1) == []
