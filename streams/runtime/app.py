"""The app: Faust's, with our data plane under it.

Faust gives the group, its rebalancing, the supervision of the agent and the signals between them. What an agent's stream
yields, and what becomes of it, is ours.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from typing import Any, NoReturn, cast

import faust
import uvloop
from faust.app.base import BootStrategy

from connectors.collector import collect_rarely
from connectors.metrics.counting import Source
from connectors.metrics.exporter import exporting
from connectors.settings import Settings
from streams.runtime import mends
from streams.runtime.batch import DeadLetter
from streams.runtime.clients import Topics
from streams.runtime.clock import SettledClock
from streams.runtime.consumer import BatchedConsumer, Transport, plane_of
from streams.runtime.counted import sources_of
from streams.runtime.errors import FatalError, end_process
from streams.runtime.instance import claim
from streams.runtime.metrics import Metrics
from streams.runtime.partition import Plan
from streams.runtime.plane import DataPlane
from streams.runtime.store import block_cache
from streams.runtime.stream import Batches, PartitionStream
from streams.runtime.tuning import Tuning
from streams.runtime.view import View
from streams.runtime.watchdog import REBALANCE_SECONDS, Watchdog

log = logging.getLogger(__name__)

Agent = Callable[[Batches], Awaitable[None]]

# The client's own bound for a member that does not fetch, after which it leaves the group. A worker without a partition
# never fetches, and our watchdog looks after the others: this must only not interfere.
_MAX_POLL_SECONDS = 7 * 24 * 3600.0
_READY_DIRECTORY = "ready"
_REPEAT_SECONDS = 10.0
_CHATTY = ("aiokafka", "aiokafka.consumer.fetcher", "aiokafka.consumer.group_coordinator", "aiokafka.conn")


class _BootStrategy(BootStrategy):
    """Faust's command line starts its web server whatever ``web_enabled`` says, and its /table shows table data. Never here."""

    enable_web = False
    enable_kafka_producer = False  # ours is one for each partition


class _FaustApp(faust.App):
    """Faust's app with our transport."""

    BootStrategy = _BootStrategy
    plane: DataPlane

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)


class _Worker(faust.Worker):
    """Faust's worker without its terminal decoration, with a SIGTERM that drains, and a crash that is one.

    Stock mode, told of a crash, stops every service in turn, and waits for ever for one that hangs.
    """

    def _crash(self, reason: BaseException) -> None:
        end_process(reason)

    def _setproctitle(self, info: str, *, ident: str = "") -> None:
        """The process keeps the title it was started with: supervisors know it by that."""

    def _install_signal_handlers_unix(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self._drain)

    def _drain(self) -> None:
        plane_of(self.app).spawn(self._drain_and_exit())

    async def _drain_and_exit(self) -> None:
        await plane_of(self.app).drain()
        log.info("drained; ending")
        logging.shutdown()
        os._exit(os.EX_OK)


