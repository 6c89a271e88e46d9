"""A million pending timers on one partition of the data plane: set, idle, due a thousand a second, due in a storm, restored.

Each input record sets eight timers, as a booking does, of the size of a waiting request. Outputs are read by a committed reader
on the same clock, so that lateness is: seen by a consumer − due, the commit included. The broker shares the machine.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Consumer, Producer

from connectors.kafka import make_consumer, make_producer
from connectors.settings import Settings
from streams.runtime import Batch, Batches, DueTimer, Output, Record, Tuning, build_app
from streams.runtime.rows import TIMER, due_key, timer_value
from streams.runtime.store import Store, block_cache
from tests.bench.report import Figure
from tests.bench.stack import worker_environment
from tests.bench.streams_runtime import make_topics

PENDING, TIMERS_A_RECORD = 1_000_000, 8
PAYLOAD_BYTES = 600  # a waiting request in its timer: sealed, so nothing can compress it
FAR_MS = 30 * 24 * 3600 * 1000
STEADY_PER_SECOND, STEADY_SECONDS = 1_000, 20
STORM, STORM_CRITICAL = 50_000, 500
IDLE_SECONDS = 10.0
COMPACTION_SECONDS = 15.0  # of what was just written: RocksDB's, once
PROBE_EVERY_SECONDS = 0.1
PARTITION, CRITICAL, NORMAL = 0, 0, 2
PATIENCE_SECONDS = 240.0
GOAL_LATE_MS = 1_000.0
GOAL_IDLE_MS = 20.0  # of processor a second: a fiftieth of a core, pending or not; what is read is to the 10 ms
GOAL_STORM_SECONDS = 60.0
GOAL_RESTORE, GOAL_RESTART_SECONDS = 100_000, 10.0
GOAL_MEMORY_MIB = 384.0


def worker(topics: Mapping[str, str], settings: Settings, metrics: Path) -> None:
    """A record ``due_ms:priority:first:count`` sets timers, ``probe:…`` is said back, and a timer says when it was due."""

    def dead_letter(subject: Record | DueTimer, error: BaseException, batch: Batch) -> Output:
        raise error

    app = build_app(
        topics["state"], inputs=[topics["in"]], changelog=topics["state"], settings=settings,
        dead_letter=dead_letter, partitions=PARTITION + 1,
    )  # fmt: skip

    def tell() -> None:
        """What a restore took is known by the first batch."""
        metrics.write_text(json.dumps(app.metrics.snapshot()))

    @app.agent
    async def timing(batches: Batches) -> None:
        async for batch in batches:
            if batch.records:
                tell()
            for record in batch.records:
                with batch.event(record) as event:
                    value = record.value or b""
                    if value.startswith(b"probe:"):
                        event.produce(topics["out"], value, b"")
                        continue
                    due_ms, priority, first, count = map(int, value.split(b":"))
                    for number in range(first, first + count):
                        event.set_timer(
                            b"n%015d" % number,
                            due_ms + (number - first),
                            os.urandom(PAYLOAD_BYTES),
                            priority,
                            fresh=True,
                        )
            for timer in batch.due:
                with batch.event(timer) as event:
                    event.produce(topics["out"], b"%d:%d" % (timer.priority, timer.due_ms), timer.payload)

    app.run()


class _Rig:
    """The worker as a process, its input and its output."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings.model_copy(update={"state_dir": folder})
        self.topics = make_topics(settings, "in", "out", "state", partitions=PARTITION + 1)
        self.metrics = folder / "metrics.json"
        self._producer: Producer = make_producer(settings, queue_buffering_max_messages=1_000_000)
        self.reader: Consumer = make_consumer(settings, f"{self.topics['out']}-reader")
        self.reader.subscribe([self.topics["out"]])
        self._next = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Seconds until it runs its partition."""
        ready = self.settings.state_dir / "ready" / self.topics["state"]
        ready.unlink(missing_ok=True)
        began = time.monotonic()
        with (self.settings.state_dir / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.timers", json.dumps([self.topics, str(self.metrics)])],
                env=worker_environment(self.settings) | {"LUXE_STREAMS_INSTANCE": "bench"},
                stdout=log,
                stderr=log,
            )
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() - began > PATIENCE_SECONDS:
                raise RuntimeError((self.settings.state_dir / "log").read_text()[-2000:])
            time.sleep(0.01)
        return time.monotonic() - began

    @property
    def process(self) -> psutil.Process:
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)
            self._process = None

    def send(self, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(self.topics["in"], value, b"", PARTITION)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def set_timers(self, count: int, due_ms: int, priority: int = NORMAL, each: int = TIMERS_A_RECORD) -> None:
        """So many, eight a record, each record's from ``due_ms`` on, one a ms."""
        for _ in range(0, count, each):
            self.send(b"%d:%d:%d:%d" % (due_ms, priority, self._next, each))
            self._next += each

    def flush(self) -> None:
        self._producer.flush()

    def said(self, until: int, *, probing: bool = False) -> Iterator[tuple[bytes, float]]:
        """Key and ms at which each output was read, until so many timers have fired."""
        fired, probed = 0, 0.0
        deadline = time.monotonic() + PATIENCE_SECONDS
        while fired < until:
            if probing and time.monotonic() - probed > PROBE_EVERY_SECONDS:
                probed = time.monotonic()
                self.send(b"probe:%d" % (time.time() * 1000))
            for message in self.reader.consume(2000, 0.02):
                key = message.key()
                if message.error() is None and key is not None:
                    fired += not key.startswith(b"probe:")
                    yield key, time.time() * 1000
            if time.monotonic() > deadline:
                raise RuntimeError(f"{fired} of {until} timers fired in {PATIENCE_SECONDS:.0f} s")

    def round_trip(self) -> None:
        """Returns when the worker has done everything that was sent so far."""
        mark = b"probe:mark%d" % self._next
        self.send(mark)
        self.flush()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if any(message.key() == mark for message in self.reader.consume(2000, 0.02)):
                return
        raise RuntimeError("the worker does not answer")

    def idle(self) -> float:
        """ms of processor a second while nothing is due and nothing comes."""
        before = self.processor_seconds()
        time.sleep(IDLE_SECONDS)
        return (self.processor_seconds() - before) * 1000 / IDLE_SECONDS

    def processor_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def memory_mib(self) -> float:
        return float(self.process.memory_info().rss) / 1024**2


