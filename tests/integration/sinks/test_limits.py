"""Rate limits that several workers share through Postgres: held, used up, critical first, and nobody else's for one clinic's."""

from __future__ import annotations

import asyncio
import math
import signal
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.postgres import rate_limits
from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.rate_limits import Limit, Want, granted
from sinks.runtime.allowance import Allowance
from sinks.runtime.limits import ChannelLimits, RateLimits
from sinks.runtime.tuning import Tuning
from tests.integration.sinks.outgoing import Outbox, Outgoing
from tests.integration.sinks.rig import Rig, wait_for
from tests.integration.sinks.test_conformance import address
from tests.integration.sinks.test_metrics import value

pytestmark = pytest.mark.integration

WINDOWS = 3


class OneLimit(ChannelLimits):
    """A channel with one limit for all."""

    def __init__(self, limit: Limit) -> None:
        super().__init__(RateLimits(), "in_app")
        self.account = (limit,)


@asynccontextmanager
async def workers(rig: Rig, limit: Limit, count: int) -> AsyncIterator[list[Allowance]]:
    def failed(error: Exception) -> None:
        raise error

    async with AsyncExitStack() as stack:
        found = []
        for _ in range(count):
            pool = await stack.enter_async_context(open_pool(rig.settings, "tests", size=1))
            allowance = Allowance(pool, OneLimit(limit), Tuning(), failed=failed)
            stack.push_async_callback(allowance.close)
            found.append(allowance)
        yield found


async def spend(
    allowance: Allowance, used: Counter[int], limit: Limit, until: float, need: int, critical: bool
) -> None:
    """What a worker does that has ``need`` messages waiting whenever it looks."""
    (purse,) = allowance.account()
    while time.time() < until:
        now = time.monotonic()
        while purse.left(now):
            purse.take()
            used[math.floor(time.time() / limit.window_seconds)] += 1
            now = time.monotonic()
        allowance.want([(critical, (purse,))] * need, now)
        await asyncio.sleep(0.005)


async def test_three_workers_with_skewed_load_use_nearly_all_of_every_window_and_never_more(rig: Rig) -> None:
    limit = Limit(f"test {uuid.uuid4()}", tokens=600, window_seconds=2.0, reserved=30, block=6)
    used: Counter[int] = Counter()
    async with workers(rig, limit, 3) as (busy, steady, idle):
        first = math.floor(time.time() / limit.window_seconds) + 1
        until = (first + WINDOWS) * limit.window_seconds
        await asyncio.gather(
            spend(busy, used, limit, until, 200, critical=False),
            spend(steady, used, limit, until, 9, critical=True),
            spend(idle, used, limit, until, 1, critical=False),
        )
    whole = [used[window] for window in range(first, first + WINDOWS)]
    assert max(used.values()) <= limit.tokens + limit.block
    assert min(whole) >= 0.95 * limit.tokens, whole


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(1, 500),
    reserved_share=st.floats(0, 0.5),
    block=st.integers(1, 50),
    asks=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=5),
)
def test_the_statement_grants_what_the_rule_says(
    rig: Rig, tokens: int, reserved_share: float, block: int, asks: list[tuple[int, int]]
) -> None:
    # A window so long that none of it passes.
    limit = Limit(f"test {uuid.uuid4()}", tokens, 1e9, math.floor(tokens * reserved_share), block)

    async def ask() -> None:
        async with open_pool(rig.settings, "tests", size=1) as pool:
            assert await rate_limits.lease(pool, [Want(limit, 1, 1)]) == {}
            await rate_limits.make(pool, [limit.name])
            leased = 0
            for critical, other in asks:
                want = Want(limit, critical, other)
                lease = (await rate_limits.lease(pool, [want]))[limit.name]
                assert lease.tokens == granted(want, leased, min(1.0, lease.seconds / limit.window_seconds))
                leased += lease.tokens

    asyncio.run(ask())


async def test_workers_that_ask_at_once_wait_for_each_other_and_not_in_a_circle(rig: Rig) -> None:
    limits = [Limit(f"test {uuid.uuid4()}", 1000, 3600.0, 0, 1) for _ in range(4)]
    got: Counter[str] = Counter()

    async def ask(pool: Pool, order: list[Limit]) -> None:
        for _ in range(25):
            leases = await rate_limits.lease(pool, [Want(limit, 0, 20) for limit in order])
            got.update({name: lease.tokens for name, lease in leases.items()})

    async with open_pool(rig.settings, "tests", size=4) as pool:
        await rate_limits.make(pool, [limit.name for limit in limits])
        await asyncio.gather(*(ask(pool, limits[number:] + limits[:number]) for number in range(4)))
    assert list(got.values()) == [1000] * 4  # 2,000 were asked for


