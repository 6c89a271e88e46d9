"""Marks: what newer versions do to older ones, whatever order they are seen in."""

from __future__ import annotations

import struct
from functools import reduce
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from streams.rules.reasons import Reason
from streams.rules.schedule import NO_MARK, Mark, aggregate_key, waiting_of, waiting_suffix

EVENTS = [bytes([number]) * 16 for number in range(1, 4)]
Seen = tuple[str, int, bytes, int | None]
seen = st.lists(
    st.tuples(
        st.sampled_from(["older", "all", "none"]),
        st.integers(0, 4),
        st.sampled_from(EVENTS),
        st.none() | st.integers(0, 4),
    ),
    max_size=6,
)


def after(history: list[Seen]) -> Mark:
    return reduce(lambda mark, one: mark.after(*one[:3]).settled(one[3]), history, NO_MARK)


@given(seen, st.randoms(use_true_random=False), st.integers(0, 5), st.sampled_from(EVENTS), st.booleans())
def test_order_and_repetition_do_not_matter(
    history: list[Seen], random: Random, version: int, event: bytes, asks: bool
) -> None:
    shuffled = [*history, *history[:2]]
    random.shuffle(shuffled)
    assert after(shuffled).overtakes(version, event, asks=asks) == after(history).overtakes(version, event, asks=asks)


@given(seen, st.integers(0, 5), st.sampled_from(EVENTS))
def test_what_was_done_ends_only_what_asks_for_it(history: list[Seen], version: int, event: bytes) -> None:
    mark = after(history)
    done = any(through is not None and through >= version for *_, through in history)
    assert (mark.overtakes(version, event, asks=True) == Reason.ALREADY_DONE) == done
    unsettled = mark._replace(settled_through=-1)
    assert mark.overtakes(version, event) == unsettled.overtakes(version, event, asks=True)


def test_what_is_asked_of_a_newer_version_is_asked_anew() -> None:
    mark = NO_MARK.settled(3).settled(1)
    found = [mark.overtakes(version, EVENTS[0], asks=True) for version in (2, 3, 4)]
    assert found == [Reason.ALREADY_DONE, Reason.ALREADY_DONE, None]


def test_a_mark_is_written_as_older_workers_read_it_until_something_is_settled() -> None:
    mark = NO_MARK.after("older", 3, EVENTS[0])
    before = mark.packed()
    assert before == struct.pack(">qq16s", 3, -1, bytes(16))
    assert Mark.unpacked(before) == mark
    assert len(mark.settled(0).packed()) == 40


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
def test_a_mark_comes_back_from_its_bytes(history: list[Seen]) -> None:
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
