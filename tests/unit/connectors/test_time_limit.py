"""A time limit that does not wait for the end of what it ends."""

from __future__ import annotations

import asyncio

import pytest

from connectors.time_limit import within


async def test_what_ends_in_time_returns_or_raises_as_it_would() -> None:
    async def seven() -> int:
        return 7

    async def fails() -> None:
        raise LookupError("none")

    assert await within(5, seven()) == 7
    with pytest.raises(LookupError):
        await within(5, fails())


async def test_what_takes_its_time_to_end_is_not_waited_for_but_does_end() -> None:
    may_end, ended = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()
            ended.set()

    with pytest.raises(TimeoutError):
        await within(0.01, stubborn())
    assert not ended.is_set()
    may_end.set()
    await asyncio.wait_for(ended.wait(), 5)


async def test_a_caller_who_leaves_ends_the_work() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def long() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    caller = asyncio.create_task(within(60, long()))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.wait_for(ended.wait(), 5)
