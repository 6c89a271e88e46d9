"""Group commit: batches find their own size, and an error reaches exactly those who were in its batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from connectors.gathering import Gathered


async def test_what_comes_while_a_batch_is_written_is_the_next_batch() -> None:
    batches: list[list[int]] = []
    release = asyncio.Event()

    async def flush(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        await release.wait()
        return [item * 10 for item in items]

    gathered = Gathered(flush, max_items=100, linger_ms=0)
    first = asyncio.create_task(gathered.submit(1))
    await asyncio.sleep(0.01)
    others = [asyncio.create_task(gathered.submit(number)) for number in (2, 3, 4)]
    await asyncio.sleep(0.01)
    release.set()
    assert await asyncio.gather(first, *others) == [10, 20, 30, 40]
    assert batches == [[1], [2, 3, 4]]


async def test_no_batch_is_larger_than_allowed() -> None:
    sizes: list[int] = []

    async def flush(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        return list(items)

    gathered = Gathered(flush, max_items=4, linger_ms=1)
    assert await asyncio.gather(*(gathered.submit(number) for number in range(10))) == list(range(10))
    assert max(sizes) == 4


async def test_an_error_is_its_own_batch_s_only() -> None:
    async def flush(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise ValueError("13")
        return list(items)

    gathered = Gathered(flush, max_items=1, linger_ms=0)
    good, bad, also_good = await asyncio.gather(
        *(gathered.submit(number) for number in (1, 13, 2)), return_exceptions=True
    )
    assert (good, also_good) == (1, 2)
    assert isinstance(bad, ValueError)
    with pytest.raises(ValueError, match="13"):
        await gathered.submit(13)


async def test_a_caller_that_gave_up_does_not_disturb_its_batch() -> None:
    async def flush(items: Sequence[int]) -> list[int]:
        await asyncio.sleep(0.01)
        return list(items)

    gathered = Gathered(flush, max_items=10, linger_ms=1)
    impatient = asyncio.create_task(gathered.submit(1))
    patient = asyncio.create_task(gathered.submit(2))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == 2


async def test_what_a_caller_gave_up_before_its_turn_is_left_out_where_that_is_wanted() -> None:
    turn, flushed = asyncio.Event(), list[int]()

    async def flush(items: Sequence[int]) -> Sequence[int]:
        flushed.extend(items)
        await turn.wait()
        return items

    gathered: Gathered[int, int] = Gathered(flush, max_items=10, linger_ms=0, drops_cancelled=True)
    first = asyncio.create_task(gathered.submit(1))
    await asyncio.sleep(0.01)
    given_up, kept = asyncio.create_task(gathered.submit(2)), asyncio.create_task(gathered.submit(3))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.sleep(0)
    turn.set()
    assert list(await asyncio.gather(first, kept)) == [1, 3]
    assert flushed == [1, 3]
