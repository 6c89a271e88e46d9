"""From a message on a deliver topic to a WebSocket client: the in-app sink, Postgres, Kafka and the API, with 2,000 clients open.

Clients and sender are one process; broker, Postgres, sink and API share the machine with it. Each message is to one of the
clients, at random; that all came, each once, is counted. And what a connection costs the API's process in memory.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiohttp
import jwt
import psutil
import psycopg
import uvloop

from api.secret import jwt_secret
from connectors.kafka import make_producer
from connectors.settings import Settings
from connectors.stack.setup import set_up
from tests.bench.report import Figure, rate
from tests.bench.stack import ask_worker
from tests.bench.telling import tell
from tests.conftest import Stack
from tests.integration.sinks.outgoing import Outbox, headers_of

CLIENTS = 2_000
MESSAGES_PER_SECOND = 100
WARM_UP_MESSAGES, MESSAGES = 1_500, 3_000
LANE = "high"
GOAL_P50_MS, GOAL_P99_MS = 20.0, 60.0
# A bound of our own: 2,000 open tabs are to cost no more than the rest of the process.
GOAL_KIB_A_CONNECTION = 64.0
# Connections opened at a time, and how long the last message is waited for.
OPENING = 100
ARRIVAL_SECONDS = 30.0
# What the sink puts away when it comes all at once.
BACKLOG_MESSAGES = 10_000
GOAL_BACKLOG_PER_SECOND = 1_000.0


def figures(stack: Stack, say: Callable[[str], None]) -> list[Figure]:
    """About two minutes."""
    set_up(stack.settings, lambda _: None)
    api = _process_of(stack.settings.api_port)
    before = api.memory_info().rss
    found = ask_worker("tests.bench.live", stack.settings, port=stack.settings.api_port)
    # What the process had grown to with all of them open, and not yet closed.
    kib = (found["rss"] - before) / CLIENTS / 1024
    times = sorted(found["milliseconds"])
    p50, p99 = (times[int(len(times) * share)] for share in (0.5, 0.99))
    say(f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {times[-1]:.0f} ms; {kib:.1f} KiB a connection")
    drained = asyncio.run(_backlog(stack.settings))
    say(f"{drained:,.0f} messages/s into inboxes")
    return [
        _within(f"message → WebSocket, {CLIENTS:,} open, p50 (the goal ÷ ours)", p50, GOAL_P50_MS, "ms"),
        _within(f"message → WebSocket, {CLIENTS:,} open, p99 (the goal ÷ ours)", p99, GOAL_P99_MS, "ms"),
        _within("memory of an open connection (the goal ÷ ours)", kib, GOAL_KIB_A_CONNECTION, "KiB"),
        rate("in-app sink ÷ the rate asked for", [drained], [GOAL_BACKLOG_PER_SECOND], "messages/s", 1.0),
    ]


def _within(name: str, found: float, most: float, unit: str) -> Figure:
    return Figure(name, found, most, most / found, unit, 1.0)


def _process_of(port: int) -> psutil.Process:
    for connection in psutil.net_connections("tcp"):
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
            return psutil.Process(connection.pid)
    raise RuntimeError("the API does not listen")


async def _backlog(settings: Settings) -> float:
    """Messages a second that the sink puts into inboxes when they lie there already."""
    outbox = await Outbox.open(settings)
    people = [f"patient:backlog-{number}" for number in range(500)]
    await outbox.make_keys(people)
    with psycopg.connect(settings.postgres_dsn.get_secret_value(), autocommit=True) as connection:

        def lie_there() -> int:
            row = connection.execute("SELECT count(*) FROM inbox_items WHERE recipient = ANY(%s)", (people,)).fetchone()
            return int(row[0]) if row else 0

        outgoing = [outbox.outgoing("in_app", people[n % len(people)], lane=LANE) for n in range(BACKLOG_MESSAGES)]
        await asyncio.to_thread(outbox.send, outgoing)
        first, began = lie_there(), time.monotonic()
        while (there := lie_there()) < BACKLOG_MESSAGES:
            if time.monotonic() - began > BACKLOG_MESSAGES / 50:
                raise RuntimeError(f"{there} of {BACKLOG_MESSAGES} messages lie in their inboxes")
            await asyncio.sleep(0.02)
        return (there - first) / (time.monotonic() - began)


# The clients' process


async def _clients(settings: Settings, port: int) -> Mapping[str, Any]:
    outbox = await Outbox.open(settings)
    people = [f"patient:live-{number}" for number in range(CLIENTS)]
    await outbox.make_keys(people)
    arrived: dict[str, float] = {}
    done = asyncio.Event()
    wanted = WARM_UP_MESSAGES + MESSAGES

    async def follow(socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            at = time.perf_counter()
            said = json.loads(message.data)
            if said["event"] == "item":
                ident = said["data"]["id"]
                if ident in arrived:
                    raise RuntimeError("a message came twice")
                arrived[ident] = at
                if len(arrived) == wanted:
                    done.set()

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        sockets: list[aiohttp.ClientWebSocketResponse] = []
        for start in range(0, CLIENTS, OPENING):
            sockets += await asyncio.gather(
                *(_open(session, settings, port, person) for person in people[start : start + OPENING])
            )
        following = [asyncio.create_task(follow(socket)) for socket in sockets]
        await asyncio.sleep(2.0)
        rss = _process_of(port).memory_info().rss
        sent = await asyncio.to_thread(_send, settings, outbox, people, wanted)
        try:
            async with asyncio.timeout(ARRIVAL_SECONDS):
                await done.wait()
        except TimeoutError:
            raise RuntimeError(f"{len(arrived)} of {wanted} messages reached their clients") from None
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        counted = list(sent.items())[WARM_UP_MESSAGES:]
        return {"milliseconds": [(arrived[ident] - at) * 1000 for ident, at in counted], "rss": rss}


async def _open(
    session: aiohttp.ClientSession, settings: Settings, port: int, person: str
) -> aiohttp.ClientWebSocketResponse:
    now = int(time.time())
    claims = {"sub": person.partition(":")[2], "role": "patient", "aud": settings.api_jwt_audience}
    token = jwt.encode({**claims, "iat": now, "exp": now + 3600}, jwt_secret(settings), "HS256")
    url = f"http://127.0.0.1:{port}/v1/inbox/live"
    return await session.ws_connect(url, headers={"Authorization": f"Bearer {token}"}, max_msg_size=2**16)


def _send(settings: Settings, outbox: Outbox, people: Sequence[str], messages: int) -> Mapping[str, float]:
    """Notification → when it was handed to the producer, at an even pace."""
    chance = random.Random(2)
    outgoing = [outbox.outgoing("in_app", chance.choice(people), lane=LANE) for _ in range(messages)]
    encode = outbox.records.codec.encoder(outgoing[0].topic, "luxe.pipeline.ChannelMessage")
    values = [encode(one.message) for one in outgoing]
    producer = make_producer(settings, linger_ms=0)
    sent: dict[str, float] = {}
    began = time.perf_counter()
    for number, (one, value) in enumerate(zip(outgoing, values, strict=True)):
        time.sleep(max(0.0, began + number / MESSAGES_PER_SECOND - time.perf_counter()))
        sent[one.message["notification_id"]] = time.perf_counter()
        producer.produce(one.topic, value, one.message["recipient"].encode(), headers=headers_of(one))
        producer.poll(0)
    producer.flush()
    return sent


if __name__ == "__main__":
    import sys

    tell(**uvloop.run(_clients(Settings(), json.loads(sys.argv[1])["port"])))