def crowd(outbox: Outbox, count: int, channel: str = "sms", **changes: Any) -> list[Outgoing]:
    people = [f"patient:{uuid.uuid4()}" for _ in range(min(count, 50))]
    asyncio.run(outbox.make_keys(people))
    return [outbox.outgoing(channel, people[n % len(people)], **changes) for n in range(count)]


def sent_once(rig: Rig, messages: list[Outgoing]) -> None:
    for message in messages:
        assert rig.eye.end(message.id)["status"] == "sent"
    assert [len(rig.provider.messages(address(message))) for message in messages] == [1] * len(messages)


def begun_at(rig: Rig, messages: list[Outgoing]) -> list[float]:
    """When their calls began, the first one first."""
    return sorted(rig.eye.status(message.id, "sending")["status_at"].timestamp() for message in messages)


def restart(rig: Rig, limits: dict[str, str], channel: str = "sms") -> None:
    if channel in rig.running:
        assert rig.end(channel) == 0
    rig.start(channel, limits)


@pytest.mark.parametrize("channel", ["sms", "email", "push"])
def test_messages_over_the_accounts_rate_wait_and_none_fails(rig: Rig, outbox: Outbox, channel: str) -> None:
    limits = {f"LUXE_LIMIT_{channel.upper()}_PER_SECOND": "100"}
    restart(rig, limits, channel)
    first = rig.running.pop(channel)
    rig.start(channel, limits)
    try:
        messages = crowd(outbox, 400, channel)
        outbox.send(messages)
        sent_once(rig, messages)
    finally:
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 0
        rig.end(channel)
    times = begun_at(rig, messages)
    # 400 tokens of windows of 20 in 0.2 s: 19 windows lie between the first and the last, less what a call is late.
    assert times[-1] - times[0] > 3.0


def test_critical_messages_go_first_when_tokens_are_short_and_bulk_goes_on(rig: Rig, outbox: Outbox) -> None:
    restart(rig, {"LUXE_LIMIT_SMS_PER_SECOND": "20"})
    critical = crowd(outbox, 10, lane="critical")
    normal, low = crowd(outbox, 300), crowd(outbox, 100, lane="low")
    bulk = normal + low  # of 20 s: half of it is there long after the urgent ones
    before = rig.provider.count()
    outbox.send(normal)
    wait_for(lambda: rig.provider.count() > before)
    outbox.send(low)
    outbox.send(critical)
    for message in critical:
        assert rig.eye.end(message.id)["status"] == "sent"
    done = sum("sent" in rig.eye.words(message.id) for message in bulk)
    assert done < len(bulk) / 2
    rig.eye.wait(lambda: sum("sending" in rig.eye.words(message.id) for message in low) >= 65)
    restart(rig, {"LUXE_LIMIT_SMS_PER_SECOND": "0"})
    sent_once(rig, bulk + critical)
    # While both waited: whoever comes at the moment that a window opens has its tokens without a turn.
    times = {lane: begun_at(rig, messages) for lane, messages in (("normal", normal), ("low", low))}
    first, last = times["low"][24], times["low"][64]
    lanes = {lane: sum(first <= time <= last for time in found) for lane, found in times.items()}
    assert lanes["normal"] >= 1.5 * lanes["low"], lanes  # twice its weight
    rig.end("sms")


def test_one_clinics_limit_holds_nobody_else_however_much_of_it_waits(rig: Rig, outbox: Outbox) -> None:
    restart(rig, {"LUXE_LIMIT_SMS_CLINIC_PER_MINUTE": "5", "LUXE_SINKS_SLOTS_NORMAL": "4"})
    busy = crowd(outbox, 60, clinic_id=f"clinic-{uuid.uuid4()}")
    outbox.send(busy)
    # The fifth is kept for critical messages until the minute's end.
    wait_for(lambda: sum("sent" in rig.eye.words(message.id) for message in busy) >= 4)
    others = [crowd(outbox, 1, clinic_id=f"clinic-{uuid.uuid4()}")[0] for _ in range(20)]
    outbox.send(others)
    sent_once(rig, others)
    assert sum("sent" in rig.eye.words(message.id) for message in busy) <= 10  # a minute may have ended between
    assert not any({"failed", "unknown"} & set(rig.eye.words(message.id)) for message in busy)
    assert value(rig.settings, "sms", "luxe_rate_limit_waiting", limit="clinic_minute") > 0
    assert value(rig.settings, "sms", "luxe_rate_limit_short_total", limit="clinic_minute") > 0
    assert value(rig.settings, "sms", "luxe_rate_limit_tokens_total", limit="account_second") >= len(others)
    restart(rig, {})
    sent_once(rig, busy)
