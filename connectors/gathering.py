"""Group commit: many small writes become few batched ones, without a caller knowing of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Gathered(Generic[Item, Result]):
    """Hands items to ``flush`` in batches. One flush runs at a time; what comes meanwhile is the next batch.

    So an idle sink writes single rows at once (after ``linger_ms``), a busy one writes what gathered: the batch finds its own
    size. ``flush`` returns one result an item, in order, or raises for the whole batch. ``drops_cancelled``: an item whose
    caller was cancelled before its batch began is left out.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Coroutine[Any, Any, Sequence[Result]]],
        *,
        max_items: int,
        linger_ms: float,
        drops_cancelled: bool = False,
    ) -> None:
        self._drops_cancelled = drops_cancelled
        self._flush = flush
        self._max_items = max_items
        self._linger_seconds = linger_ms / 1000
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._runner: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Put one item into the next batch and wait for its result. Raises what flushing the batch raised."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        return await done

    async def _run(self) -> None:
        try:
            while self._waiting:
                if self._linger_seconds and len(self._waiting) < self._max_items:
                    await asyncio.sleep(self._linger_seconds)
                if self._drops_cancelled:
                    self._waiting = [waiting for waiting in self._waiting if not waiting[1].cancelled()]
                batch, self._waiting = self._waiting[: self._max_items], self._waiting[self._max_items :]
                if batch:
                    await self._flush_batch(batch)
        finally:
            self._runner = None

    async def _flush_batch(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        flushing = asyncio.get_running_loop().create_task(self._flush([item for item, _ in batch]))
        await asyncio.wait([flushing])
        error = flushing.exception()
        if error is not None:
            for _, done in batch:
                if not done.done():
                    done.set_exception(error)
            return
        for (_, done), result in zip(batch, flushing.result(), strict=True):
            if not done.done():  # its caller may have been cancelled meanwhile
                done.set_result(result)
