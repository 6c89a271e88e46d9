"""The data plane against the hand-written librdkafka loop: same work, same state and changelog, one run, one broker.

``python -m tests.bench.streams_runtime [--events N] [--bootstrap host:port]`` prints both and their ratio; ``benchmarks()``
returns them as records of ``build/bench.json``. Each contestant is a process of its own and measures from its first record.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rocksdict
from confluent_kafka import Consumer, KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from connectors.kafka import make_producer
from connectors.settings import Settings
from streams.runtime import Batch, DueTimer, Output, Record, Tuning, build_app
from streams.runtime.clients import Topics
from streams.runtime.clock import wall_clock_ms
from streams.runtime.restore import Restore
from streams.runtime.rows import STATE
from streams.runtime.store import Store, block_cache
from streams.runtime.stream import Batches
from tests.bench.event_work import encoded_event, work

PARTITIONS = 4
KEYS = 5000
GOAL_RATIO = 1.0
RESTORED_RECORDS = 300_000
RESTORE_GOAL = 100_000


def _say(events: int, began: float, cpu_began: float, **more: object) -> None:
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    print(
        json.dumps({"events_per_second": events / seconds, "cpu_us_per_event": cpu / events * 1e6, **more}), flush=True
    )


def bare(events: int, topics: dict[str, str], settings: Settings, folder: Path) -> None:
    """What one writes by hand: consume, work, produce, confirm, commit; state in RocksDB with a changelog. Not exactly once."""
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "linger.ms": 5,
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "group.id": topics["state"],
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topics["in"]])
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    stores = {number: rocksdict.Rdict(str(folder / f"bare-{number}"), options=options) for number in range(PARTITIONS)}
    done = 0
    unconfirmed = [0]

    def confirm(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            raise RuntimeError(error.name())
        unconfirmed[0] -= 1

    began = cpu_began = 0.0
    while done < events:
        messages = consumer.consume(500, 1.0)
        if messages and not began:
            began, cpu_began = time.perf_counter(), time.process_time()
        for message in messages:
            key, number = message.key() or b"", message.partition() or 0
            store = stores[number]
            count = b"%d" % (int(store.get(key) or b"0") + 1)
            store.put(key, count)
            unconfirmed[0] += 1
            producer.produce(topics["state"], count, key, number, on_delivery=confirm)
            for output in work(message.value() or b""):
                unconfirmed[0] += 1
                producer.produce(topics["out"], output, key, on_delivery=confirm)
        producer.poll(0)
        while unconfirmed[0]:
            producer.poll(0.005)
        if messages:
            consumer.commit(asynchronous=True)
        done += len(messages)
    _say(done, began, cpu_began)
    os._exit(0)


def ours(events: int, topics: dict[str, str], settings: Settings) -> None:
    """The data plane: the same, exactly once."""

    def dead_letter(subject: Record | DueTimer, error: BaseException, batch: Batch) -> Output:
        raise error

    app = build_app(
        topics["state"],
        inputs=[topics["in"]],
        changelog=topics["state"],
        settings=settings,
        dead_letter=dead_letter,
        partitions=PARTITIONS,
    )

    @app.agent
    async def counting(batches: Batches) -> None:
        began = cpu_began = 0.0
        async for batch in batches:
            if not began:
                began, cpu_began = time.perf_counter(), time.process_time()
            for record in batch.records:
                with batch.event(record) as event:
                    key = record.key or b""
                    event.put(key, b"%d" % (int(event.get(key) or b"0") + 1))
                    for output in work(record.value or b""):
                        event.produce(topics["out"], key, output)
            if app.metrics.events >= events and app.metrics.queued_records == 0:
                # The last batch is worked but not yet committed: it is not counted.
                _say(
                    app.metrics.events - len(batch.records),
                    began,
                    cpu_began,
                    metrics=app.metrics.snapshot(),
                )
                os._exit(0)

    app.run()


def make_topics(settings: Settings, *names: str, partitions: int = PARTITIONS) -> dict[str, str]:
    """Topics of its own: asked-for name → real name. ``state`` is compacted."""
    ending = uuid.uuid4().hex[:8]
    topics = {name: f"bench.{name}.{ending}" for name in names}
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    wanted = [
        NewTopic(name, partitions, 1, config={"cleanup.policy": "compact"} if asked == "state" else {})
        for asked, name in topics.items()
    ]
    for made in admin.create_topics(wanted, operation_timeout=30).values():
        made.result(30)
    return topics


def _fill(settings: Settings, topic: str, events: int) -> None:
    producer = make_producer(settings, queue_buffering_max_messages=max(100_000, events * 2))
    event = encoded_event()
    for number in range(events):
        producer.produce(topic, event, b"patient:%d" % (number % KEYS))
    producer.flush()


def _race(name: str, events: int, topics: dict[str, str], settings: Settings, folder: Path) -> dict[str, Any]:
    arguments = ["--contestant", name, "--events", str(events), "--bootstrap", settings.kafka_bootstrap]
    environment = {**os.environ, "BENCH_TOPICS": json.dumps(topics), "LUXE_STATE_DIR": str(folder / name)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.streams_runtime", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        timeout=300,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def restore_rate(settings: Settings, folder: Path) -> float:
    """Records a second from a changelog partition into an empty store; the broker's cache is warm."""
    topic = make_topics(settings, "state")["state"]
    producer = make_producer(settings, queue_buffering_max_messages=RESTORED_RECORDS + 1)
    for number in range(RESTORED_RECORDS):
        producer.produce(topic, b"x" * 100, STATE + b"patient:%d" % number, 0)
    producer.flush()
    tuning = Tuning()
    store = Store(folder / "restored", tuning, block_cache(tuning))
    topic_id, _ = Topics(settings).describe([topic])[topic]
    restore = Restore(store, topic, topic_id, 0, settings, tuning, wall_clock_ms)
    restore.run()
    store.close()
    return restore.records / restore.seconds


