"""The relay: publishes outbox rows to Kafka, each key's in the order of their ids, and marks them once Kafka has them.

Rows of interactive writers are urgent: they go before the others, and take with them what is older under their keys.

One relay works, any other waits for its lock. Each batch is a Kafka transaction under the database's own transactional id:
should a relay lose its lock without noticing, its successor's first act fences it, so that an old row never lands after a
newer one. Killed between Kafka's commit and the mark, a relay publishes that batch again: the same records in the same order,
at the end of compacted topics, where the last value of a key is what counts. See docs/adr/0005-outbox.md.

Whoever waits for a gate is told that it is in force when the sinks can read it, not when it is committed (ADR 33).
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from threading import Event
from typing import Any, LiteralString, NamedTuple

import psycopg
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from connectors.kafka import make_producer
from connectors.kafka_diagnosis import why_not
from connectors.kafka_visible import Visible
from connectors.metrics.catalogue import OUTBOX_PUBLISHED, RELAY_LEADS
from connectors.metrics.counting import Read, Source, one
from connectors.postgres.outbox import WRITERS_LOCK
from connectors.postgres.outbox_sealing import opened
from connectors.postgres.pool import connect, where
from connectors.sealing import KeyRing, SealError
from connectors.sealing.keyring import KeyRingError
from connectors.settings import Settings
from schemas.topics import AGGREGATE_GATES, GATES

log = logging.getLogger(__name__)

RELAY_LOCK = 7305808869232276

# A batch is one Kafka transaction (~5 ms) and one update; thousands of rows make both cheap per row.
BATCH_ROWS = 4_000
# How many urgent rows go at once: a few milliseconds' work, so that the first of them is not kept by the last.
URGENT_ROWS = 500
# Bounds memory: rows of many megabytes come in batches of few.
BATCH_BYTES = 32 * 1024 * 1024
# Woken by NOTIFY; this is how late a lost one is noticed, and how fast SIGTERM is obeyed.
POLL_SECONDS = 0.5
STANDBY_POLL_SECONDS = 0.5
# A writer's transaction takes milliseconds: look again soon.
WRITERS_POLL_SECONDS = 0.002
SLOW_WRITER_SECONDS = 5.0
KAFKA_TIMEOUT_SECONDS = 10.0
FIRST_BACKOFF_SECONDS = 0.25
LAST_BACKOFF_SECONDS = 5.0
PROGRESS_SECONDS = 10.0
HOUSEKEEPING_SECONDS = 30.0
# Opt-outs wait while house is kept, so a relay that has rows to publish does it rarely; yet never to have time must not mean
# never to do it: receipts are quarantined then, and tables cut back.
BUSY_HOUSEKEEPING_SECONDS = 120.0
# Published rows are kept a while, to be looked at when something seems to be missing.
RETENTION_SECONDS = 3600
DELETE_ROWS = 10_000

_GATES = frozenset({GATES, AGGREGATE_GATES})

_HOLDERS = """
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 1 AND classid = %s AND objid = %s
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_HOLDERS_ARGUMENTS = (WRITERS_LOCK >> 32, WRITERS_LOCK & 0xFFFFFFFF)

_NEXT_ROWS = """
    SELECT id, topic, key, value, headers, created_at_ms, sealed
    FROM (
        SELECT id, topic, key, value, headers, sealed, (extract(epoch FROM created_at) * 1000)::bigint AS created_at_ms,
               sum(octet_length(value)) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
        FROM outbox WHERE published_at IS NULL AND id <= %s ORDER BY id LIMIT %s
    ) AS head
    WHERE coalesce(before, 0) < %s ORDER BY id
"""

# Urgent rows, and before each whatever is older under its key: a prefix of every key's rows, so that no key's order changes.
# It waits for no writer: whoever adds for a key holds that key's own lock until the end (outbox.py), so that all rows of a key
# that are older than one to be seen are to be seen too.
_URGENT_ROWS = """
    WITH urgent AS (
        SELECT topic, key, max(id) AS up_to FROM (
            SELECT topic, key, id FROM outbox WHERE published_at IS NULL AND urgent ORDER BY id LIMIT %s
        ) AS head GROUP BY topic, key
    )
    SELECT o.id, o.topic, o.key, o.value, o.headers, (extract(epoch FROM o.created_at) * 1000)::bigint, o.sealed
    FROM urgent u JOIN outbox o ON o.topic = u.topic AND o.key = u.key AND o.id <= u.up_to AND o.published_at IS NULL
    ORDER BY o.id
"""
# Wakes whoever waits for its rows to be in Kafka: in_force.py.
_MARK = """
    WITH marked AS (
        UPDATE outbox SET published_at = clock_timestamp() WHERE id = ANY(%s) RETURNING id
    )
    SELECT pg_notify('luxe_outbox_published', %s) FROM (SELECT count(*) FROM marked) AS done
"""
# A NOTIFY carries less than 8,000 bytes; whoever waits looks for itself when the ids do not fit.
NOTIFIED_BYTES = 7_900