class RuntimeApp:
    """One app. Give it its agent, then run it: ``@app.agent``, ``app.run()``."""

    def __init__(
        self,
        name: str,
        *,
        inputs: Sequence[str],
        changelog: str,
        settings: Settings,
        dead_letter: DeadLetter,
        views: Sequence[View],
        partitions: int,
        tuning: Tuning,
        clock_ms: Callable[[], int],
    ) -> None:
        self.name = name
        self.metrics = Metrics()
        self.sources: list[Source] = []  # what the agent's own work counts, for the exporter
        self._inputs = tuple(inputs)
        self._changelog, self._settings, self._dead_letter = changelog, settings, dead_letter
        self._views, self._partitions, self._tuning, self._clock_ms = tuple(views), partitions, tuning, clock_ms
        self.faust = _FaustApp(
            name,
            broker=[f"kafka://{server.strip()}" for server in settings.kafka_bootstrap.split(",")],
            store="memory://",
            datadir=settings.state_dir / "streams" / name,
            Stream=PartitionStream,
            stream_wait_empty=False,
            topic_partitions=partitions,
            topic_allow_declare=False,  # topics are made by `luxe topics`
            topic_disable_leader=True,
            key_serializer="raw",
            value_serializer="raw",
            consumer_auto_offset_reset="earliest",
            broker_session_timeout=tuning.session_timeout_seconds,
            broker_heartbeat_interval=tuning.heartbeat_seconds,
            broker_rebalance_timeout=REBALANCE_SECONDS,
            broker_max_poll_interval=_MAX_POLL_SECONDS,
            broker_commit_interval=tuning.commit_hint_seconds,
        )

    def agent(self, body: Agent) -> Agent:
        """Registers the agent: a coroutine function over one partition's batches. An error that leaves it ends the process."""
        topic = self.faust.topic(*self._inputs, key_type=bytes, value_type=bytes, partitions=self._partitions)

        async def run(batches: Batches) -> None:
            await body(batches)
            await batches.commit()
            if not batches.ended:
                raise FatalError("the agent ended; it must go on for as long as batches come")

        async def partitions(stream: AsyncIterable[Batches]) -> None:
            async for batches in stream:
                self.faust.plane.spawn(run(batches))

        self.faust.agent(topic, name=self.name, concurrency=1)(partitions)
        return body

    def run(self) -> NoReturn:
        """Runs until SIGTERM (exit status 0 after a drain) or until it cannot go on (see errors.py for the statuses)."""
        _default_logging()
        mends.apply()
        settings = self._settings
        ready_file = settings.state_dir / _READY_DIRECTORY / os.environ.get("LUXE_SERVICE_NAME", self.name)
        ready_file.parent.mkdir(parents=True, exist_ok=True)
        ready_file.unlink(missing_ok=True)
        try:
            instance = claim(settings.state_dir / "streams", self.name, self._tuning.instance)
            plan = Plan(
                app=self.name,
                inputs=self._inputs,
                changelog=self._changelog,
                folder=instance.folder,
                settings=settings,
                tuning=self._tuning,
                topics=Topics(settings),
                cache=block_cache(self._tuning),
                metrics=self.metrics,
                dead_letter=self._dead_letter,
                clock_ms=self._clock_ms,
            )
            self._check_partitions(plan)
            for view in self._views:
                view.start(plan, end_process)
        except FatalError as error:
            end_process(error)
        plane = self.faust.plane = DataPlane(plan, self._views, ready_file, instance.member_id)
        plane.attach(lambda: cast(BatchedConsumer, self.faust.consumer))
        self.faust.on_partitions_assigned.connect(_once(Watchdog(plane, end_process).start), weak=False)
        self.faust.on_partitions_revoked.connect(_receiver(plane.revoked), weak=False)
        self.faust.on_partitions_assigned.connect(_receiver(plane.assigned), weak=False)
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        worker = _Worker(self.faust, loop=loop, quiet=True, redirect_stdouts=False, override_logging=False)
        worker.spinner = None
        collect_rarely()
        with exporting(settings, self.name, [*sources_of(plane), *self.sources]):
            worker.execute_from_commandline()
        raise AssertionError("unreachable")

    def _check_partitions(self, plan: Plan) -> None:
        for topic, (_, count) in plan.topics.describe([*self._inputs, self._changelog]).items():
            if count != self._partitions:
                raise FatalError(
                    f"topic {topic} has {count} partitions, the app {self.name} needs {self._partitions} of each: "
                    "make them equal with `luxe topics`"
                )


def build_app(
    name: str,
    *,
    inputs: Sequence[str],
    changelog: str,
    settings: Settings,
    dead_letter: DeadLetter,
    partitions: int,
    views: Sequence[View] = (),
    tuning: Tuning | None = None,
    clock_ms: Callable[[], int] | None = None,
) -> RuntimeApp:
    """An app that reads ``inputs`` (same key, same ``partitions`` each), keeps state behind ``changelog`` and joins ``views``.

    ``dead_letter(subject, error, batch)`` makes the output that keeps an event which cannot be handled; it must not fail.
    ``clock_ms``: now, in ms since the epoch, for timers and decisions; None: the machine's, settled.
    """
    tuning = tuning or Tuning()
    return RuntimeApp(
        name,
        inputs=inputs,
        changelog=changelog,
        settings=settings,
        dead_letter=dead_letter,
        views=views,
        partitions=partitions,
        tuning=tuning,
        clock_ms=clock_ms or SettledClock(tuning.clock_settle_seconds),
    )


def _receiver(handler: Callable[[Any], Awaitable[None]]) -> Any:
    async def receive(_app: Any, tps: Any, **_: Any) -> None:
        await handler(tps)

    return receive


def _once(action: Callable[[], None]) -> Any:
    pending = [action]

    async def receive(*_: Any, **__: Any) -> None:
        if pending:
            pending.pop()()

    return receive


class _Once(logging.Filter):
    """Lets the same message of a logger pass once in a while: without a broker, aiokafka says the same 30 times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._told.get(record.msg, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return False
        self._told[record.msg] = now
        return True


def _default_logging() -> None:
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for name in ("faust", "mode", "aiokafka"):  # at DEBUG they print keys and values
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _CHATTY:
        logging.getLogger(name).addFilter(_Once())