def benchmarks(settings: Settings, events: int = 60_000, say: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """Races both over the same input and returns their figures. About 20 s."""
    topics = make_topics(settings, "in")
    _fill(settings, topics["in"], events)
    figures: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="luxe-bench-") as folder:
        for name in ("bare", "ours"):
            own = topics | make_topics(settings, "out", "state")
            figures[name] = _race(name, events, own, settings, Path(folder))
            one = figures[name]
            say(f"{name}: {one['events_per_second']:,.0f} events/s, {one['cpu_us_per_event']:.1f} µs CPU an event")
        restored = restore_rate(settings, Path(folder))
        say(f"restore: {restored:,.0f} records/s")
    return [
        {
            "name": "streams runtime with state, exactly once ÷ hand-written librdkafka loop with state",
            "ours": round(figures["ours"]["events_per_second"]),
            "reference": round(figures["bare"]["events_per_second"]),
            "ratio": round(figures["ours"]["events_per_second"] / figures["bare"]["events_per_second"], 3),
            "unit": "events/s",
            "goal": GOAL_RATIO,
        },
        {
            "name": "restore of a partition's state from its changelog ÷ the goal",
            "ours": round(restored),
            "reference": RESTORE_GOAL,
            "ratio": round(restored / RESTORE_GOAL, 3),
            "unit": "records/s",
            "goal": 1.0,
        },
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--bootstrap", default=Settings().kafka_bootstrap)
    parser.add_argument("--contestant", choices=("bare", "ours"))
    chosen = parser.parse_args()
    settings = Settings(kafka_bootstrap=chosen.bootstrap)
    if chosen.contestant is None:
        print(json.dumps(benchmarks(settings, chosen.events), ensure_ascii=False, indent=1))
        return
    topics: dict[str, str] = json.loads(os.environ["BENCH_TOPICS"])
    if chosen.contestant == "bare":
        with tempfile.TemporaryDirectory(prefix="luxe-bench-") as folder:
            bare(chosen.events, topics, settings, Path(folder))
    ours(chosen.events, topics, settings)


if __name__ == "__main__":
    main()
