"""Workers that are killed and paused, what they are fed, and the account of what came out."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from connectors.kafka import make_producer, read_to_end
from connectors.settings import Settings
from streams.runtime.rows import STATE

PARTITIONS = 4
KEYS = 500
_REPOSITORY = Path(__file__).parents[2]


@dataclass
class Worker:
    """One supervised process: started again whenever it is found dead."""

    name: str
    environment: dict[str, str]
    log: Path
    statuses: list[int] = field(default_factory=list)  # of those that ended by themselves
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.counting_worker"],
                cwd=_REPOSITORY,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.process is not None
        status = self.process.wait()
        if status >= 0:  # it had ended by itself before
            self.statuses.append(status)

    def revive(self) -> None:
        """Starts it again if it ended."""
        if self.process is None:
            self.start()
        elif (status := self.process.poll()) is not None:
            if status >= 0:
                self.statuses.append(status)
            self.start()


class Crew:
    """Some workers of one counting app, with topics of its own."""

    def __init__(self, settings: Settings, topics: dict[str, str], folder: Path, size: int, **environment: str) -> None:
        self.settings, self.topics, self.folder = settings, topics, folder
        self.app = topics["state"]
        self._environment = {
            **os.environ,
            "LUXE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
            "LUXE_STATE_DIR": str(folder / "state"),
            "LUXE_STREAMS_TRANSACTION_TIMEOUT_SECONDS": "10",
            "COUNT_APP": self.app,
            "COUNT_INPUTS": f"{topics['left']},{topics['right']}",
            "COUNT_OUTPUT": topics["counted"],
            "COUNT_CHANGELOG": topics["state"],
            "COUNT_DEAD": topics["dead"],
            "COUNT_PARTITIONS": str(PARTITIONS),
            **environment,
        }
        self.workers = [self.new_worker(f"w{number}") for number in range(size)]

    def new_worker(self, name: str) -> Worker:
        environment = {**self._environment, "LUXE_SERVICE_NAME": name, "LUXE_STREAMS_INSTANCE": name}
        return Worker(name, environment, self.folder / f"{name}.log")

    def ready_file(self, worker: Worker) -> Path:
        return self.folder / "state" / "ready" / worker.name

    def start(self, timeout_seconds: float = 60) -> None:
        for worker in self.workers:
            worker.start()
        self.wait_ready(*self.workers, timeout_seconds=timeout_seconds)

    def wait_ready(self, *workers: Worker, timeout_seconds: float = 60) -> None:
        """Until each of them runs the partitions it was assigned."""
        deadline = time.monotonic() + timeout_seconds
        while not all(self.ready_file(worker).exists() for worker in workers):
            assert time.monotonic() < deadline, self.logs()
            for worker in workers:
                worker.revive()
            time.sleep(0.05)

    def stop(self) -> None:
        for worker in self.workers:
            if worker.process is not None:
                worker.signal(signal.SIGCONT)
                worker.kill()

    def logs(self) -> str:
        """Why workers ended, and the end of what each said."""
        told: list[str] = []
        for worker in self.workers:
            text = worker.log.read_text() if worker.log.exists() else ""
            told += [f"--- {worker.name}", *(line for line in text.splitlines() if " CRITICAL " in line), text[-3000:]]
        return "\n".join(told)


class Feed(threading.Thread):
    """Sends numbered events to both inputs, at a steady rate; every so often one that is poison, or one that sets a timer."""

    def __init__(self, crew: Crew, rate: float, seed: int) -> None:
        super().__init__(daemon=True)
        self._crew, self._rate, self._random = crew, rate, random.Random(seed)
        self._stopping = threading.Event()
        self.sent: list[tuple[bytes, bytes]] = []  # key, value
        self.timed: list[tuple[bytes, bytes]] = []  # those of set_timers
        self._producer: Producer = make_producer(crew.settings, message_timeout_ms=0)

    def run(self) -> None:
        topics = (self._crew.topics["left"], self._crew.topics["right"])
        began = time.monotonic()
        while not self._stopping.is_set():
            for _ in range(max(1, int((time.monotonic() - began) * self._rate) - len(self.sent))):
                number = len(self.sent)
                key = b"k%d" % self._random.randrange(KEYS)
                value = b"%d" % number
                if number % 97 == 0:
                    value = b"poison%d" % number
                elif number % 41 == 0:
                    value = b"timer:%d:%d" % (self._random.randrange(4000), number)
                try:
                    self._producer.produce(topics[number % 2], value, key)
                except BufferError:
                    break  # the broker is away for long: what was not taken was not sent, and waits for room
                self.sent.append((key, value))
            self._producer.poll(0)
            self._stopping.wait(0.02)
        self._producer.flush()

    def set_timers(self, count: int, from_ms: int, to_ms: int) -> None:
        """Events beside the steady ones, each setting a timer that is due between so many ms after it is worked on. Blocking."""
        producer = make_producer(self._crew.settings)
        for number in range(len(self.timed), len(self.timed) + count):
            key, value = (
                b"k%d" % (number % KEYS),
                b"timer:%d:timed%d" % (self._random.randrange(from_ms, to_ms), number),
            )
            self.timed.append((key, value))
            producer.produce(self._crew.topics["left"], value, key)
        producer.flush()

    def finish(self) -> None:
        self._stopping.set()
        self.join()


@dataclass
class Account:
    """What a feed should have become, and what it became."""

    lost: int
    doubled: int
    breaks: int  # places where a key's running count does not rise by one
    dead_wrong: int  # poison without its one dead letter, and dead letters without poison
    state_wrong: int  # keys whose restored state is not that of a replay of the input

    def __bool__(self) -> bool:
        return not any((self.lost, self.doubled, self.breaks, self.dead_wrong, self.state_wrong))


def take_account(crew: Crew, sent: list[tuple[bytes, bytes]]) -> Account:
    """Compares all that was sent with all that is committed."""
    expected: Counter[bytes] = Counter()
    poison: Counter[bytes] = Counter()
    replayed: Counter[bytes] = Counter()
    for key, value in sent:
        if value.startswith(b"poison"):
            poison[value] += 1
            continue
        expected[value] += 2 if value.startswith(b"timer:") else 1  # once when it came, once when its timer fired
        replayed[key] += 2 if value.startswith(b"timer:") else 1
    found: Counter[bytes] = Counter()
    counts: Counter[bytes] = Counter()
    breaks = 0
    for message in read_to_end(crew.settings, [crew.topics["counted"]]):
        key, value = message.key() or b"", message.value() or b""
        event, count = value.rsplit(b"|", 1)
        found[event] += 1
        breaks += int(count) != counts[key] + 1
        counts[key] = int(count)
    dead = Counter(message.value() or b"" for message in read_to_end(crew.settings, [crew.topics["dead"]]))
    state: dict[bytes, bytes | None] = {}
    for message in read_to_end(crew.settings, [crew.topics["state"]]):
        key = message.key() or b""
        if key.startswith(STATE):
            state[key[1:]] = message.value()
    return Account(
        lost=(expected - found).total(),
        doubled=(found - expected).total(),
        breaks=breaks,
        dead_wrong=(poison - dead).total() + (dead - poison).total(),
        state_wrong=sum(state.get(key) != b"%d" % count for key, count in replayed.items())
        + len(state.keys() - replayed.keys()),
    )


def wait_until_done(crew: Crew, sent: list[tuple[bytes, bytes]], timeout_seconds: float) -> Account:
    """Keeps the workers alive until the account closes, or until time is up; returns the last account."""
    deadline = time.monotonic() + timeout_seconds
    expected = sum(2 if value.startswith(b"timer:") else 1 for _, value in sent if not value.startswith(b"poison"))
    while time.monotonic() < deadline:
        for worker in crew.workers:
            worker.revive()
        if _end_total(crew) >= expected:
            account = take_account(crew, sent)
            if account or account.doubled:
                return account
        time.sleep(1)
    return take_account(crew, sent)


def wait_until_worked_on(crew: Crew, sent: list[tuple[bytes, bytes]], timeout_seconds: float) -> None:
    """Return once each of these has come out: what it sets is set, however far behind its input the crew is."""
    deadline = time.monotonic() + timeout_seconds
    expected = {value for _, value in sent}
    while True:
        for worker in crew.workers:
            worker.revive()
        messages = read_to_end(crew.settings, [crew.topics["counted"]])
        if expected <= {(message.value() or b"").rsplit(b"|", 1)[0] for message in messages}:
            return
        assert time.monotonic() < deadline, crew.logs()
        time.sleep(0.2)


def _end_total(crew: Crew) -> int:
    """The output's offsets in total: control records included, so never less than the records."""
    consumer = Consumer({"bootstrap.servers": crew.settings.kafka_bootstrap, "group.id": "ends", "log_level": 3})
    try:
        ends = [
            consumer.get_watermark_offsets(TopicPartition(crew.topics["counted"], number))
            for number in range(PARTITIONS)
        ]
        return sum(high for _, high in ends)
    finally:
        consumer.close()
