"""Leases of tokens under a virtual clock: never more than a window's limit, nearly all of it used, critical first."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres.rate_limits import Lease, Limit, Want, granted
from sinks.runtime.limits import ChannelLimits, RateLimits
from sinks.runtime.purse import Purse


class Row:
    """The row in Postgres, with a clock of its own."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._number, self._leased = 0, 0

    def lease(self, critical: int, other: int, now: float) -> Lease:
        seconds = self._limit.window_seconds
        number = math.floor(now / seconds)
        if number > self._number:
            self._number, self._leased = number, 0
        left = (self._number + 1) * seconds - now
        tokens = granted(Want(self._limit, critical, other), self._leased, left / seconds)
        self._leased += tokens
        return Lease(tokens, left)


def limit(tokens: int = 100, seconds: float = 10.0, reserved: int = 5, block: int = 1) -> Limit:
    return Limit("l", tokens, seconds, reserved, block)


@pytest.mark.parametrize(
    ("critical", "other", "leased", "share_left", "expected"),
    [
        (0, 10, 0, 1.0, 10),
        (0, 200, 0, 1.0, 95),  # what is reserved is not for these
        (0, 200, 95, 1.0, 0),
        (3, 0, 95, 1.0, 3),  # but for those
        (9, 0, 95, 1.0, 5),
        (0, 200, 95, 0.5, 3),  # it melts
        (0, 200, 95, 0.0, 5),
        (2, 200, 0, 1.0, 95),
        (1, 0, 100, 1.0, 0),
        (0, 0, 0, 1.0, 0),
    ],
)
def test_what_is_granted(critical: int, other: int, leased: int, share_left: float, expected: int) -> None:
    assert granted(Want(limit(), critical, other), leased, share_left) == expected


def test_a_limit_of_one_is_for_everybody() -> None:
    (one,) = ChannelLimits(RateLimits(sms_per_second=1, sms_per_day=0), "sms").account
    assert granted(Want(one, 0, 1), 0, 1.0) == 1


def test_what_comes_late_from_a_slow_postgres_is_used_all_the_same() -> None:
    purse = Purse(limit(tokens=20, seconds=0.2))
    purse.fill(Lease(5, 0.1), asked_at=10.0, wanted=5, received_at=10.3)
    assert purse.left(10.35) == 5
    assert purse.left(10.5) == 0


def test_a_block_is_leased_ahead_while_half_the_window_is_there_and_only_what_is_needed_after() -> None:
    blocks = limit(tokens=1000, reserved=0, block=10)
    assert granted(Want(blocks, 0, 1), 0, 1.0) == 10
    assert granted(Want(blocks, 1, 0), 499, 1.0) == 10
    assert granted(Want(blocks, 0, 1), 501, 1.0) == 1
    assert granted(Want(blocks, 0, 30), 0, 1.0) == 30


@given(
    critical=st.integers(0, 300),
    other=st.integers(0, 300),
    leased=st.integers(0, 100),
    share_left=st.floats(0, 1),
    reserved=st.integers(0, 50),
    block=st.integers(1, 20),
)
def test_a_window_is_never_over_leased_and_critical_comes_first(
    critical: int, other: int, leased: int, share_left: float, reserved: int, block: int
) -> None:
    held = Limit("l", 100, 10, reserved, block)
    tokens = granted(Want(held, critical, other), leased, share_left)
    assert 0 <= tokens <= 100 - leased
    assert tokens >= min(critical, 100 - leased)
    assert tokens <= max(critical + other, block)
    if not critical:
        assert leased + tokens <= max(leased, 100 - math.floor(reserved * share_left))


ARRIVALS = st.lists(
    st.tuples(
        st.integers(0, 2),  # worker
        st.booleans(),  # critical
        st.floats(0, 0.4),  # since the one before
        st.integers(0, 40),  # messages
    ),
    max_size=80,
)


@given(arrivals=ARRIVALS, skew=st.tuples(*(st.floats(-1e4, 1e4) for _ in range(3))), delay=st.floats(0, 0.3))
def test_whatever_comes_to_three_workers_no_window_holds_more_than_its_limit(
    arrivals: list[tuple[int, bool, float, int]], skew: tuple[float, float, float], delay: float
) -> None:
    """``skew``: workers' clocks are their own. ``delay``: of an answer of Postgres."""
    shared = limit(tokens=40, seconds=1.0, reserved=2, block=3)
    row, purses = Row(shared), [Purse(shared) for _ in range(3)]
    used: dict[int, int] = {}
    now = 1_000_000.0
    for worker, critical, after, messages in arrivals:
        now += after
        purse, own = purses[worker], now + skew[worker]
        short = messages - purse.left(own)
        if short > 0:
            lease = row.lease(short if critical else 0, 0 if critical else short, now + delay / 2)
            purse.fill(lease, own, short)
            now, own = now + delay, own + delay
        for _ in range(messages):
            if purse.left(own) > 0:
                window = purse.take()
                used[math.floor(now)] = used.get(math.floor(now), 0) + 1
                if messages % 7 == 3:  # gated before its call
                    purse.put_back(window)
                    used[math.floor(now)] -= 1
    assert all(count <= shared.tokens for count in used.values())


