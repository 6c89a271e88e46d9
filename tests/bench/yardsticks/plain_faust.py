"""Faust as its manual shows it: `async for` over a stream, a Table, `await topic.send(…)` for each output. Not exactly once."""

from __future__ import annotations

import os
import sys
from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any

import faust
import uvloop

from connectors.settings import Settings
from schemas.topics import REQUESTED
from streams.runtime.records import Headers
from tests.bench.yardsticks.work import Stopwatch, Task, as_record, hop_work, renamed, wall_clock_ms, work_on


class TableRows:
    """A Faust table. It has no order, so what is scanned is kept sorted beside it, timers' index apart."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._sorted: list[bytes] = []

    def get(self, row: bytes) -> bytes | None:
        found: bytes | None = self._table.get(row)
        return found

    def put(self, row: bytes, value: bytes) -> None:
        if row not in self._table:
            insort(self._sorted, row)
        self._table[row] = value

    def delete(self, row: bytes) -> None:
        if row in self._table:
            del self._sorted[bisect_left(self._sorted, row)]
            del self._table[row]

    def index(self, row: bytes, present: bool) -> None:
        """Faust has timers of its own; nothing is due in this run."""

    def items(self, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        for row in self._sorted[bisect_left(self._sorted, start) :]:
            yield row, self._table[row]


def main() -> None:
    task, settings = Task.given(), Settings()
    work, watch = hop_work(task.hop, settings), Stopwatch(task.events)
    uvloop.install()
    app = faust.App(
        task.group,
        broker=f"kafka://{settings.kafka_bootstrap}",
        store="memory://",
        datadir=task.folder,
        web_enabled=False,
        topic_partitions=settings.kafka_partitions,
        topic_replication_factor=1,
        consumer_auto_offset_reset="earliest",
        broker_max_poll_records=2000,
        key_serializer="raw",
        value_serializer="raw",
    )
    source = app.topic(task.source, key_type=bytes, value_type=bytes)
    rows = TableRows(app.Table("state", partitions=settings.kafka_partitions, key_type=bytes, value_type=bytes))
    outputs: dict[str, Any] = {}
    topic = "events.appointment" if task.hop == "intake" else REQUESTED

    made: list[tuple[str, bytes | None, bytes | None, Headers | None]] = []

    def emit(to: str, key: bytes | None, value: bytes | None, headers: Headers | None) -> None:
        made.append((to, key, value, headers))

    @app.agent(source)
    async def hop(stream: Any) -> None:
        async for event in stream.events():
            watch.start()
            message = event.message
            record = as_record(
                topic,
                message.partition,
                message.offset,
                message.key,
                message.value,
                int(message.timestamp * 1000),
                dict(message.headers or {}).items(),
            )
            made.clear()
            work_on(work, [record], (), wall_clock_ms(), rows, emit)
            for to, key, value, headers in made:
                if to not in outputs:
                    outputs[to] = app.topic(renamed(to, task), key_type=bytes, value_type=bytes)
                await outputs[to].send(key=key, value=value, headers=dict(headers or ()))
            watch.outputs += len(made)
            watch.done += 1
            if watch.is_over:
                await app.producer.flush()
                watch.tell()
                os._exit(0)

    sys.argv[1:] = ["worker", "--without-web", "-l", "warn"]
    app.main()


if __name__ == "__main__":
    main()
