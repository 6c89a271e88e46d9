"""The data plane of one app in one process: which partitions run, what is fetched, what is worked on next.

All of it happens on the event loop, but for what blocks (opening, committing, closing), which runs in threads.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from faust.types import TP

from streams.runtime.batch import Batch
from streams.runtime.consumer import BatchedConsumer
from streams.runtime.errors import FatalError, end_process
from streams.runtime.fetching import Fetched, Fetcher, Place
from streams.runtime.metrics import Metrics
from streams.runtime.partition import Partition, Phase, Plan
from streams.runtime.stream import Batches
from streams.runtime.view import View

log = logging.getLogger(__name__)

T = TypeVar("T")

# After a commit, before the partition's next transaction. The broker answers before all markers are written, refuses what comes
# too early, and librdkafka then waits 20 ms. Other partitions work meanwhile, and what comes in is one transaction, not two.
_REST_SECONDS = 0.005
# A wall clock can be set, and a broker can go away and come back: no partition sleeps longer without looking.
_MAX_WAIT_SECONDS = 1.0
_CATCH_UP_SECONDS = 0.05  # between two looks whether the input of an absence was worked on


class DataPlane:
    """See the module. ``ready_file`` is touched when all partitions of the first assignment run."""

    def __init__(self, plan: Plan, views: Sequence[View], ready_file: Path, member_id: str) -> None:
        self.plan = plan
        self.member_id = member_id
        self.tuning = plan.tuning
        self.metrics: Metrics = plan.metrics
        self.views = views
        self._ready_file = ready_file
        self._consumer: Callable[[], BatchedConsumer] | None = None
        self.partitions: dict[int, Partition] = {}
        self._mine: frozenset[int] = frozenset()
        self._generation = 0
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(plan.tuning.commit_threads, thread_name_prefix="partition")
        self._opened: asyncio.Queue[Partition] = asyncio.Queue()
        self._beginnings = itertools.count(1)
        self.fetcher = Fetcher(
            plan.settings, plan.tuning, accept=self._fetched, lost=self._out_of_range, on_error=end_process
        )
        self._hinted: dict[TP, int] = {}
        self.rebalancing_since: float | None = None  # on the monotonic clock, for the watchdog

    def attach(self, consumer: Callable[[], BatchedConsumer]) -> None:
        """How to find Faust's consumer (it is made late)."""
        self._consumer = consumer

    @property
    def thread(self) -> Any:
        """The thread of the group's membership."""
        if self._consumer is None:
            raise FatalError("the data plane was not attached to a consumer")
        return self._consumer()._thread

    # -- membership ---------------------------------------------------------------------------------------------------

    async def revoked(self, _tps: Iterable[TP]) -> None:
        """A rebalance begins: nothing new is started, what is in flight ends. Partitions stay open: most come back at once."""
        self.rebalancing_since = time.monotonic()
        self._suspend()
        try:
            await asyncio.wait_for(self._idle(), self.tuning.drain_seconds)
        except TimeoutError:
            log.warning("a batch is in work for more than %.0f s; its next owner fences it", self.tuning.drain_seconds)

    def _suspend(self) -> None:
        self._generation += 1
        self._mine = frozenset()
        self.fetcher.end()
        for partition in self.partitions.values():
            if partition.phase is Phase.RUNNING:
                partition.phase = Phase.SUSPENDED
            partition.clear_queue()
            partition.beginnings.clear()

    async def _idle(self) -> None:
        await asyncio.gather(*(partition.idle.wait() for partition in self.partitions.values()))

    async def assigned(self, tps: Iterable[TP]) -> None:
        """A rebalance ended. Opening and closing go on beside it, so that the next one never waits for a restore."""
        self._generation += 1
        self.rebalancing_since = None
        self.metrics.rebalances += 1
        self._mine = frozenset(tp.partition for tp in tps)
        for view in self.views:
            view.follow(self._mine)
        for number in self._mine | set(self.partitions):
            self.spawn(self._settle(number, self._generation))
        if not self._mine:
            self._ready_file.touch()

    @property
    def opening(self) -> int:
        """Partitions of ours that are being fenced or restored."""
        return len(self._mine - set(self.partitions.copy()))

    async def _settle(self, number: int, generation: int) -> None:
        async with self._locks[number]:
            partition = self.partitions.get(number)
            if number not in self._mine:
                if partition is not None:
                    await self._close(partition)
                return
            if partition is None:
                partition = Partition(self.plan, number)
                described = await self.in_thread(self.plan.topics.describe, [*self.plan.inputs, self.plan.changelog])
                await self.in_thread(partition.open, described)
                partition.phase = Phase.SUSPENDED
                self.partitions[number] = partition
                self._opened.put_nowait(partition)
            for view in self.views:
                await view.wait_ready(number)
            if generation == self._generation:
                await self._start(partition, generation)

    async def _start(self, partition: Partition, generation: int) -> None:
        positions = {(topic, partition.number): partition.next_offset(topic) for topic in self.plan.inputs}
        offsets = await self.in_thread(self._offsets, positions)
        ends = await self.in_thread(self.plan.topics.ends, positions)
        if generation != self._generation:
            return  # another rebalance came in between; it starts this partition
        partition.clear_queue()
        partition.catch_up({topic: ends[topic, partition.number] for topic in self.plan.inputs})
        self._begin(partition, offsets)
        partition.phase = Phase.RUNNING
        partition.progress_at = time.monotonic()
        partition.work.set()
        running = sum(one.phase is Phase.RUNNING for one in self.partitions.values())
        self.metrics.partitions = running
        if running == len(self._mine):
            log.info("running %d partitions", running)
            self._ready_file.touch()

    def _begin(self, partition: Partition, offsets: Mapping[Place, int]) -> None:
        begun = {place: (next(self._beginnings), offset) for place, offset in offsets.items()}
        for (topic, _), (number, _) in begun.items():
            partition.beginnings[topic] = number
        self.fetcher.start_in(asyncio.get_running_loop())
        self.fetcher.begin(begun)

    def _offsets(self, positions: Mapping[Place, int | None]) -> dict[Place, int]:
        """Where to read from: the position, or the log's beginning. Blocking. Raises FatalError for a log that ends before it."""
        starts, ends = self.plan.topics.starts(positions), self.plan.topics.ends(positions)
        found: dict[Place, int] = {}
        for place, position in positions.items():
            start, end = starts[place], ends[place]
            found[place] = start if position is None else max(position, start)
            if found[place] > end:  # going back would do again what is done, going on would skip what comes
                raise FatalError(
                    f"{place[0]}[{place[1]}] was read to {position}, but ends at {end}: the broker has lost records that it had "
                    "confirmed; look for an unclean leader election, and go on with a topic created anew"
                )
            if position is not None and start > position:
                self.metrics.positions_lost += 1
                log.error(
                    "LOST INPUT: %s[%d] was read to %d, but its log begins at %d: retention deleted unread records; lengthen it",
                    *place,
                    position,
                    start,
                )
        return found

    def _out_of_range(self, lost: Mapping[Place, int]) -> None:
        """The log no longer holds what is to be fetched next: retention was faster than we. Loud, and on from its start."""
        for place, offset in lost.items():
            partition = self.partitions.get(place[1])
            if partition is not None and partition.phase is Phase.RUNNING:
                self.spawn(self._fetch_from_start(partition, place, offset, self._generation))

    async def _fetch_from_start(self, partition: Partition, place: Place, offset: int, generation: int) -> None:
        offsets = await self.in_thread(self._offsets, {place: offset})
        if generation == self._generation and partition.phase is Phase.RUNNING:
            self._begin(partition, offsets)

    async def _close(self, partition: Partition) -> None:
        await partition.idle.wait()
        del self.partitions[partition.number]
        partition.phase = Phase.CLOSED
        partition.work.set()  # its agent's stream ends
        await self.in_thread(partition.close)

    async def drain(self) -> None:
        """Ends what is in flight, writes hints, closes all partitions: for a quick and clean SIGTERM."""
        self._suspend()
        try:
            await asyncio.wait_for(self._idle(), self.tuning.drain_seconds)
        except TimeoutError:
            log.warning("a batch is still in work after %.0f s; it is aborted", self.tuning.drain_seconds)
            return
        hints = self.take_hints()
        if hints:
            await self.thread.hint(hints)
        await asyncio.gather(*(self._close(partition) for partition in list(self.partitions.values())))
        self.fetcher.stop()
        for view in self.views:
            view.stop()

    # -- fetching -----------------------------------------------------------------------------------------------------

    def _fetched(self, fetched: Fetched) -> None:
        """Queues what was fetched, unless that was before its partition's last beginning."""
        for (topic, number), beginning, records in fetched:
            partition = self.partitions.get(number)
            if partition is None or partition.beginnings.get(topic) != beginning:
                continue
            partition.accept(records)
            if partition.is_full and not partition.paused:
                partition.paused = True
                self.fetcher.hold(self._places(partition))
            partition.work.set()

    def _places(self, partition: Partition) -> list[Place]:
        return [(topic, partition.number) for topic in self.plan.inputs]

    def take_hints(self) -> dict[TP, int]:
        """Positions that changed since the last call."""
        fresh: dict[TP, int] = {}
        for number, partition in self.partitions.items():
            for topic, offset in partition.hints():
                tp = TP(topic, number)
                if self._hinted.get(tp) != offset:
                    fresh[tp] = self._hinted[tp] = offset
        return fresh

    # -- working ------------------------------------------------------------------------------------------------------

    async def opened(self) -> AsyncIterator[Batches]:
        """The batches of each partition, as partitions are opened."""
        while True:
            yield Batches(self, await self._opened.get())

    async def next_batch(self, partition: Partition) -> Batch | None:
        """The partition's next batch; None when it was closed. Waits for input, or the precise moment a timer is due."""
        while True:
            await asyncio.sleep(0)  # the other partitions' turn
            if partition.is_closed:
                return None
            if partition.is_doubtful():
                await self.in_thread(partition.reassure)
                continue
            partition.work.clear()
            now_ms = self.plan.clock_ms()
            fires = partition.may_fire(self.fetcher.positions)
            if not partition.has_work(now_ms, timers=fires):
                await self._wait_for_work(partition, now_ms, fires)
                continue
            batch = partition.begin(now_ms, timers=fires)
            if partition.paused and partition.has_room:
                partition.paused = False
                self.fetcher.go_on(self._places(partition))
            if batch is not None:
                self.metrics.batches += 1
                return batch

    async def _wait_for_work(self, partition: Partition, now_ms: int, fires: bool) -> None:
        wait_seconds = _MAX_WAIT_SECONDS if fires else _CATCH_UP_SECONDS
        if fires and partition.phase is Phase.RUNNING and (due_ms := partition.earliest_due_ms()) is not None:
            wait_seconds = min(wait_seconds, (due_ms - now_ms) / 1000)
        alarm = asyncio.get_running_loop().call_later(max(wait_seconds, 0.001), partition.work.set)
        try:
            await partition.work.wait()
        finally:
            alarm.cancel()

    async def commit(self, partition: Partition, batch: Batch) -> None:
        """Commits what the agent has done, in a thread: the other partitions work on."""
        partition.worked(batch)
        began = time.monotonic()
        positions = await self.in_thread(partition.commit, batch)
        partition.committed(batch, positions)
        took_ms = (time.monotonic() - began) * 1000
        self.metrics.commits += 1
        self.metrics.commit_ms += took_ms
        self.metrics.commit_seconds.observe(took_ms / 1000, self.plan.app)
        self.metrics.commit_ms_max = max(self.metrics.commit_ms_max, took_ms)
        await asyncio.sleep(_REST_SECONDS)

    # -- tasks and threads --------------------------------------------------------------------------------------------

    async def in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Runs what blocks."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """A task whose error ends the process."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def fail(self, error: BaseException) -> NoReturn:
        """Ends the process."""
        end_process(error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            end_process(error)
