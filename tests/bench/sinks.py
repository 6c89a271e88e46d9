"""SMS and email sinks, each alone, against the loopback provider; beside a bare asyncio loop that does nothing but post.

``python -m tests.bench.sinks [--messages N]`` prints the figures; ``benchmarks()`` returns them as records of
``build/bench.json``. The sink decodes, opens, looks its gates up, keeps a ledger in Postgres and writes three statuses a
message; the reference only posts. Broker, Postgres, provider and sink share the machine; receipts are off.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
import requests
import uvloop
from confluent_kafka import TopicPartition

from connectors.kafka import make_consumer
from connectors.providers.sendgrid import Email, build
from connectors.settings import Settings
from schemas.topics import deliver_topic
from sinks.runtime.lanes import group_of
from tests.integration.sinks.outgoing import Outbox, Outgoing

GOAL_MESSAGES_PER_SECOND = 1_000
MESSAGES = 10_000
RECIPIENTS = 500
LANE = "normal"
# As many posts at a time as the sink has slots in this lane.
REFERENCE_CONNECTIONS = 128
POLL_SECONDS = 0.02
START_TIMEOUT_SECONDS = 60.0


def benchmarks(
    settings: Settings, messages: int = MESSAGES, say: Callable[[str], None] = print
) -> list[dict[str, Any]]:
    """Both channels and their references over the same messages. About a minute. The stack's own sinks must not run."""
    return [_benchmark(settings, channel, messages, say) for channel in ("sms", "email")]


def _benchmark(settings: Settings, channel: str, messages: int, say: Callable[[str], None]) -> dict[str, Any]:
    outgoing = asyncio.run(_fill(settings, channel, messages))
    say(f"{channel}: {messages:,} messages wait in the log")
    with _provider() as provider:
        reference = uvloop.run(_only_post(settings, provider, channel, outgoing))
    say(f"{channel}: only posting: {reference:,.0f} messages/s")
    with _provider() as provider:
        ours = _sink(settings, provider, channel, messages)
    say(f"{channel}: the sink: {ours:,.0f} messages/s")
    return {
        "name": f"{channel} sink alone, receipts off",
        "ours": round(ours),
        "reference": round(reference),
        "ratio": round(ours / reference, 3),
        "unit": "messages/s",
        "goal": GOAL_MESSAGES_PER_SECOND,
    }


async def _fill(settings: Settings, channel: str, messages: int) -> list[Outgoing]:
    outbox = await Outbox.open(settings)
    recipients = [f"patient:bench-{number}" for number in range(RECIPIENTS)]
    await outbox.make_keys(recipients)
    outgoing = [outbox.outgoing(channel, recipients[n % RECIPIENTS], lane=LANE) for n in range(messages)]
    outbox.send(outgoing)
    return outgoing


def _sink(settings: Settings, provider: str, channel: str, messages: int) -> float:
    """Messages a second that the provider took, from the sink's first to its last, with every offset committed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sinks", channel], env=_environment(settings, provider), stderr=subprocess.PIPE
    )
    try:
        _wait_for(lambda: _count(provider) > 0, process, START_TIMEOUT_SECONDS)
        first, began = _count(provider), time.monotonic()
        _wait_for(lambda: _count(provider) >= messages, process, messages / 50)
        seconds = time.monotonic() - began
        _wait_for(lambda: _lag(settings, channel) == 0, process, 30)
    finally:
        process.terminate()
        process.wait(60)
    return (messages - first) / seconds


def _wait_for(reached: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        if process.poll() is not None:
            said = process.stderr.read().decode() if process.stderr else ""
            raise RuntimeError(f"the sink ended with status {process.returncode}: {said[-2000:]}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"not reached within {seconds:g} s")
        time.sleep(POLL_SECONDS)


def _lag(settings: Settings, channel: str) -> int:
    consumer = make_consumer(settings, group_of(channel, LANE))
    try:
        topic = deliver_topic(channel, LANE)
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        lag = 0
        for committed in consumer.committed([TopicPartition(topic, number) for number in partitions], timeout=10):
            low, high = consumer.get_watermark_offsets(committed, timeout=10)
            lag += high - max(committed.offset, low)
        return lag
    finally:
        consumer.close()


async def _only_post(settings: Settings, provider: str, channel: str, outgoing: Sequence[Outgoing]) -> float:
    """The reference: the same bodies to the same provider over the same number of connections, and nothing else."""
    url, headers, bodies = _requests(settings, provider, channel, outgoing)
    waiting = iter(bodies)

    async def post(session: aiohttp.ClientSession) -> None:
        for body in waiting:
            async with session.post(url, data=body, headers=headers) as answer:
                await answer.read()
                if answer.status >= 300:
                    raise RuntimeError(f"the provider answered {answer.status}")

    connector = aiohttp.TCPConnector(limit=REFERENCE_CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session:
        began = time.monotonic()
        await asyncio.gather(*(post(session) for _ in range(REFERENCE_CONNECTIONS)))
        return len(bodies) / (time.monotonic() - began)


def _requests(
    settings: Settings, provider: str, channel: str, outgoing: Sequence[Outgoing]
) -> tuple[str, dict[str, str], list[bytes]]:
    if channel == "sms":
        account, token = settings.twilio_account_sid, settings.twilio_auth_token.get_secret_value()
        headers = {
            "Authorization": aiohttp.encode_basic_auth(account, token),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        bodies = [
            urlencode(
                {"To": one.content["to"], "From": settings.twilio_care_sender, "Body": one.content["body"]}
            ).encode()
            for one in outgoing
        ]
        return f"{provider}/2010-04-01/Accounts/{account}/Messages.json", headers, bodies
    headers = {
        "Authorization": f"Bearer {settings.sendgrid_api_key.get_secret_value()}",
        "Content-Type": "application/json",
    }
    bodies = [
        orjson.dumps(
            build(
                Email(
                    sender=settings.email_from,
                    to=one.content["to"],
                    subject=one.content["subject"],
                    text=one.content["body"],
                    html=one.content["html"],
                    delivery_id=one.id,
                )
            ).get()
        )
        for one in outgoing
    ]
    return f"{provider}/v3/mail/send", headers, bodies


@contextlib.contextmanager
def _provider() -> Iterator[str]:
    """A loopback provider of our own, receipts off; its address."""
    with tempfile.TemporaryDirectory(prefix="luxe-bench-") as folder:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "connectors.loopback", "--port", "0"),
                *("--state-dir", str(Path(folder) / "loopback"), "--receipts", "off"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            line = process.stdout.readline() if process.stdout else ""
            yield f"http://127.0.0.1:{int(line.rsplit(':', 1)[1])}"
        finally:
            process.terminate()
            process.wait(10)


def _count(provider: str) -> int:
    return int(requests.get(f"{provider}/messages/count", timeout=10).json()["total"])


def _environment(settings: Settings, provider: str) -> dict[str, str]:
    return os.environ | {
        "LUXE_STATE_DIR": str(settings.state_dir),
        "LUXE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "LUXE_POSTGRES_DSN": settings.postgres_dsn.get_secret_value(),
        "LUXE_TWILIO_BASE_URL": provider,
        "LUXE_SENDGRID_BASE_URL": provider,
        "LUXE_SERVICE_NAME": "bench-sink",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    chosen = parser.parse_args()
    print(json.dumps(benchmarks(Settings(), chosen.messages), indent=1))


if __name__ == "__main__":
    main()
