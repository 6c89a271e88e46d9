"""Keeps patients' standings from events, exactly once in effect: positions are written in the transaction of what was read.

One process projects, any other stands by. The lock that makes it the one is held by the connection that writes: whoever lost the
lock without noticing can write no more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from connectors.kafka import ADMIN_TIMEOUT_SECONDS, is_record, make_consumer
from connectors.kafka_admin import topic_ids
from connectors.kafka_diagnosis import why_not
from connectors.postgres.pool import connect_async, where
from connectors.postgres.records import Records
from connectors.segments import standings
from connectors.segments.facts import EVENT_TYPES
from connectors.segments.standing import Standing, folded
from connectors.segments.telling import PATIENT_PREFIX, SOURCE
from connectors.settings import Settings
from schemas.codec import CodecError
from schemas.events import EVENT_TYPES as CONTRACTS
from schemas.validation import check_event

log = logging.getLogger(__name__)

PROJECTION = "segments"
TOPICS = tuple(sorted({CONTRACTS[event_type].topic for event_type in EVENT_TYPES}))
_BY_RECORD = {CONTRACTS[event_type].record: event_type for event_type in EVENT_TYPES}
PROJECTION_LOCK = 7305808869232283

# A transaction of 500 events is ~100 ms of work.
BATCH_RECORDS = 500
POLL_SECONDS = 1.0
STANDBY_SECONDS = 2.0
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.5, 10.0
# How long, and how often, a rebuild waits for the lead once who had it is ended: one that stood by may be faster. 10 s in all.
REBUILD_WAIT_MS, REBUILD_TRIES = 500, 20

_END_LEADER = b"""SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND classid = %s AND objid = %s AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""

Position = tuple[str, int]
"""Topic id and partition."""


class LeadTakenError(Exception):
    """Others came to lead again and again: nothing was forgotten."""


class Projection:
    """Reads events into standings until cancelled. ``projected`` and ``unusable`` count since the start."""

    def __init__(self, settings: Settings, records: Records, on_ready: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._records = records
        self._on_ready = on_ready
        self.projected = 0
        self.unusable = 0
        self.leads = False

    async def run(self) -> None:
        """Work for ever. Kafka or Postgres away: says so and tries again with rising pauses; nothing is skipped."""
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            before = self.projected
            try:
                async with await connect_async(self._settings, "segments") as connection:
                    await self._lead(connection)
                    await self._follow(connection)
            except psycopg.OperationalError as error:
                log.warning("Postgres at %s: %s; trying again", where(self._settings), type(error).__name__)
            except KafkaException as error:
                said = await asyncio.to_thread(why_not, self._settings, error.args[0])
                log.warning("Kafka at %s: %s; trying again", self._settings.kafka_bootstrap, said)
            except LookupError as error:
                log.warning("%s; trying again", error)
            self.leads = False
            backoff = FIRST_BACKOFF_SECONDS if self.projected != before else min(backoff * 2, LAST_BACKOFF_SECONDS)
            await asyncio.sleep(backoff)

    async def _lead(self, connection: psycopg.AsyncConnection) -> None:
        waited = False
        while True:
            cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (PROJECTION_LOCK,))
            if await cursor.fetchone() == (True,):
                self.leads = True
                return
            if not waited:
                log.info("another process projects; standing by")
                self._on_ready()
                waited = True
            await asyncio.sleep(STANDBY_SECONDS)

    async def _follow(self, connection: psycopg.AsyncConnection) -> None:
        consumer = make_consumer(self._settings, "luxe-segments")
        try:
            ids = await asyncio.to_thread(topic_ids, self._settings, TOPICS)
            await self._start(connection, consumer, ids)
            log.info("projecting %s", ", ".join(TOPICS))
            self._on_ready()
            while True:
                messages = await _consumed(consumer)
                if messages:
                    await self.project(connection, [one for one in messages if is_record(one)], ids)
                else:
                    await connection.execute("SELECT 1")  # an idle one must notice too that its lock was taken away
        finally:
            consumer.close()

    async def _start(self, connection: psycopg.AsyncConnection, consumer: Consumer, ids: Mapping[str, str]) -> None:
        known = (await asyncio.to_thread(partial(consumer.list_topics, timeout=ADMIN_TIMEOUT_SECONDS))).topics
        missing = [topic for topic in TOPICS if topic not in ids or topic not in known]
        if missing:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"no topic {', '.join(missing)}"))
        read = await positions(connection)
        consumer.assign(
            [
                TopicPartition(topic, partition, read.get((ids[topic], partition), 0))
                for topic in TOPICS
                for partition in known[topic].partitions
            ]
        )

    async def project(
        self, connection: psycopg.AsyncConnection, messages: Sequence[Message], ids: Mapping[str, str]
    ) -> None:
        """Fold a batch into the standings, and note how far it was read. Raises psycopg.Error, SealError, LookupError."""
        if not messages:
            return
        now = datetime.now(UTC)
        events: dict[str, list[Mapping[str, Any]]] = {}
        ends: dict[tuple[str, int], int] = {}
        for message in messages:
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            if topic is None or partition is None or offset is None:
                raise KafkaException(KafkaError(KafkaError._BAD_MSG, "a record without its place"))
            ends[topic, partition] = offset + 1
            event = self._event(message, now)
            if event is not None:
                events.setdefault(PATIENT_PREFIX + event["patient_id"], []).append(event)
        async with connection.transaction():
            await standings.change(
                connection,
                self._records,
                {recipient: partial(_all_folded, told, now) for recipient, told in events.items()},
                {recipient: told[-1]["clinic_id"] for recipient, told in events.items()},
            )
            await _note(connection, [(ids[topic], partition, topic, end) for (topic, partition), end in ends.items()])
        self.projected += len(messages)

    def _event(self, message: Message, now: datetime) -> Mapping[str, Any] | None:
        """The event, where it is one that counts. What cannot be used, intake has put among the dead letters."""
        try:
            decoded = self._records.codec.decode(message.value())
        except CodecError as error:
            self.unusable += 1
            log.warning(
                "a record on %s cannot be read (%s); intake keeps it as a dead letter", message.topic(), error.code
            )
            return None
        event_type = _BY_RECORD.get(decoded.name)
        if event_type is None or decoded.value["source"] == SOURCE:
            return None
        if check_event(decoded.name, decoded.value, now):
            self.unusable += 1
            log.warning("an event on %s is impossible; intake keeps it as a dead letter", message.topic())
            return None
        return decoded.value


