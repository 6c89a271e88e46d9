"""Token buckets: how often one caller may ask."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api.limits import BURST_SECONDS, Buckets


def test_a_burst_then_the_rate() -> None:
    buckets = Buckets()
    taken = [buckets.take("a", 5.0, 0.0) for _ in range(11)]
    assert taken[:10] == [0.0] * 10
    assert 0 < taken[10] <= 0.2
    assert buckets.take("b", 5.0, 0.0) == 0.0
    assert buckets.take("a", 5.0, 0.25) == 0.0


@given(st.floats(0.5, 100), st.lists(st.floats(0, 2), max_size=200))
def test_never_more_than_the_rate_and_one_burst(per_second: float, pauses: list[float]) -> None:
    buckets, now, taken = Buckets(), 0.0, 0
    for pause in pauses:
        now += pause
        taken += buckets.take("a", per_second, now) == 0.0
    assert taken <= max(1.0, per_second * BURST_SECONDS) + now * per_second + 1e-6


def test_memory_is_bounded() -> None:
    buckets = Buckets(max_callers=10)
    for number in range(100):
        buckets.take(str(number), 1.0, 0.0)
    assert len(buckets) == 10