class _Row(NamedTuple):
    id: int
    topic: str
    key: bytes
    value: bytes | None
    headers: dict[str, str]
    created_at_ms: int
    sealed: bool


class Relay:
    """One relay process' work. ``housekeeping``: called about twice a minute, with the connection, while it leads."""

    def __init__(
        self,
        settings: Settings,
        *,
        on_ready: Callable[[], None] = lambda: None,
        housekeeping: Callable[[psycopg.Connection], None] = lambda connection: None,
        batch_rows: int = BATCH_ROWS,
        retention_seconds: int = RETENTION_SECONDS,
    ) -> None:
        self._settings = settings
        self._on_ready = on_ready
        self._housekeeping = housekeeping
        self._batch_rows = batch_rows
        self._retention_seconds = retention_seconds
        self._published = 0
        self._reported = 0
        self._reported_at = time.monotonic()
        self._leads = False
        self._kept_house_at = float("-inf")
        self._ring: KeyRing | None = None
        self._visible = Visible(settings)

    @property
    def sources(self) -> list[Source]:
        """For the exporter."""
        return [
            Read(OUTBOX_PUBLISHED, one(lambda: self._published)),
            Read(RELAY_LEADS, one(lambda: int(self._leads))),
        ]

    def run(self, stop: Event) -> None:
        """Work until ``stop``. Kafka or Postgres away: says so, and tries again with rising pauses; nothing is skipped."""
        backoff = FIRST_BACKOFF_SECONDS
        while not stop.is_set():
            before = self._published
            try:
                with connect(self._settings, "relay") as connection:
                    self._leads = self._lead(connection, stop)
                    if self._leads:
                        self._serve(connection, stop)
            except psycopg.OperationalError as error:
                log.warning("Postgres at %s: %s; trying again", where(self._settings), type(error).__name__)
            except KafkaException as error:
                log.warning(
                    "Kafka at %s: %s; trying again, rows wait in the outbox",
                    self._settings.kafka_bootstrap,
                    why_not(self._settings, error.args[0]),
                )
            except (SealError, KeyRingError) as error:
                log.error("a sealed outbox row cannot be opened (%s): it waits, and all behind it", error)  # noqa: TRY400
            self._leads = False
            if self._published != before:
                backoff = FIRST_BACKOFF_SECONDS
            stop.wait(backoff)
            backoff = min(backoff * 2, LAST_BACKOFF_SECONDS)

    def _lead(self, connection: psycopg.Connection, stop: Event) -> bool:
        """Wait to become the one relay; False when stopped before that."""
        waited = False
        while not stop.is_set():
            if _one(connection, "SELECT pg_try_advisory_lock(%s)", RELAY_LOCK):
                return True
            if not waited:
                log.info("another relay is at work; standing by")
                self._on_ready()
                waited = True
            stop.wait(STANDBY_POLL_SECONDS)
        return False

    def _serve(self, connection: psycopg.Connection, stop: Event) -> None:
        connection.execute("LISTEN luxe_outbox")  # migration 0001 notifies it
        transactional_id = _one(connection, "SELECT transactional_id FROM outbox_publisher")
        producer = make_producer(self._settings, transactional_id=transactional_id, linger_ms=0)
        producer.init_transactions(KAFKA_TIMEOUT_SECONDS)
        log.info("publishing the outbox of %s to %s", where(self._settings), self._settings.kafka_bootstrap)
        self._on_ready()
        while not stop.is_set():
            count = self._publish_urgent(connection, producer, stop)
            count += self._publish_others(connection, producer, stop)
            self._report()
            self._keep_house(connection, idle=count == 0)
            if count == 0:
                producer.poll(0)  # it says that Kafka is away though there is nothing to publish
                for _wake in connection.notifies(timeout=POLL_SECONDS, stop_after=1):
                    pass

    def _publish_urgent(self, connection: psycopg.Connection, producer: Producer, stop: Event) -> int:
        """Publish what somebody waits for; how many rows."""
        rows = [_Row(*row) for row in connection.execute(_URGENT_ROWS, (URGENT_ROWS,))]
        return self._publish(connection, producer, rows, stop)

    def _publish_others(self, connection: psycopg.Connection, producer: Producer, stop: Event) -> int:
        """Publish the rows at the head of the outbox; how many."""
        return self._publish(connection, producer, self._next_rows(connection, producer, stop), stop)

    def _publish(self, connection: psycopg.Connection, producer: Producer, rows: list[_Row], stop: Event) -> int:
        """All of them reach Kafka, or none; then they are marked: gates once sinks can read them. How many; 0 when stopped."""
        if not rows:
            return 0
        values = [self._value(row) for row in rows]
        gates: dict[tuple[str, int], int] = {}

        def placed(_: KafkaError | None, message: Message) -> None:
            gates[message.topic() or "", message.partition() or 0] = message.offset() or 0

        producer.begin_transaction()
        for row, value in zip(rows, values, strict=True):
            headers = {"occurred_at_ms": str(row.created_at_ms)} | row.headers
            try:
                producer.produce(
                    row.topic,
                    value,
                    row.key,
                    headers=[(name, text.encode()) for name, text in headers.items()],
                    timestamp=row.created_at_ms,
                    on_delivery=placed if row.topic in _GATES else None,
                )
            except KafkaException:
                log.warning("outbox row %d for %s cannot be published; all behind it wait", row.id, row.topic)
                raise
        producer.flush(KAFKA_TIMEOUT_SECONDS)
        producer.commit_transaction(KAFKA_TIMEOUT_SECONDS)
        if gates and not self._visible.wait(gates, stop):
            return 0  # published again by whoever is next, in the same order
        ids = [row.id for row in rows]
        told = " ".join(map(str, ids))
        connection.execute(_MARK, (ids, told if len(told) <= NOTIFIED_BYTES else ""))
        self._published += len(rows)
        return len(rows)

    def _value(self, row: _Row) -> bytes | None:
        """As it goes to Kafka."""
        if not row.sealed or row.value is None:
            return row.value
        if self._ring is None:
            self._ring = KeyRing.load(self._settings.kek_path)
        return opened(self._ring, row.topic, row.value)

    def _next_rows(self, connection: psycopg.Connection, producer: Producer, stop: Event) -> list[_Row]:
        """The first unpublished rows, with none missing before the last; none where all that wait are urgent."""
        highest = _one(
            connection,
            """SELECT max(id) FROM (
                   SELECT id FROM outbox WHERE published_at IS NULL AND NOT urgent ORDER BY id LIMIT %s) AS head""",
            self._batch_rows,
        )
        if highest is None or not self._writers_are_done(connection, producer, stop):
            return []
        found = connection.execute(_NEXT_ROWS, (highest, self._batch_rows, BATCH_BYTES)).fetchall()
        return [_Row(*row) for row in found]

    def _writers_are_done(self, connection: psycopg.Connection, producer: Producer, stop: Event) -> bool:
        """Wait for every transaction that may hold an id below one already seen; False when stopped before that.

        Urgent rows go on meanwhile: a writer may take its time.
        """
        since = time.monotonic()
        warned = False
        writers = _holders(connection)
        while writers:
            if stop.wait(WRITERS_POLL_SECONDS):
                return False
            self._publish_urgent(connection, producer, stop)
            writers &= _holders(connection)
            if not warned and time.monotonic() - since > SLOW_WRITER_SECONDS:
                log.warning("%d transactions keep the outbox waiting for over %g s", len(writers), SLOW_WRITER_SECONDS)
                warned = True
        return True

    def _report(self) -> None:
        now = time.monotonic()
        if self._published == self._reported or now - self._reported_at < PROGRESS_SECONDS:
            return
        log.info("published %d records, %d in all", self._published - self._reported, self._published)
        self._reported, self._reported_at = self._published, now

    def _keep_house(self, connection: psycopg.Connection, *, idle: bool) -> None:
        now = time.monotonic()
        if not house_is_due(now - self._kept_house_at, idle=idle):
            return
        self._kept_house_at = now
        delete_published(connection, self._retention_seconds, most_steps=None if idle else 1)
        self._housekeeping(connection)


def house_is_due(seconds_since: float, *, idle: bool) -> bool:
    """Whether the tables are cut back now. ``idle``: nothing is left to publish. Pure."""
    return seconds_since >= (HOUSEKEEPING_SECONDS if idle else BUSY_HOUSEKEEPING_SECONDS)


def delete_published(connection: psycopg.Connection, older_than_seconds: int, *, most_steps: int | None = None) -> int:
    """Delete rows published longer ago than that, in steps that hold no lock for long, all of them or so many; how many rows."""
    deleted = 0
    for step in itertools.count(1):
        count = connection.execute(
            """DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT %s)
               AND published_at < now() - make_interval(secs => %s)""",
            (DELETE_ROWS, older_than_seconds),
        ).rowcount
        deleted += count
        if count < DELETE_ROWS or step == most_steps:
            break
    return deleted


def _one(connection: psycopg.Connection, query: LiteralString, *arguments: Any) -> Any:
    row = connection.execute(query, arguments).fetchone()
    return None if row is None else row[0]


def _holders(connection: psycopg.Connection) -> set[str]:
    """The transactions that have added to the outbox and have not ended."""
    return {transaction for (transaction,) in connection.execute(_HOLDERS, _HOLDERS_ARGUMENTS)}
