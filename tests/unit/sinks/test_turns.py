"""Whose turn it is: critical first, the rest by weight, and nobody for ever last."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sinks.runtime.turns import WEIGHTS, Turns

LANES = ("critical", *WEIGHTS)


def rounds(turns: Turns, queues: dict[str, list[str]], tokens: int) -> list[str]:
    """Who gets them, when so many are there; they leave their queues."""
    got: list[str] = []
    for waiting in turns.of({lane: list(queue) for lane, queue in queues.items()}):
        if len(got) < tokens:
            lane = waiting.split(":")[0]
            queues[lane].remove(waiting)
            turns.served(lane)
            got.append(waiting)
    return got


def backlog(**lanes: int) -> dict[str, list[str]]:
    return {lane: [f"{lane}:{number}" for number in range(lanes.get(lane, 0))] for lane in LANES}


def test_critical_has_all_it_needs_first() -> None:
    assert rounds(Turns(), backlog(critical=3, high=3, low=3), 4)[:3] == ["critical:0", "critical:1", "critical:2"]


def test_the_rest_comes_out_by_weight_even_over_rounds_of_one() -> None:
    turns, queues = Turns(), backlog(high=100, normal=100, low=100)
    got = Counter(rounds(turns, queues, 1)[0].split(":")[0] for _ in range(70))
    assert got == {"high": 40, "normal": 20, "low": 10}


def test_a_lane_that_was_empty_has_saved_nothing_up() -> None:
    turns = Turns()
    rounds(turns, backlog(high=80), 80)
    got = Counter(one.split(":")[0] for one in rounds(turns, backlog(high=80, low=80), 50))
    assert got == {"high": 40, "low": 10}


@given(st.fixed_dictionaries({lane: st.integers(0, 20) for lane in LANES}), st.lists(st.integers(0, 5), max_size=40))
def test_everyone_is_seen_once_a_lane_keeps_its_order_and_none_starves(
    sizes: dict[str, int], tokens: list[int]
) -> None:
    turns, queues = Turns(), backlog(**sizes)
    assert sorted(turns.of(queues)) == sorted(one for queue in queues.values() for one in queue)
    waited = dict.fromkeys(WEIGHTS, 0)
    order: dict[str, list[str]] = {lane: [] for lane in LANES}
    for count in tokens:
        before = {lane: len(queue) for lane, queue in queues.items()}
        got = rounds(turns, queues, count)
        for one in got:
            order[one.split(":")[0]].append(one)
        for lane in WEIGHTS:
            served = before[lane] - len(queues[lane])
            bulk = sum(not one.startswith("critical") for one in got)
            waited[lane] = 0 if served or not before[lane] else waited[lane] + bulk
            assert waited[lane] <= 2 * sum(WEIGHTS.values())
    for lane in LANES:
        assert order[lane] == [f"{lane}:{number}" for number in range(len(order[lane]))]
