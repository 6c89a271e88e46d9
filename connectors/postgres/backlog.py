"""What waits in Postgres, for the exporter: the outbox' unpublished rows, and receipts of unknown messages."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

import psycopg

from connectors.metrics import catalogue
from connectors.metrics.counting import Labels, Read, Source, one
from connectors.postgres.pool import connect
from connectors.settings import Settings

# However often and by however many we are asked, Postgres is asked once in this time, and answers within the other.
REFRESH_SECONDS = 5.0
STATEMENT_MS = 2_000
PROVIDERS = ("twilio", "sendgrid")


class Waiting(NamedTuple):
    """What waited when Postgres was asked. ``receipts``: (provider, state) → rows, state ``parked`` or ``quarantined``."""

    outbox_rows: int
    outbox_oldest_seconds: float
    receipts: dict[tuple[str, str], int]


class Backlog:
    """Asks on a connection of its own, in the exporter's thread: the relay's loop neither waits for it nor holds it up."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._connection: psycopg.Connection | None = None
        self._seen: Waiting | None = None
        self._seen_at = float("-inf")

    def waiting(self) -> Waiting:
        """At most REFRESH_SECONDS old. Raises psycopg.Error while Postgres is away, never an old answer instead."""
        with self._lock:
            if time.monotonic() - self._seen_at > REFRESH_SECONDS:
                self._seen = self._ask()
                self._seen_at = time.monotonic()
            assert self._seen is not None  # noqa: S101 - for the type checker: just set, or raised
            return self._seen

    @property
    def sources(self) -> list[Source]:
        """For the exporter."""

        def receipts() -> list[tuple[Labels, float]]:
            return list(self.waiting().receipts.items())

        return [
            Read(catalogue.OUTBOX_ROWS, one(lambda: self.waiting().outbox_rows)),
            Read(catalogue.OUTBOX_AGE, one(lambda: self.waiting().outbox_oldest_seconds)),
            Read(catalogue.RECEIPTS_WAITING, receipts),
        ]

    def _ask(self) -> Waiting:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._settings, "relay-metrics")
            self._connection.execute(f"SET statement_timeout = {STATEMENT_MS}")
        try:
            [(rows, oldest_seconds)] = self._connection.execute(
                """SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
                   FROM outbox WHERE published_at IS NULL"""
            ).fetchall()
            found = self._connection.execute(
                """SELECT provider, CASE WHEN quarantined_at IS NULL THEN 'parked' ELSE 'quarantined' END, count(*)
                   FROM parked_receipts GROUP BY 1, 2"""
            ).fetchall()
        except psycopg.OperationalError:
            self._connection.close()
            raise
        receipts = {(provider, state): 0 for provider in PROVIDERS for state in ("parked", "quarantined")}
        return Waiting(rows, max(0.0, oldest_seconds), receipts | {(p, state): count for p, state, count in found})
