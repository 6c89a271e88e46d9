"""Each mend of Faust, mode and aiokafka: what goes wrong without it, and that it no longer does."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka.consumer.fetcher import Fetcher
from faust.transport.consumer import Consumer
from intervaltree import IntervalTree  # type: ignore[import-untyped]  # it ships no types
from mode.utils.queues import FlowControlEvent, FlowControlQueue

from streams.runtime import mends
from streams.runtime.app import _FaustApp

mends.apply()


async def test_resuming_an_active_flow_keeps_what_is_queued() -> None:
    flow = FlowControlEvent(initially_suspended=False)
    queue: FlowControlQueue[int] = FlowControlQueue(flow_control=flow, clear_on_resume=True)
    await asyncio.wait_for(queue.put(1), 1)
    flow.resume()
    assert queue.qsize() == 1


async def test_resuming_a_suspended_flow_still_clears_and_opens() -> None:
    flow = FlowControlEvent(initially_suspended=False)
    queue: FlowControlQueue[int] = FlowControlQueue(flow_control=flow, clear_on_resume=True)
    await asyncio.wait_for(queue.put(1), 1)
    flow.suspend()
    flow.resume()
    assert queue.empty()
    assert flow.is_active()


def consumer(acked: list[int], committed: int | None, gaps: list[tuple[int, int]]) -> Any:
    """What Consumer._new_offset looks at."""
    tree = IntervalTree()
    for begin, end in gaps:
        tree.addi(begin, end)
    return SimpleNamespace(
        _acked=defaultdict(list, {"tp": list(acked)}),
        _acked_index=defaultdict(set, {"tp": set(acked)}),
        _gap=defaultdict(IntervalTree, {"tp": tree}),
        _committed_offset=defaultdict(lambda: None, {"tp": committed}),
    )


@pytest.mark.parametrize(
    ("acked", "committed", "gaps", "expected"),
    [
        ([32, 33], 31, [], None),  # the stock function says 34: it commits over 31, which is still in work
        ([31, 32], 31, [], 33),
        ([33], 31, [], None),
        ([32, 33], 31, [(31, 32)], 34),  # offset 31 is a control record: there is nothing to wait for
        ([1, 2, 4], None, [], 3),
        ([], 31, [], None),
    ],
)
def test_offsets_are_not_committed_over_a_hole(
    acked: list[int], committed: int | None, gaps: list[tuple[int, int]], expected: int | None
) -> None:
    new_offset: Any = Consumer._new_offset
    assert new_offset(consumer(acked, committed, gaps), "tp") == expected


def test_no_web_server_is_started_whatever_the_command_line_would_do() -> None:
    stock: Any = faust.App("stock", broker="kafka://127.0.0.1:1", store="memory://", web_enabled=False)
    ours: Any = _FaustApp("ours", broker="kafka://127.0.0.1:1", store="memory://", web_enabled=False)
    for app in (stock, ours):
        app.conf.web_enabled = True  # what `faust worker` sets by default, over what the app was told
    assert list(stock.boot_strategy.web_server()) != []
    assert list(ours.boot_strategy.web_server()) == []


async def test_the_membership_fetches_nothing_and_ends_when_cancelled() -> None:
    routine: Any = Fetcher._fetch_requests_routine
    fetching = asyncio.create_task(routine(SimpleNamespace()))  # the stock one would ask it for its assignment
    await asyncio.sleep(0)
    assert not fetching.done()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
