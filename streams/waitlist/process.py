"""``python -m streams coordinator``: the coordinator as a process, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial

import psycopg
import uvloop
from confluent_kafka import Consumer, KafkaException, Message
from psycopg_pool import PoolTimeout

from connectors.collector import collect_rarely
from connectors.kafka import is_record, make_consumer
from connectors.kafka_diagnosis import why_not
from connectors.kafka_lag import ConsumerLag
from connectors.metrics.counting import Source
from connectors.metrics.exporter import exporting
from connectors.postgres.pool import open_pool
from connectors.postgres.records import Records
from connectors.readiness import mark_ready
from connectors.sealing import KeyRingError, SealError
from connectors.settings import Settings
from connectors.waitlist.answering import now_ms
from connectors.waitlist.keeping import SlotKeyGone, SlotRows
from schemas.topics import event_topic
from streams.catalog import Catalog
from streams.waitlist.backlog import Backlog
from streams.waitlist.coordinator import SETTLE, Coordinator
from streams.waitlist.letters import Letters, UnopenableSlot, Unreadable
from streams.what_if import NoPolicy

log = logging.getLogger(__name__)

NAME = "coordinator"
TOPIC = event_topic("waitlist.slot_available")
# How late an event is noticed at most, and how fast SIGTERM is obeyed.
POLL_SECONDS = 0.2
BATCH_RECORDS = 100
# A slot that another process changed (the API: declined) is noticed so late; what is due later is slept towards exactly.
LOOK_SECONDS = 0.25
# One that was killed is given up after so long; meanwhile its partitions wait, not what is due. The least that brokers allow.
SESSION_TIMEOUT_MS = 6_000
BACKOFF_SECONDS = 1.0
# Before the first look: for the group to give us partitions, and then for what lies on them.
LISTEN_FIRST_SECONDS = 10.0
SETTLE_SECONDS = 1.0
POOL_CONNECTIONS = 4
# What passes: Postgres restarts, `luxe up` has not stored the first policy yet, a key ring is being put in place. (A SealError
# that comes so far is of the ring, or of the key that dead letters need: `_hear` buries what is wrong with one slot alone.)
PASSING = (psycopg.OperationalError, PoolTimeout, NoPolicy, SealError, KeyRingError)


def run(settings: Settings) -> int:
    """Coordinate until signalled; the exit status. Raises CatalogError, KeyRingError, RegistryError."""
    try:
        uvloop.run(_serve(settings))
    except psycopg.OperationalError as error:
        log.error("Postgres does not answer (%s); run `luxe status`", type(error).__name__)  # noqa: TRY400 — says all
        return 70  # EX_SOFTWARE of sysexits.h: starting again is the mend
    except KafkaException as error:
        log.error("Kafka: %s; run `luxe status`", why_not(settings, error.args[0]))  # noqa: TRY400 — says all
        return 70
    return 0


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    records, types, lag = Records.open(settings), Catalog.load(), ConsumerLag()
    consumer = make_consumer(settings, NAME, session_timeout_ms=SESSION_TIMEOUT_MS, **lag.config)
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()

    def assigned(*_: object) -> None:
        loop.call_soon_threadsafe(ready.set)

    consumer.subscribe([TOPIC], on_assign=assigned)
    try:
        # Urgent: a patient waits for the answer, and her half an hour runs.
        async with open_pool(settings, NAME, size=POOL_CONNECTIONS, urgent=True) as pool:
            rows = SlotRows(records, settings.pages_url)
            coordinator = Coordinator(pool, records, types, rows, timedelta(seconds=settings.waitlist_window_seconds))
            letters = Letters(pool, records, types)
            backlog = Backlog(BATCH_RECORDS, SETTLE.total_seconds())
            sources: list[Source] = [
                coordinator.told,
                coordinator.skipped,
                coordinator.late,
                letters.counted,
                lag.source,
            ]
            collect_rarely()
            with exporting(settings, NAME, sources):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_listen(consumer, coordinator, letters, backlog, stop))
                    tasks.create_task(_keep_time(coordinator, backlog, ready, stop))
                    tasks.create_task(_tell_ready(settings, ready, stop))
    except* (psycopg.OperationalError, KafkaException) as group:
        raise group.exceptions[0] from None
    finally:
        await asyncio.to_thread(consumer.close)


async def _tell_ready(settings: Settings, ready: asyncio.Event, stop: asyncio.Event) -> None:
    await _first(ready, stop)
    if not stop.is_set():
        mark_ready(settings, NAME)


async def _listen(
    consumer: Consumer, coordinator: Coordinator, letters: Letters, backlog: Backlog, stop: asyncio.Event
) -> None:
    """Events, each finished before its offset is committed."""
    while not stop.is_set():
        messages = await asyncio.to_thread(consumer.consume, BATCH_RECORDS, POLL_SECONDS)
        backlog.read(len(messages), time.monotonic())
        heard = [message for message in messages if is_record(message)]
        for message in heard:
            if not await _until_done(partial(_hear, message, coordinator, letters), stop):
                return  # not finished: read again by whoever is next
        if heard:
            with suppress(
                KafkaException
            ):  # the partitions went to another, who reads these again: that changes nothing
                await asyncio.to_thread(consumer.commit, asynchronous=False)


async def _hear(message: Message, coordinator: Coordinator, letters: Letters) -> None:
    now = now_ms()
    try:
        event = letters.read(message, now)
    except Unreadable:
        return  # intake, which reads the same records by the same checks, has made its dead letter
    try:
        await coordinator.hear(event, now)
    except SealError as error:
        if error.code == "unknown_kek":
            raise
        log.error("a waitlist's slot cannot be opened (%s); its event is a dead letter now", error.code)  # noqa: TRY400
        await letters.bury(message, event, UnopenableSlot(error), now)
    except SlotKeyGone as error:
        log.error("a waitlist's slot cannot be opened (%s); its event is a dead letter now", error.code)  # noqa: TRY400
        await letters.bury(message, event, error, now)
    except PASSING:
        raise
    except Exception as error:
        log.exception("an event of a waitlist cannot be handled; it is a dead letter now")
        await letters.bury(message, event, error, now)


async def _keep_time(coordinator: Coordinator, backlog: Backlog, ready: asyncio.Event, stop: asyncio.Event) -> None:
    """Slots, each when it is due; first hearing what was said while nobody was here, if Kafka is not away."""
    with suppress(TimeoutError):
        await asyncio.wait_for(_first(ready, stop), LISTEN_FIRST_SECONDS)
        await asyncio.wait_for(stop.wait(), SETTLE_SECONDS)
    ahead_seconds = 0.0

    async def look() -> None:
        nonlocal ahead_seconds
        if ahead_seconds := backlog.seconds_left(time.monotonic()):
            return
        while await coordinator.turn(now_ms()):
            pass
        due_at = await coordinator.next_due()
        ahead_seconds = LOOK_SECONDS if due_at is None else (due_at - now_ms()).total_seconds()

    while await _until_done(look, stop):
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), min(LOOK_SECONDS, max(0.01, ahead_seconds)))


async def _until_done(work: Callable[[], Awaitable[None]], stop: asyncio.Event) -> bool:
    """Do it, again and again while what passes has not passed; False when stopped before."""
    told = False
    while not stop.is_set():
        try:
            await work()
        except PASSING as error:
            if not told:
                log.warning("waiting: %s", type(error).__name__)
                told = True
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), BACKOFF_SECONDS)
        else:
            return True
    return False


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
