"""A time limit that holds while Postgres stands still.

psycopg, cancelled in a query, asks the server to end it and waits for that, up to 10 s more: under ``asyncio.timeout`` a caller
would wait as long. Here the work is cancelled and left to end by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

Result = TypeVar("Result")

# The loop itself holds tasks weakly.
_left: set[asyncio.Task[Any]] = set()


async def within(seconds: float, work: Awaitable[Result]) -> Result:
    """What the work returns or raises; TimeoutError when it takes longer, while it is still being cancelled."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            _left.add(task)
            task.add_done_callback(_forget)
    if not task.done():
        raise TimeoutError
    return task.result()


def _forget(task: asyncio.Task[Any]) -> None:
    _left.discard(task)
    if not task.cancelled():
        task.exception()  # its caller was answered already; or the loop would report it as nobody's
