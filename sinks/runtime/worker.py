"""A sink process: one channel, all its lanes. Starts when the gates are known, ends in order, dies rather than guess."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from connectors.metrics.counting import Source
from connectors.metrics.exporter import exporting
from connectors.postgres.pool import open_pool
from connectors.postgres.records import Records
from connectors.readiness import mark_ready
from connectors.refusal_alarms import AlarmLog, RefusalAlarms
from connectors.settings import Settings
from connectors.statuses import AcknowledgedProducer, StatusLog
from connectors.webhooks.counted import Counted as WebhookCounted
from connectors.webhooks.desk import Desk
from schemas.topics import LANES
from sinks.runtime.admission import Admission
from sinks.runtime.alarms import Alarms
from sinks.runtime.allowance import Allowance
from sinks.runtime.attempts import Attempts
from sinks.runtime.channel import Channel, Shared
from sinks.runtime.counted import Counted
from sinks.runtime.dead_letters import DeadLetters
from sinks.runtime.delivering import Delivering
from sinks.runtime.devices import Devices
from sinks.runtime.form_files import FormFiles
from sinks.runtime.gates_reader import GatesReader
from sinks.runtime.in_flight import Taken
from sinks.runtime.keys import Keys
from sinks.runtime.lanes import Lane
from sinks.runtime.later_schemas import LaterSchemas
from sinks.runtime.limits import ChannelLimits, RateLimits
from sinks.runtime.overdue import Overdue
from sinks.runtime.short_links import LinkStore
from sinks.runtime.standing import Standing
from sinks.runtime.text_questions import QuestionStore
from sinks.runtime.tools import Tools
from sinks.runtime.tuning import Tuning

log = logging.getLogger(__name__)

# Keys, ledger begins, ledger ends, suppressions, inboxes, rate limits and forms: each asks for one batch at a time.
POOL_CONNECTIONS = 8


class Worker:
    """One channel's lanes and the tasks of what they took."""

    def __init__(self, settings: Settings, tools: Tools, producer: AcknowledgedProducer, failed: asyncio.Future[None]):
        self._tools = tools
        self._producer = producer
        self._failed = failed
        self._delivering = Delivering(tools)
        self._tasks: set[asyncio.Task[None]] = set()
        self._settings = settings
        self.lanes: list[Lane] = []  # those started

    def _start_lanes(self) -> None:
        loop = asyncio.get_running_loop()
        channel = self._tools.channel.name
        for name in LANES:
            lane = Lane(
                self._settings,
                self._tools.tuning,
                channel=channel,
                lane=name,
                loop=loop,
                take=self._take,
                leaving=self._tools.admission.look,
            )
            lane.start()
            self.lanes.append(lane)

    def hold(self, held: bool) -> None:
        """Let the lanes take nothing for a while."""
        for lane in self.lanes:
            lane.hold(held)

    def _take(self, batch: Sequence[Taken]) -> None:
        for taken in batch:
            task = asyncio.create_task(self._delivering.deliver(taken))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def run(self, stop: asyncio.Event, serving: Callable[[], None]) -> None:
        """Deliver until ``stop``, then end what is in flight. Raises what made going on unsafe."""
        gates = self._tools.gates
        gates.start()
        try:
            await _first_of(gates.caught_up(), stop.wait())
            if not stop.is_set():
                self._start_lanes()
                serving()
            ends = (lane.ended() for lane in self.lanes)
            await _first_of(stop.wait(), _error_of(self._failed), gates.ended(), *ends)
            await self._end(drain=True)
        except BaseException:
            await self._end(drain=False)
            raise
        finally:
            gates.stop()

    async def _end(self, *, drain: bool) -> None:
        for lane in self.lanes:
            lane.stop(drain=drain)
        if not drain:
            self._give_up()
        await asyncio.gather(*(lane.ended() for lane in self.lanes), return_exceptions=not drain)
        # Whoever has not ended by now must not go on without its offset, its connections and its ledger.
        self._give_up()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tools.admission.close()
        unacknowledged = await self._producer.settle(self._tools.tuning.drain_seconds if drain else 1.0)
        if unacknowledged:
            log.warning(
                "%d statuses were not acknowledged by Kafka; their messages are looked at again", unacknowledged
            )

    def _give_up(self) -> None:
        """Stop the tasks that still run; a call that one was in is an unknown outcome to whoever takes it up."""
        for task in self._tasks:
            task.cancel()


