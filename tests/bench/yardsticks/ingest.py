"""Our ClickHouse ingester on one topic, timed: `python -m tests.bench.yardsticks.ingest '{"topics": …, "rows": …, "sink": …}'`.

Timed from the assignment of the partitions to the last row in a table.
"""

from __future__ import annotations

import json
import sys
import threading
import time

from connectors.clickhouse.client import apply_ddl, open_client, private_temporary_directory
from connectors.collector import collect_rarely
from connectors.kafka import make_consumer
from connectors.postgres.ingest_positions import IngestPositions
from connectors.sealing import KeyCache, KeyRing
from connectors.settings import Settings
from schemas.codec import Codec
from schemas.registry import FileRegistry
from sinks.ingest.batches import Shapes
from sinks.ingest.ingester import MAX_BUFFERED, Ingester
from sinks.ingest.sealing import EventSealer
from tests.bench.telling import tell

POLL_SECONDS = 0.005


def main() -> None:
    wanted = json.loads(sys.argv[1])
    settings = Settings()
    private_temporary_directory(settings)
    registry = FileRegistry()
    codec = Codec(registry)
    client = open_client(settings)
    apply_ddl(client)
    dsn = settings.postgres_dsn.get_secret_value()
    consumer = make_consumer(settings, wanted["sink"], enable_partition_eof=True, queued_max_messages_kbytes=32 * 1024)
    ingester = Ingester(
        consumer,
        IngestPositions(dsn, wanted["sink"]),
        client,
        Shapes(registry),
        codec,
        EventSealer(dsn, KeyCache(KeyRing.load(settings.kek_path)), codec),
        wanted["topics"],
        linger_seconds=0.1,  # the last rows do not wait for more: none come
    )
    collect_rarely(2 * MAX_BUFFERED)
    stop = threading.Event()
    running = threading.Thread(target=ingester.run, args=(stop,))
    running.start()
    ingester.assigned.wait()
    began, cpu_began = time.perf_counter(), time.process_time()
    while ingester.rows < wanted["rows"] and running.is_alive():
        time.sleep(POLL_SECONDS)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    stop.set()
    running.join()
    found = client.query("SELECT count() FROM luxe.raw_delivery_status").result_rows[0][0]
    tell(rows=found, seconds=seconds, cpu_seconds=cpu_seconds)


if __name__ == "__main__":
    main()
