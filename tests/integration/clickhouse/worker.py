"""The ClickHouse sink on topics of a test's own, told to die at one step: `python -m … '{"topics": …, "die_at": …}'`.

Steps: before_plan (ranges cut, nothing persisted), after_plan (persisted, nothing inserted), within (one of several
inserts done), after_insert (all inserted, not persisted as done).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence

from connectors.clickhouse.client import apply_ddl, open_client, private_temporary_directory
from connectors.kafka import make_consumer
from connectors.logs import configure_logging
from connectors.postgres.ingest_positions import IngestPositions
from connectors.sealing import KeyCache, KeyRing
from connectors.settings import Settings
from schemas.codec import Codec
from schemas.registry import FileRegistry
from sinks.ingest.batches import Chunk, Shapes, Unreadable
from sinks.ingest.ingester import SINK, Ingester, Planned
from sinks.ingest.sealing import EventSealer


class DyingIngester(Ingester):
    """Kills its process at a step, the `turn`-th time it comes there."""

    die_at = ""
    turn = 1

    def _die(self, step: str) -> None:
        if step == self.die_at:
            self.turn -= 1
            if self.turn == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def _persist(self, planned: Sequence[Planned]) -> None:
        if planned:
            self._die("before_plan")
        super()._persist(planned)
        if planned:
            self._die("after_plan")

    def _insert(self, plan: Planned, found: Sequence[Chunk], unreadable: list[Unreadable]) -> None:
        super()._insert(plan, found, unreadable)
        self._die("within")

    def _await_insert(self) -> None:
        had = self._inserting is not None
        super()._await_insert()
        if had:
            self._die("after_insert")


def main() -> None:
    wanted = json.loads(sys.argv[1])
    settings = Settings()
    configure_logging("text")
    private_temporary_directory(settings)
    registry = FileRegistry()
    codec = Codec(registry)
    client = open_client(settings)
    apply_ddl(client)
    dsn = settings.postgres_dsn.get_secret_value()
    ingester = DyingIngester(
        make_consumer(
            settings, wanted["group"], enable_partition_eof=True, group_instance_id="0", session_timeout_ms=6000
        ),
        IngestPositions(dsn, SINK),
        client,
        Shapes(registry),
        codec,
        EventSealer(dsn, KeyCache(KeyRing.load(settings.kek_path)), codec),
        wanted["topics"],
        linger_seconds=0.1,
    )
    ingester.die_at, ingester.turn = wanted.get("die_at", ""), wanted.get("turn", 1)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if wanted.get("rows"):
        threading.Thread(target=_stop_when_in, args=(ingester, wanted["rows"], stop), daemon=True).start()
    ingester.run(stop)
    for query in wanted.get("queries", ()):
        print("RESULT", json.dumps(client.query(query).result_rows), flush=True)


def _stop_when_in(ingester: Ingester, rows: int, stop: threading.Event) -> None:
    """Stop when the store holds ``rows`` records (asked through a handle of its own), or after a minute."""
    client = open_client(Settings())
    for _ in range(600):
        found = client.query(
            "SELECT sum(total_rows) FROM system.tables WHERE database = 'luxe' AND name LIKE 'raw_%'"
        ).result_rows
        if found[0][0] >= rows or stop.wait(0.1):
            break
    stop.set()


if __name__ == "__main__":
    main()