async def _first_of(*waiting: Coroutine[Any, Any, Any]) -> None:
    """Wait for the first to end, give the others up; raise its error, if that is how it ended."""
    tasks = [asyncio.create_task(one) for one in waiting]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for task in done:
        task.result()


async def _error_of(failed: asyncio.Future[None]) -> None:
    await asyncio.shield(failed)  # a waiter that gives up must not end it


class Beside(Protocol):
    """What a channel's process does beside its lanes; it never fails."""

    def sources(self) -> list[Source]:
        """For the exporter."""

    async def run(self) -> None:
        """Until cancelled."""

    async def close(self) -> None:
        """Give back what it opened."""


OpenChannel = Callable[[Settings, Tuning], Channel]
OpenBeside = Callable[[Settings, Tools], Beside | None]


@asynccontextmanager
async def _running(beside: Beside | None) -> AsyncIterator[None]:
    task = None if beside is None else asyncio.create_task(beside.run())
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def serve(
    settings: Settings,
    tuning: Tuning,
    open_channel: OpenChannel,
    *,
    stop: asyncio.Event,
    open_beside: OpenBeside = lambda *_: None,
) -> None:
    """Run one channel's sink until ``stop``; ``open_beside``: what else its process does.

    Raises KafkaException, psycopg.Error, KeyRingError, RegistryError, pydantic.ValidationError.
    """
    limits = RateLimits()
    records = Records.open(settings)
    codec = records.codec
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(error: Exception) -> None:
        if not failed.done():
            failed.set_exception(error)

    channel = open_channel(settings, tuning)
    try:
        async with open_pool(settings, f"sinks-{channel.name}", size=POOL_CONNECTIONS) as pool:
            producer = AcknowledgedProducer(settings, on_failure=fail, linger_ms=tuning.status_linger_ms)
            channel.use(Shared(pool, records, producer))
            keys = Keys(pool, records, tuning)
            counted = Counted(channel.name)
            later = LaterSchemas(channel.name)
            statuses = StatusLog(producer, codec)
            desk = Desk(settings, pool, records, statuses, RefusalAlarms(AlarmLog(producer, codec)), WebhookCounted())
            standing = Standing(settings, channel.name)
            allowance = Allowance(pool, ChannelLimits(limits, channel.name), tuning, failed=fail)
            admission = Admission(
                channel=channel.name,
                provider=channel.provider,
                tuning=tuning,
                alarms=Alarms(producer, codec, channel=channel.name, provider=channel.provider),
                allowance=allowance,
                hold=lambda held: worker.hold(held),
                tell=standing.tell,
            )
            tools = Tools(
                channel=channel,
                tuning=tuning,
                records=records,
                pool=pool,
                keys=keys,
                devices=Devices(pool, tuning),
                gates=GatesReader(settings, codec, later, stale_seconds=tuning.gates_stale_seconds),
                admission=admission,
                attempts=Attempts(
                    pool, channel.provider, tuning, counted, lease_seconds=tuning.lease_seconds(channel.name)
                ),
                forms=FormFiles(pool, tuning),
                links=LinkStore(settings, pool, records.ring, tuning),
                questions=QuestionStore(pool, records, keys, tuning),
                statuses=statuses,
                dead_letters=DeadLetters(producer, codec, keys, stage=channel.name, counted=counted),
                counted=counted,
                later=later,
                overdue=Overdue(channel, admission, pool, statuses, desk, tuning),
            )
            worker = Worker(settings, tools, producer, failed)
            beside = open_beside(settings, tools)
            sources = [
                *counted.sources(worker.lanes, lambda: tools.gates.age_seconds, admission),
                *allowance.sources(),
                *(tools.forms.sources(admission.room) if channel.name == "email" else ()),
                later.source,
                *(() if beside is None else beside.sources()),
            ]
            try:
                standing.tell(admission.standing())  # whatever an earlier process left there is over
                await standing.written()
                async with _running(beside):
                    with exporting(settings, channel.name, sources):
                        await worker.run(stop, lambda: _serving(settings, channel.name))
            finally:
                if beside is not None:
                    await beside.close()
                await allowance.close()
                await standing.written()
    finally:
        await channel.close()


def _serving(settings: Settings, channel: str) -> None:
    log.info("%s: delivering", channel)
    mark_ready(settings, channel)


async def serve_until_signalled(
    settings: Settings, tuning: Tuning, open_channel: OpenChannel, open_beside: OpenBeside = lambda *_: None
) -> None:
    """``serve`` until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, tuning, open_channel, stop=stop, open_beside=open_beside)
