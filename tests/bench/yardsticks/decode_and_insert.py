"""What one writes by hand: consume, decode with fastavro, insert columns with clickhouse_connect, commit. Not exactly once.

`python -m tests.bench.yardsticks.decode_and_insert '{"topic": …, "rows": …, "group": …}'`, timed from its partitions'
assignment to the last row in the table. The table has the same columns, key and engine as ours.
"""

from __future__ import annotations

import io
import json
import sys
import time
from typing import Any

import fastavro
from confluent_kafka import Consumer, Message

from connectors.clickhouse.client import apply_ddl, open_client, private_temporary_directory
from connectors.clickhouse.tables import DATABASE, raw_table
from connectors.kafka import make_consumer
from connectors.settings import Settings
from schemas.registry import FileRegistry
from tests.bench.telling import tell

RECORD = "luxe.pipeline.DeliveryStatus"
BATCH_ROWS = 100_000  # what our ingester cuts, too
CONSUME_RECORDS = 20_000
_FRAME_BYTES = 5


def main() -> None:
    wanted = json.loads(sys.argv[1])
    settings = Settings()
    private_temporary_directory(settings)
    client = open_client(settings)
    apply_ddl(client)
    registry = FileRegistry()
    written = registry.schema(registry.id_of(wanted["subject_topic"], RECORD))
    schema = fastavro.parse_schema(dict(written))
    table = raw_table(written)
    fields = [name for name, _, _ in table.columns]
    consumer = make_consumer(settings, wanted["group"], queued_max_messages_kbytes=32 * 1024)
    began = cpu_began = 0.0

    def assigned(_consumer: Consumer, _partitions: list[Any]) -> None:
        nonlocal began, cpu_began
        began, cpu_began = time.perf_counter(), time.process_time()

    consumer.subscribe([wanted["topic"]], on_assign=assigned)
    rows = 0
    pending: list[Message] = []
    while rows < wanted["rows"]:
        pending += consumer.consume(CONSUME_RECORDS, 0.05)
        if len(pending) < BATCH_ROWS and rows + len(pending) < wanted["rows"]:
            continue
        decoded: list[dict[str, Any]] = [
            fastavro.schemaless_reader(io.BytesIO((message.value() or b"")[_FRAME_BYTES:]), schema, None)  # type: ignore[misc]
            for message in pending
        ]
        columns: list[list[Any]] = [
            [message.topic() for message in pending],
            [wanted["topic_id"]] * len(pending),
            [message.partition() for message in pending],
            [message.offset() for message in pending],
            [message.timestamp()[1] for message in pending],
            *([record[name] for record in decoded] for name in fields),
        ]
        client.insert(
            table.name,
            columns,
            column_names=["_topic", "_topic_id", "_partition", "_offset", "_timestamp", *fields],
            database=DATABASE,
            column_oriented=True,
        )
        consumer.commit(asynchronous=True)
        rows += len(pending)
        pending = []
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    found = client.query("SELECT count() FROM luxe.raw_delivery_status").result_rows[0][0]
    tell(rows=found, seconds=seconds, cpu_seconds=cpu_seconds)
    consumer.close()


if __name__ == "__main__":
    main()
