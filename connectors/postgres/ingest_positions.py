"""Where an ingester stands, per topic id and partition: the range it planned, and what is done. See migration 0100."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

# A server on the same network answers in milliseconds; past this it is away, and the ingester waits and says so.
CONNECT_TIMEOUT_SECONDS = 10


class FencedError(Exception):
    """Another ingester took over partitions that this one still thought its own: it must stop, and start anew."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A partition's standing at the moment it was claimed. Offsets are the next to read; ``planned_end`` is exclusive."""

    topic: str
    topic_id: str
    partition: int
    next_offset: int
    planned_end: int | None
    epoch: int


@dataclass(frozen=True, slots=True)
class Advance:
    """What changes for one partition: all before ``next_offset`` is inserted, ``[next_offset, planned_end)`` comes next."""

    topic_id: str
    partition: int
    epoch: int
    next_offset: int
    planned_end: int | None


class IngestPositions:
    """The positions of one sink. One connection, used by one thread; reconnects where the server went away."""

    def __init__(self, dsn: str, sink: str) -> None:
        self._dsn = dsn
        self._sink = sink
        self._connection: psycopg.Connection | None = None

    def claim(self, partitions: Sequence[tuple[str, str, int]]) -> list[Claimed]:
        """Take over ``(topic, topic_id, partition)``: raises each one's epoch, so a former owner's next advance fails."""
        connection = self._connected()
        with connection.transaction():
            rows = connection.execute(
                """INSERT INTO ingest_positions AS p (sink, topic, topic_id, partition)
                   SELECT %s, * FROM unnest(%s::text[], %s::text[], %s::int[])
                   ON CONFLICT (sink, topic_id, partition) DO UPDATE SET epoch = p.epoch + 1, updated_at = now()
                   RETURNING topic, topic_id, partition, next_offset, planned_end, epoch""",
                (self._sink, *map(list, zip(*partitions, strict=True))),
            ).fetchall()
        return [Claimed(*row) for row in rows]

    def advance(self, changes: Sequence[Advance]) -> None:
        """Persist all changes or none. Raises FencedError where a partition is not ours any more, psycopg.Error."""
        if not changes:
            return
        connection = self._connected()
        with connection.transaction():
            updated = connection.execute(
                """UPDATE ingest_positions p
                   SET next_offset = c.next_offset, planned_end = c.planned_end, updated_at = now()
                   FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[], %s::bigint[])
                        AS c (topic_id, partition, epoch, next_offset, planned_end)
                   WHERE p.sink = %s AND p.topic_id = c.topic_id AND p.partition = c.partition AND p.epoch = c.epoch""",
                (
                    [change.topic_id for change in changes],
                    [change.partition for change in changes],
                    [change.epoch for change in changes],
                    [change.next_offset for change in changes],
                    [change.planned_end for change in changes],
                    self._sink,
                ),
            ).rowcount
            if updated != len(changes):
                raise FencedError(f"{len(changes) - updated} of {len(changes)} partitions have a new owner")

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed or self._connection.broken:
            self._connection = psycopg.connect(self._dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS)
        return self._connection
