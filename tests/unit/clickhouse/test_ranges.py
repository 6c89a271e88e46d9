"""Ranges are never cut anew: whatever crashes when, the ranges under one start have one end, and together they cover the log."""

from hypothesis import given
from hypothesis import strategies as st

from sinks.ingest.ranges import PartitionRanges


def test_a_planned_range_waits_until_it_is_whole() -> None:
    ranges: PartitionRanges[int] = PartitionRanges(10, 14)
    ranges.add([10], [10])
    ranges.add([12], [12])
    assert ranges.cut(100) is None
    ranges.add([15], [15])  # 13 and 14 do not exist: compacted away, or a transaction's marker
    cut = ranges.cut(100)
    assert cut is not None
    assert (cut.start, cut.end, cut.items) == (10, 14, [10, 12])
    rest = ranges.cut(100)
    assert rest is not None
    assert (rest.start, rest.end, rest.items) == (14, 16, [15])


def test_the_end_of_the_log_completes_a_planned_range_too() -> None:
    ranges: PartitionRanges[int] = PartitionRanges(10, 14)
    ranges.add([10], [10])
    ranges.reached(14)
    cut = ranges.cut(100)
    assert cut is not None
    assert (cut.start, cut.end, cut.items) == (10, 14, [10])


def test_what_is_done_is_skipped() -> None:
    ranges: PartitionRanges[int] = PartitionRanges(10, None)
    ranges.add([9], [9])
    assert ranges.cut(100) is None


def test_a_range_ends_before_it_is_too_large_but_never_before_its_first_record() -> None:
    ranges: PartitionRanges[bytes] = PartitionRanges(0, None, len)
    ranges.add([0, 1, 2, 3], [b"12", b"34", b"56789", b"0"])
    assert ranges.buffered_bytes == 10
    cuts = [ranges.cut(100, 4), ranges.cut(100, 4), ranges.cut(100, 4), ranges.cut(100, 4)]
    assert [cut and (cut.start, cut.end) for cut in cuts] == [(0, 2), (2, 3), (3, 4), None]
    assert ranges.buffered_bytes == 0


@given(
    st.lists(st.booleans(), min_size=1, max_size=60),
    st.lists(
        st.tuples(st.integers(1, 10), st.integers(1, 8), st.sampled_from(["run", "after plan", "after insert"])),
        max_size=40,
    ),
)
def test_any_history_of_crashes_inserts_every_record_once(holes: list[bool], turns: list[tuple[int, int, str]]) -> None:
    """A model of the sink: a log with holes, positions in Postgres, a store that remembers tokens."""
    log = [offset for offset, hole in enumerate(holes) if not hole]
    end_of_log = len(holes)
    next_offset, planned_end = 0, None
    stored: dict[tuple[int, int], list[int]] = {}
    ranges: PartitionRanges[int] = PartitionRanges(next_offset, planned_end)
    read = 0  # how much of the log this process has read

    def restart() -> None:
        nonlocal ranges, read
        ranges = PartitionRanges(next_offset, planned_end)
        read = ranges.resume_at

    for take, at_most, fate in [*turns, *[(100, 100, "run")] * 3]:
        for offset in log:
            if read <= offset < read + take:
                ranges.add([offset], [offset])
        read += take
        ranges.reached(min(read, end_of_log))
        cut = ranges.cut(at_most)
        if cut is None:
            continue
        planned_end = cut.end
        if fate == "after plan":
            restart()
            continue
        token = (cut.start, cut.end)
        assert stored.setdefault(token, cut.items) == cut.items  # a token never stands for other rows
        if fate == "after insert":
            restart()
            continue
        next_offset, planned_end = cut.end, None
    while (cut := ranges.cut(100)) is not None:
        stored.setdefault((cut.start, cut.end), cut.items)
    assert sorted(offset for items in stored.values() for offset in items) == log
