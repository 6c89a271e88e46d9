"""Marks: what newer versions do to older ones, whatever order they are seen in."""

from __future__ import annotations

from functools import reduce
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from streams.rules.reasons import Reason
from streams.rules.schedule import NO_MARK, Mark, aggregate_key, waiting_of, waiting_suffix

EVENTS = [bytes([number]) * 16 for number in range(1, 4)]
seen = st.lists(
    st.tuples(st.sampled_from(["older", "all", "none"]), st.integers(0, 4), st.sampled_from(EVENTS)), max_size=6
)


def after(history: list[tuple[str, int, bytes]]) -> Mark:
    return reduce(lambda mark, one: mark.after(*one), history, NO_MARK)


@given(seen, st.randoms(use_true_random=False), st.integers(0, 5), st.sampled_from(EVENTS))
def test_order_and_repetition_do_not_matter(
    history: list[tuple[str, int, bytes]], random: Random, version: int, event: bytes
) -> None:
    shuffled = [*history, *history[:2]]
    random.shuffle(shuffled)
    assert after(shuffled).overtakes(version, event) == after(history).overtakes(version, event)


def test_what_cancels_does_not_cancel_itself() -> None:
    mark = NO_MARK.after("all", 3, EVENTS[0])
    assert mark.overtakes(3, EVENTS[0]) is None
    assert mark.overtakes(3, EVENTS[1]) == mark.overtakes(2, EVENTS[0]) == Reason.CANCELLED
    assert mark.overtakes(4, EVENTS[1]) is None


def test_superseded_are_only_lower_versions() -> None:
    mark = NO_MARK.after("older", 3, EVENTS[0])
    assert mark.overtakes(2, EVENTS[0]) == Reason.SUPERSEDED
    assert mark.overtakes(3, EVENTS[1]) is None


@given(seen)
def test_a_mark_comes_back_from_its_bytes(history: list[tuple[str, int, bytes]]) -> None:
    assert Mark.unpacked(after(history).packed()) == after(history)


@given(
    st.lists(
        st.tuples(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5)), min_size=2, max_size=2, unique=True
    )
)
def test_no_aggregates_key_begins_another(two: list[tuple[str, str, str]]) -> None:
    one, other = (aggregate_key(*parts) for parts in two)
    assert not one.startswith(other)


@given(st.integers(0, 2**62), st.binary(min_size=16, max_size=16))
def test_waiting_rows_sort_by_version(version: int, identity: bytes) -> None:
    assert waiting_of(b"any" + waiting_suffix(version, identity)) == (version, identity)
    assert waiting_suffix(version, b"\xff" * 16) < waiting_suffix(version + 1, identity)
