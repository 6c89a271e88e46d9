"""A critical text amid a backlog of 100,000 low ones: how long it takes to its provider; and the sink's memory while it drains.

Broker, Postgres and provider share the machine; receipts are off. The backlog lies there when the sink starts. Every tenth of a
second until it is drained a critical text is written; its time runs from before it is written until the provider has it, on one
clock. The first seconds, while the sink reads its way in, count too.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import psutil
import requests

from connectors.kafka import make_producer
from connectors.settings import Settings
from connectors.stack.setup import set_up
from tests.bench.report import Figure
from tests.bench.sinks import LIMITS, Provider, count, loopback, wait_for
from tests.bench.stack import worker_environment
from tests.conftest import Stack
from tests.integration.sinks.outgoing import Outbox

BACKLOG = 100_000
GOAL_MS = 500.0
# Of the memory at a tenth of the backlog, what may be there at its end; a leak of 1 KB a message would be 90 MB more.
GOAL_MEMORY = 0.9
EVERY_SECONDS = 0.1
RECIPIENTS = 500
START_TIMEOUT_SECONDS = 60.0
DRAIN_TIMEOUT_SECONDS = 420.0
_PAGE = 1_000


def figures(stack: Stack, say: Callable[[str], None]) -> list[Figure]:
    """About three minutes. The stack's own sinks must not run."""
    set_up(stack.settings, lambda _: None)
    outbox = asyncio.run(Outbox.open(stack.settings))
    recipients = [f"patient:bench-{number}" for number in range(RECIPIENTS)]
    asyncio.run(outbox.make_keys(recipients))
    say(f"writing {BACKLOG:,} low texts")
    outbox.flood("sms", "low", recipients, BACKLOG)
    with loopback() as provider:
        sent, memory, seconds = _drain(stack.settings, provider, outbox, recipients)
        arrived = _arrivals(provider, set(sent))
    waits = sorted((arrived[to] - at) * 1000 for to, at in sent.items())
    p50, p99 = (waits[int(len(waits) * share)] for share in (0.5, 0.99))
    early, late = memory[len(memory) // 10], memory[-1]
    say(f"{BACKLOG:,} drained in {seconds:.0f} s ({BACKLOG / seconds:,.0f} a second)")
    say(f"{len(waits)} critical ones: p50 {p50:.0f} ms, p99 {p99:.0f} ms, most {waits[-1]:.0f} ms")
    tenths = " ".join(f"{memory[min(len(memory) - 1, len(memory) * tenth // 10)]:.0f}" for tenth in range(11))
    say(f"memory in MiB at the start and after each tenth: {tenths}")
    name = f"critical amid {BACKLOG:,} low"
    return [
        Figure(f"{name}, p50 (the goal ÷ ours)", p50, GOAL_MS, GOAL_MS / p50, "ms", 1.0),
        Figure(f"{name}, p99 (the goal ÷ ours)", p99, GOAL_MS, GOAL_MS / p99, "ms", 1.0),
        Figure(f"{name}: memory at a tenth ÷ at the end", late, early, early / late, "MiB", GOAL_MEMORY),
    ]


def _drain(
    settings: Settings, provider: Provider, outbox: Outbox, recipients: list[str]
) -> tuple[dict[str, float], list[float], float]:
    """Number → when its critical text was written; the sink's memory in MiB, all along; seconds of the backlog."""
    environment = worker_environment(settings) | {"LUXE_TWILIO_BASE_URL": provider.url, **LIMITS}
    sent: dict[str, float] = {}
    memory: list[float] = []
    producer = make_producer(settings, linger_ms=0)
    process = subprocess.Popen([sys.executable, "-m", "sinks", "sms"], env=environment, stderr=subprocess.PIPE)
    try:
        watched = psutil.Process(process.pid)
        wait_for(lambda: count(provider.url) > 0, process, START_TIMEOUT_SECONDS)
        began = time.monotonic()
        number = 0
        while count(provider.url) < BACKLOG:
            if time.monotonic() - began > DRAIN_TIMEOUT_SECONDS:
                raise RuntimeError(f"only {count(provider.url)} of {BACKLOG} were sent in {DRAIN_TIMEOUT_SECONDS:g} s")
            message = outbox.outgoing("sms", recipients[number % RECIPIENTS], lane="critical")
            value = outbox.records.codec.encode(message.topic, "luxe.pipeline.ChannelMessage", message.message)
            sent[str(message.content["to"])] = time.time()
            producer.produce(message.topic, value, message.message["recipient"].encode())
            producer.poll(0)
            memory.append(watched.memory_info().rss / 2**20)
            number += 1
            time.sleep(max(0.0, began + number * EVERY_SECONDS - time.monotonic()))
        seconds = time.monotonic() - began
        producer.flush()
        wait_for(lambda: count(provider.url) >= BACKLOG + len(sent), process, START_TIMEOUT_SECONDS)
    finally:
        process.terminate()
        process.wait(60)
    return sent, memory, seconds


def _arrivals(provider: Provider, wanted: set[str]) -> dict[str, float]:
    """Number → when the provider took its text, in seconds since the epoch."""
    found: dict[str, float] = {}
    cursor: int | None = 0
    while cursor is not None:
        asked: dict[str, str] = {"channel": "sms", "limit": str(_PAGE), "cursor": str(cursor)}
        page: dict[str, Any] = requests.get(f"{provider.url}/messages", params=asked, timeout=30).json()
        cursor = page["next_cursor"]
        found |= {
            message["to"]: datetime.fromisoformat(message["accepted_at"]).timestamp()
            for message in page["messages"]
            if message["to"] in wanted
        }
    return found
