"""quixstreams: a stateful apply that expands into outputs, each to its topic. At least once. In an environment of its own."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import confluent_kafka


class Output(bytes):
    """A value that knows where it goes: a stream here has values only."""

    topic: str
    key: bytes | None
    headers: Any


class StateRows:
    """quixstreams' state, which is scoped by the record's key. It cannot be walked, and nothing of this run asks for that."""

    def __init__(self) -> None:
        self.state: Any = None

    def get(self, row: bytes) -> bytes | None:
        found: bytes | None = self.state.get_bytes(row.hex())
        return found

    def put(self, row: bytes, value: bytes) -> None:
        self.state.set_bytes(row.hex(), value)

    def delete(self, row: bytes) -> None:
        self.state.delete(row.hex())

    def index(self, row: bytes, present: bool) -> None:
        """quixstreams has no timers; nothing is due in this run."""

    def items(self, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        raise RuntimeError("quixstreams cannot walk its state: choose events that withdraw nothing")


def main() -> None:
    # Our data plane, which is not used here, imports a function that the older client does not have.
    vars(confluent_kafka).setdefault("murmur2", None)
    from connectors.settings import Settings
    from schemas.topics import REQUESTED, TOPICS
    from tests.bench.yardsticks.work import Stopwatch, Task, as_record, hop_work, renamed, wall_clock_ms, work_on

    task, settings = Task.given(), Settings()
    work, watch, rows = hop_work(task.hop, settings), Stopwatch(task.events), StateRows()
    # By name: this environment has it, the one that checks types does not.
    app = importlib.import_module("quixstreams").Application(
        broker_address=settings.kafka_bootstrap,
        consumer_group=task.group,
        auto_offset_reset="earliest",
        state_dir=task.folder,
        loglevel="WARNING",
        producer_extra_config={"partitioner": "murmur2_random", "compression.type": "lz4", "linger.ms": 5},
    )
    source = app.topic(task.source, value_deserializer="bytes", key_deserializer="bytes")
    raw = {"value_serializer": "bytes", "key_serializer": "bytes"}
    outputs = {topic.name: app.topic(renamed(topic.name, task), **raw) for topic in TOPICS}
    topic = "events.appointment" if task.hop == "intake" else REQUESTED

    made: list[Output] = []

    def emit(to: str, key: bytes | None, value: bytes | None, headers: Any) -> None:
        output = Output(value or b"")
        output.topic, output.key, output.headers = to, key, headers
        made.append(output)

    def hop(value: bytes, key: bytes, timestamp_ms: int, headers: Any, state: Any) -> list[Output]:
        watch.start()
        rows.state = state
        made.clear()
        record = as_record(topic, 0, watch.done, key, value, timestamp_ms, headers)
        work_on(work, [record], (), wall_clock_ms(), rows, emit)
        watch.outputs += len(made)
        watch.done += 1
        if watch.is_over:
            app.stop()  # after this record's outputs, a flush and a commit
        return list(made)

    stream = app.dataframe(source).apply(hop, stateful=True, metadata=True, expand=True)
    stream = stream.set_headers(lambda output, *_: list(output.headers or ()))
    stream.to_topic(lambda output, *_: outputs[output.topic], key=lambda output: output.key)
    app.run()
    watch.tell()


if __name__ == "__main__":
    main()