def bare_rate(folder: Path, count: int) -> float:
    """Timers a second: nothing but the same rows, timer and due index, into RocksDB in batches of the same size."""
    tuning = Tuning()
    store = Store(folder / "bare", tuning, block_cache(tuning))
    now_ms = int(time.time() * 1000)
    began = time.perf_counter()
    for first in range(0, count, tuning.batch_records * TIMERS_A_RECORD):
        rows: list[tuple[bytes, bytes | None]] = []
        for number in range(first, min(count, first + tuning.batch_records * TIMERS_A_RECORD)):
            timer_id, due_ms = b"n%015d" % number, now_ms + FAR_MS
            rows.append((TIMER + timer_id, timer_value(due_ms, NORMAL, os.urandom(PAYLOAD_BYTES))))
            rows.append((due_key(NORMAL, due_ms, timer_id), b""))
        store.write(rows)
    seconds = time.perf_counter() - began
    store.close()
    return count / seconds


def _lateness(late: list[float]) -> tuple[float, float, float]:
    late.sort()
    return late[len(late) // 2], late[int(len(late) * 0.99)], late[-1]


@contextmanager
def _rig(settings: Settings) -> Iterator[_Rig]:
    with tempfile.TemporaryDirectory(prefix="luxe-bench-") as folder:
        made = _Rig(settings, Path(folder))
        try:
            yield made
        finally:
            made.stop()
            made.reader.close()


def figures(settings: Settings, say: Callable[[str], None], pending: int = PENDING) -> list[Figure]:
    """About three minutes."""
    with _rig(settings) as rig:
        found = _pending(rig, say, pending)
        return [*found, *_steady(rig, say), *_storm(rig, say), *_restarted(rig, say, pending)]


def _pending(rig: _Rig, say: Callable[[str], None], pending: int) -> list[Figure]:
    say(f"started with nothing in {rig.start():.1f} s")
    rig.round_trip()
    idle_before, memory_before = rig.idle(), rig.memory_mib()
    began, cpu_began = time.monotonic(), rig.processor_seconds()
    rig.set_timers(pending, int(time.time() * 1000) + FAR_MS)
    rig.round_trip()
    seconds, cpu = time.monotonic() - began, rig.processor_seconds() - cpu_began
    rate, bare = pending / seconds, bare_rate(rig.settings.state_dir, pending // 4)
    say(f"{pending:,} timers set in {seconds:.0f} s: {rate:,.0f}/s, {cpu / pending * 1e6:.0f} µs of processor each")
    say(f"memory: {memory_before:.0f} MiB with none, {rig.memory_mib():.0f} MiB after {pending:,} were set in one go")
    time.sleep(COMPACTION_SECONDS)
    idle = rig.idle()
    say(f"idle: {idle_before:.1f} ms of processor a second with none, {idle:.1f} ms with {pending:,}")
    return [
        Figure("timers set, exactly once ÷ the rows alone into RocksDB", rate, bare, rate / bare, "timers/s", 0.5),
        Figure(f"idle with {pending:,} pending", idle, GOAL_IDLE_MS, GOAL_IDLE_MS / idle, "ms/s", 1.0),
    ]


def _steady(rig: _Rig, say: Callable[[str], None]) -> list[Figure]:
    count = STEADY_PER_SECOND * STEADY_SECONDS
    begins_ms = int(time.time() * 1000) + 5_000
    for number in range(0, count, TIMERS_A_RECORD):
        rig.set_timers(TIMERS_A_RECORD, begins_ms + number * 1000 // STEADY_PER_SECOND)
    rig.flush()
    late = [read_ms - int(key.split(b":")[1]) for key, read_ms in rig.said(count)]
    p50, p99, most = _lateness(late)
    say(
        f"{STEADY_PER_SECOND:,} due a second for {STEADY_SECONDS} s: late p50 {p50:.0f} ms, p99 {p99:.0f} ms, most {most:.0f} ms"
    )
    if late[0] < 0:
        raise RuntimeError(f"a timer fired {-late[0]:.0f} ms early")
    return [Figure("late at 1,000 due a second, p99", p99, GOAL_LATE_MS, GOAL_LATE_MS / p99, "ms", 1.0)]


def _storm(rig: _Rig, say: Callable[[str], None]) -> list[Figure]:
    due_ms = int(time.time() * 1000) + 15_000
    rig.set_timers(STORM - STORM_CRITICAL, due_ms, NORMAL)
    rig.round_trip()
    if time.time() * 1000 > due_ms:
        raise RuntimeError("the storm's timers were not set before they were due")
    # And critical ones that come due all through it, from an instant after it broke on.
    rig.set_timers(STORM_CRITICAL, due_ms, CRITICAL, each=STORM_CRITICAL)
    rig.flush()
    time.sleep(max(0.0, due_ms / 1000 - time.time()))
    critical: list[float] = []
    probes: list[float] = []
    last_ms = 0.0
    for key, read_ms in rig.said(STORM, probing=True):
        if key.startswith(b"probe:"):
            probes.append(read_ms - int(key.split(b":")[1]))
            continue
        priority, due = map(int, key.split(b":"))
        last_ms = read_ms
        if priority == CRITICAL:
            critical.append(read_ms - due)
    seconds = (last_ms - due_ms) / 1000
    p50, p99, most = _lateness(critical)
    asked, asked_99, asked_most = _lateness(probes)
    say(f"a storm of {STORM:,}: drained in {seconds:.1f} s, {STORM / seconds:,.0f}/s")
    say(f"{len(critical)} critical amid it: late p50 {p50:.0f} ms, p99 {p99:.0f} ms, most {most:.0f} ms")
    say(f"{len(probes)} records amid it: answered p50 {asked:.0f} ms, p99 {asked_99:.0f} ms, most {asked_most:.0f} ms")
    return [
        Figure(f"a storm of {STORM:,} due at once, drained", seconds, GOAL_STORM_SECONDS, GOAL_STORM_SECONDS / seconds, "s", 1.0),
        Figure("critical amid the storm, late p99", p99, GOAL_LATE_MS, GOAL_LATE_MS / p99, "ms", 1.0),
        Figure("records amid the storm, answered p99", asked_99, GOAL_LATE_MS, GOAL_LATE_MS / asked_99, "ms", 1.0),
    ]  # fmt: skip


def _restarted(rig: _Rig, say: Callable[[str], None], pending: int) -> list[Figure]:
    rig.stop()
    local, processor, memory = rig.start(), rig.processor_seconds(), rig.memory_mib()
    rig.stop()
    store = rig.settings.state_dir / "streams" / rig.topics["state"]
    store.rename(store.with_name("gone"))
    whole, more = rig.start(), rig.processor_seconds() - processor
    rig.round_trip()
    told: Mapping[str, Any] = json.loads(rig.metrics.read_text())
    rate = pending / told["restore_seconds"]  # of those that wait; the log holds those that fired too
    say(
        f"started again with its local state: {local:.1f} s; from the changelog alone: {whole:.1f} s, {rate:,.0f} timers/s, "
        f"{more / pending * 1e6:.0f} µs of processor each"
    )
    say(f"memory once it runs again: {memory:.0f} MiB")
    return [
        Figure(
            f"memory with {pending:,} pending, after a restart",
            memory,
            GOAL_MEMORY_MIB,
            GOAL_MEMORY_MIB / memory,
            "MiB",
            1.0,
        ),
        Figure(
            f"restart with {pending:,} pending", local, GOAL_RESTART_SECONDS, GOAL_RESTART_SECONDS / local, "s", 1.0
        ),
        Figure("restore from the changelog", rate, GOAL_RESTORE, rate / GOAL_RESTORE, "timers/s", 1.0),
    ]


if __name__ == "__main__":
    wanted: tuple[dict[str, str], str] = json.loads(sys.argv[1])
    worker(wanted[0], Settings(), Path(wanted[1]))
    os._exit(0)
