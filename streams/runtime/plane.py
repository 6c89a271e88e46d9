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
from streams.runtime.metrics import Metrics
from streams.runtime.partition import Partition, Phase, Plan
from streams.runtime.records import Record
from streams.runtime.stream import Batches
from streams.runtime.view import View

log = logging.getLogger(__name__)

T = TypeVar("T")

# A wall clock can be set, and a broker can go away and come back: no partition sleeps longer without looking.
_MAX_WAIT_SECONDS = 5.0


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
        self._seek_numbers = itertools.count(1)
        self._room = asyncio.Event()  # something may be fetched
        self._hinted: dict[TP, int] = {}
        self.rebalancing_since: float | None = None  # on the monotonic clock, for the watchdog

    def attach(self, consumer: Callable[[], BatchedConsumer]) -> None:
        """How to find Faust's consumer (it is made late)."""
        self._consumer = consumer

    @property
    def thread(self) -> Any:
        """The consumer's thread."""
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
        for partition in self.partitions.values():
            if partition.phase is Phase.RUNNING:
                partition.phase = Phase.SUSPENDED
            partition.clear_queue()
            partition.seeks.clear()

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
        partition.clear_queue()
        positions = {TP(topic, partition.number): partition.next_offset(topic) for topic in self.plan.inputs}
        sought = await self._seek(partition, positions)
        if generation != self._generation or len(sought) < len(positions):
            return  # another rebalance came in between; it starts this partition
        partition.phase = Phase.RUNNING
        partition.progress_at = time.monotonic()
        partition.work.set()
        self._room.set()
        running = sum(one.phase is Phase.RUNNING for one in self.partitions.values())
        self.metrics.partitions = running
        if running == len(self._mine):
            log.info("running %d partitions", running)
            self._ready_file.touch()

    async def _seek(self, partition: Partition, positions: Mapping[TP, int | None]) -> dict[TP, int]:
        numbered = {tp: (next(self._seek_numbers), position) for tp, position in positions.items()}
        for tp, (number, _) in numbered.items():
            partition.seeks[tp.topic] = number  # before the seek: nothing fetched after it may be turned away
        sought: dict[TP, int] = await self.thread.seek_all(numbered)
        for tp, offset in sought.items():
            position = positions[tp]
            if position is not None and offset > position:
                self.metrics.positions_lost += 1
                log.error(
                    "LOST INPUT: %s[%d] was read to %d, but its log begins at %d: retention deleted unread records; lengthen it",
                    *tp,
                    position,
                    offset,
                )
        return sought

    def out_of_range(self, offsets: Mapping[Any, int]) -> None:
        """The log no longer holds what is to be fetched next: retention was faster than we. Loud, and on from its start."""
        for tp, offset in offsets.items():
            partition = self.partitions.get(tp.partition)
            if partition is not None and partition.phase is Phase.RUNNING:
                self.spawn(self._fetch_from_start(partition, TP(*tp), offset))

    async def _fetch_from_start(self, partition: Partition, tp: TP, offset: int) -> None:
        await self._seek(partition, {tp: offset})

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
        for view in self.views:
            view.stop()

    # -- fetching -----------------------------------------------------------------------------------------------------

    async def wanted(self, timeout_seconds: float) -> list[TP]:
        """The partitions that have room, after waiting for one for at most ``timeout_seconds``."""
        found = self._with_room()
        if not found:
            self._room.clear()
            try:
                await asyncio.wait_for(self._room.wait(), timeout_seconds)
            except TimeoutError:
                return []
            found = self._with_room()
        return found

    def _with_room(self) -> list[TP]:
        inputs = self.plan.inputs
        return [
            TP(topic, number)
            for number, partition in self.partitions.items()
            if partition.phase is Phase.RUNNING and not partition.paused
            for topic in inputs
        ]

    def accept(self, tp: TP, seek: int, records: list[Record]) -> None:
        """Queues what was fetched, unless it was fetched before its partition's last seek."""
        partition = self.partitions.get(tp.partition)
        if partition is None or partition.seeks.get(tp.topic) != seek:
            return
        partition.accept(records)
        if partition.is_full:
            partition.paused = True
        partition.work.set()

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
            if not partition.has_work(now_ms):
                await self._wait_for_work(partition, now_ms)
                continue
            batch = partition.begin(now_ms)
            if partition.paused and partition.has_room:
                partition.paused = False
                self._room.set()
            if batch is not None:
                self.metrics.batches += 1
                return batch

    async def _wait_for_work(self, partition: Partition, now_ms: int) -> None:
        wait_seconds = _MAX_WAIT_SECONDS
        if partition.phase is Phase.RUNNING and (due_ms := partition.earliest_due_ms()) is not None:
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
        self.metrics.commit_ms_max = max(self.metrics.commit_ms_max, took_ms)

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
