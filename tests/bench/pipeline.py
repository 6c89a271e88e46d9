"""Both hops, intake and notify, with state and sealing, against those who do the same work in other ways.

Each contestant runs one hop after the other over the same bookings, as one process beside the broker: the rate is events through
both hops a second. Ours runs exactly as in production (transactions, RocksDB, timers, views); the hand-written loop, Faust as its
manual shows it and quixstreams call the product's own rules, rendering and sealing, and keep the same state with a changelog.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka.admin import AdminClient

from schemas.topics import REQUESTED
from tests.bench.clinic import TOPIC, Appointments, add_patients
from tests.bench.report import Figure, rate
from tests.bench.stack import REPOSITORY, ask_worker
from tests.conftest import Stack

EVENTS = 5_000  # about 8 requests each
# Slower by so much that fewer keep it as busy.
FAUST_EVENTS = 1_000
QUIX_EVENTS = 2_500
ROUNDS = 3
GOAL_LOOP, GOAL_FAUST, GOAL_QUIX = 1.0, 6.0, 1.0
QUIX_VENV = REPOSITORY / "build" / "bench-quix-venv"
QUIX_LOCK = Path(__file__).parent / "yardsticks" / "quix-requirements.lock"
_OURS = "hop"


class Run(NamedTuple):
    """One contestant through both hops."""

    events: int
    seconds: tuple[float, float]
    cpu_seconds: tuple[float, float]
    outputs: tuple[int, int]

    @property
    def rate(self) -> float:
        """Events a second through both hops."""
        return self.events / sum(self.seconds)

    def __str__(self) -> str:
        (one, two), (cpu_one, cpu_two) = self.seconds, self.cpu_seconds
        return (
            f"{self.rate:,.0f} events/s (intake {self.events / one:,.0f}, notify {self.events / two:,.0f}; "
            f"CPU µs an event: {cpu_one / self.events * 1e6:,.0f} + {cpu_two / self.events * 1e6:,.0f})"
        )


def figures(stack: Stack, say: Callable[[str], None]) -> list[Figure]:
    """About five minutes."""
    add_patients(stack.settings)
    python = _quix_python(say)
    appointments = Appointments()
    runs: dict[str, list[Run]] = {"hop": [], "loop": [], "plain_faust": [], "quix": []}
    for number in range(1, ROUNDS + 1):
        for name in runs:
            events = {"plain_faust": FAUST_EVENTS, "quix": QUIX_EVENTS}.get(name, EVENTS)
            run = _run(stack, appointments, name, events, python if name == "quix" else sys.executable)
            runs[name].append(run)
            say(f"round {number}: {name}: {run}")
    rates = {name: [run.rate for run in found] for name, found in runs.items()}
    ours, unit = rates["hop"], "events/s"
    return [
        rate("intake + notify ÷ hand-written librdkafka loop", ours, rates["loop"], unit, GOAL_LOOP),
        rate("intake + notify ÷ plain Faust", ours, rates["plain_faust"], unit, GOAL_FAUST),
        rate("intake + notify ÷ quixstreams", ours, rates["quix"], unit, GOAL_QUIX),
    ]


def _run(stack: Stack, appointments: Appointments, name: str, events: int, python: str) -> Run:
    settings = stack.settings
    own = name == _OURS
    topics = {"source": TOPIC, "requested": REQUESTED} if own else stack.new_topics(["source", "requested"])
    # A table's changelog of Faust and quixstreams is made by them.
    logs = (
        stack.new_topics(["intake-log", "notify-log"], config={"cleanup.policy": "compact"}) if name == "loop" else {}
    )
    appointments.write(settings, [topics["source"]], events)
    results: list[Mapping[str, Any]] = []
    for hop, source in (("intake", topics["source"]), ("notify", topics["requested"])):
        results.append(
            ask_worker(
                f"tests.bench.yardsticks.{name}",
                settings,
                python,
                hop=hop,
                source=source,
                requested=topics["requested"],
                changelog=logs.get(f"{hop}-log", ""),
                group=f"bench-{name}-{hop}-{uuid.uuid4().hex[:8]}",
                events=results[0]["outputs"] if results else events,
                folder=str(settings.state_dir / "bench"),
            )
        )
    if logs:
        AdminClient({"bootstrap.servers": settings.kafka_bootstrap}).delete_topics([*topics.values(), *logs.values()])
    one, two = results
    return Run(
        events,
        (one["seconds"], two["seconds"]),
        (one["cpu_seconds"], two["cpu_seconds"]),
        (one["outputs"], two["outputs"]),
    )


def _quix_python(say: Callable[[str], None]) -> str:
    """The interpreter of quixstreams' own environment: it pins an older confluent-kafka. Made once."""
    python, stamp = QUIX_VENV / "bin" / "python", QUIX_VENV / ".installed"
    lock = QUIX_LOCK.read_text()
    if not stamp.exists() or stamp.read_text() != lock:
        say("installing quixstreams into an environment of its own (once)")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(QUIX_VENV)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(QUIX_LOCK)], check=True
        )
        stamp.write_text(lock)
    return str(python)