async def positions(connection: psycopg.AsyncConnection) -> dict[Position, int]:
    """The next offset to read, by topic id and partition."""
    cursor = await connection.execute(
        "SELECT topic_id, partition, next_offset FROM projection_positions WHERE projection = %s", (PROJECTION,)
    )
    return {(topic_id, partition): offset for topic_id, partition, offset in await cursor.fetchall()}


async def rebuild(connection: psycopg.AsyncConnection) -> int:
    """Forget how far was read: all that Kafka still has is read again, onto what is there; how many partitions.

    The process that projects is made to begin anew: its connection is ended, and it comes back. Raises psycopg.Error;
    LeadTakenError where others come to lead REBUILD_TRIES times meanwhile.
    """
    async with connection.transaction():
        await _interrupt(connection)
        deleted = await connection.execute("DELETE FROM projection_positions WHERE projection = %s", (PROJECTION,))
    return deleted.rowcount


async def _interrupt(connection: psycopg.AsyncConnection) -> None:
    """End whoever leads and take the lead for this transaction, so that nobody who had read positions writes them back."""
    await connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{REBUILD_WAIT_MS}ms",))
    for left in reversed(range(REBUILD_TRIES)):
        await connection.execute(_END_LEADER, (PROJECTION_LOCK >> 32, PROJECTION_LOCK & 0xFFFFFFFF))
        try:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", (PROJECTION_LOCK,))
                return
        except psycopg.errors.LockNotAvailable as error:
            if not left:
                raise LeadTakenError(
                    f"{REBUILD_TRIES} times somebody else came to lead, and nothing was forgotten"
                ) from error
            # Whoever stood by has come to lead before us, and holds it for as long as it lives.


async def _consumed(consumer: Consumer) -> list[Message]:
    """What comes within POLL_SECONDS. Whoever is cancelled meanwhile waits for that: a consumer in use is not to be closed."""
    polling = asyncio.create_task(asyncio.to_thread(consumer.consume, BATCH_RECORDS, POLL_SECONDS))
    try:
        return await asyncio.shield(polling)
    except asyncio.CancelledError:
        await polling
        raise


def _all_folded(told: Sequence[Mapping[str, Any]], now: datetime, standing: Standing) -> Standing:
    for event in told:
        standing = folded(standing, event, now.date())
    return standing


async def _note(connection: psycopg.AsyncConnection, read: Sequence[tuple[str, int, str, int]]) -> None:
    await connection.execute(
        """INSERT INTO projection_positions (projection, topic_id, partition, topic, next_offset)
           SELECT %s, * FROM unnest(%s::text[], %s::int[], %s::text[], %s::bigint[])
           ON CONFLICT (projection, topic_id, partition) DO UPDATE SET next_offset = excluded.next_offset""",
        (PROJECTION, *map(list, zip(*read, strict=True))),
    )