@given(shares=st.tuples(*(st.integers(0, 100) for _ in range(3))), critical_every=st.integers(2, 50))
def test_under_skew_nearly_all_is_used(shares: tuple[int, int, int], critical_every: int) -> None:
    """Demand is twice the limit, however it is spread over the workers."""
    shared = limit(tokens=1000, seconds=100.0, reserved=50, block=10)
    row, purses, used = Row(shared), [Purse(shared) for _ in range(3)], 0
    total = sum(shares) or 1
    weights = [share / total for share in shares] if sum(shares) else [1.0, 0.0, 0.0]
    owed = [0.0, 0.0, 0.0]
    steps = 500
    for step in range(steps):
        now = 100_000 + step * (100 / steps)
        for worker, purse in enumerate(purses):
            owed[worker] += 2000 / steps * weights[worker]
            need = int(owed[worker])
            short = need - purse.left(now)
            if short > 0 and purse.ask_at(now) is None:
                critical = short if step % critical_every == 0 else 0
                purse.fill(row.lease(critical, short - critical, now), now, short)
            taken = min(need, purse.left(now))
            for _ in range(taken):
                purse.take()
            owed[worker] -= taken
            used += taken
    assert 0.95 * shared.tokens <= used <= shared.tokens


def test_what_was_left_of_a_window_lapses_at_its_end() -> None:
    purse = Purse(limit(seconds=10))
    purse.fill(Lease(5, 4.0), 100.0, 5)
    assert (purse.left(103.9), purse.left(104.0)) == (5, 0)
    window = purse.take()
    purse.fill(Lease(3, 10.0), 104.0, 3)
    assert purse.left(105.0) == 3
    purse.put_back(window)  # of the window before
    assert purse.left(105.0) == 3


def test_a_window_longer_than_the_clock_has_run_is_one_like_any_other() -> None:
    purse = Purse(limit(tokens=50_000, seconds=86_400))
    purse.fill(Lease(500, 30_000.0), 12.0, 1)
    assert purse.left(13.0) == 500


def test_who_got_less_than_was_needed_asks_again_a_little_later() -> None:
    purse = Purse(limit(seconds=10))
    purse.fill(Lease(0, 8.0), 100.0, 5)
    assert purse.is_dry(100.5)
    assert purse.ask_at(100.5) == 101.0
    assert purse.ask_at(101.0) is None
    purse.fill(Lease(0, 0.3), 101.0, 5)
    assert purse.ask_at(101.0) == pytest.approx(101.3)


def test_the_specifications_limits_hold_where_nothing_is_set() -> None:
    sms, email, push, in_app = (ChannelLimits(RateLimits(), channel) for channel in ("sms", "email", "push", "in_app"))
    assert [(one.tokens, one.window_seconds, one.reserved) for one in sms.account] == [
        (20, 0.2, 1),
        (50_000, 86_400, 2_500),
    ]
    assert [(one.tokens, one.window_seconds) for one in email.account] == [(100, 0.2), (100_000, 86_400)]
    assert (push.account, in_app.account, sms.own("care", "c")) == ((), (), ())


def test_senders_and_clinics_have_limits_of_their_own() -> None:
    limits = ChannelLimits(RateLimits(sms_sender_per_minute=100, sms_clinic_per_day=500), "sms")
    names = [one.name for one in limits.own("care", "c-1")]
    assert names == ["sms sender care 60000ms", "sms clinic c-1 86400000ms"]
    kinds = [one.kind for one in (*limits.account, *limits.own("care", "c-1"))]
    assert kinds == ["account_second", "account_day", "sender_minute", "clinic_day"]
    assert limits.own("marketing", "c-1") != limits.own("care", "c-1")


@given(st.integers(1, 100_000))
def test_a_second_wherever_it_begins_holds_at_most_its_limit_and_a_slice(per_second: int) -> None:
    (sliced,) = ChannelLimits(RateLimits(sms_per_second=per_second, sms_per_day=0), "sms").account
    slices_met = math.ceil(1 / sliced.window_seconds) + 1  # by a second that begins within one
    assert sliced.tokens * (slices_met - 1) <= per_second
    assert sliced.tokens * slices_met <= per_second + sliced.tokens
    assert sliced.tokens / sliced.window_seconds >= 0.95 * per_second or per_second < 100
