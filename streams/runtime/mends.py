"""Mends of Faust 0.15.3, mode 0.7.1 and aiokafka 0.14.0, each held by a regression test that fails without it.

The versions are pinned exactly: read this file again when one of them moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiokafka.consumer.fetcher import Fetcher
from faust.transport.consumer import Consumer
from faust.utils.functional import consecutive_numbers
from mode.utils.queues import FlowControlEvent


def resume(self: Any) -> None:
    """FlowControlEvent.resume cleared live queues even when flow was active; recovery calls it, and buffered events vanished."""
    if self._suspend.is_set():
        self.clear()
        self._suspend.clear()
        self._resume.set()


def new_offset(self: Any, tp: Any) -> int | None:
    """Consumer._new_offset took the committed offset for the last one done, but it is the next: a hole of one was passed over."""
    acked: list[int] = self._acked[tp]
    if not acked:
        return None
    gaps = self._gap[tp]  # offsets that the log never held for us: control records, compacted away
    missing = [offset for gap in gaps.overlap(0, max(acked)) for offset in range(gap.begin, gap.end)]
    if missing:
        gaps.chop(0, max(*missing, max(acked) + 1))
        acked.extend(missing)
    acked.sort()
    committed = self._committed_offset[tp]
    if committed and acked[0] > committed:
        return None
    done = next(consecutive_numbers(acked))
    acked[: len(done)] = []
    self._acked_index[tp].difference_update(done)
    return int(done[-1]) + 1


async def fetch_nothing(_self: Any) -> None:
    """aiokafka fetches whatever it is assigned. Ours is the membership only; this is cancelled when that ends."""
    await asyncio.Event().wait()


_MENDS: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
    (FlowControlEvent, "resume", resume),
    (Consumer, "_new_offset", new_offset),
    (Fetcher, "_fetch_requests_routine", fetch_nothing),
)


def apply() -> None:
    """Mends the libraries in this process. Idempotent."""
    for owner, name, mended in _MENDS:
        setattr(owner, name, mended)
