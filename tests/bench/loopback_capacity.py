"""How many messages a second the loopback provider takes: the ceiling of every sink benchmark that runs against it.

    python tests/bench/loopback_capacity.py [--seconds 5] [--connections 32] [--receipts on]

Starts a provider of its own with a fresh state directory, and speaks to it over raw sockets, so that the client costs
as little as it can. With receipts on, a sink that only answers 200 runs in a second process.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import multiprocessing
import re
import subprocess
import sys
import tempfile
import time
from functools import partial
from typing import cast
from urllib.parse import urlencode
from urllib.request import urlopen

import orjson
import uvloop

ACCOUNT = "AC00000000000000000000000000000000"  # the default of our settings
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def twilio_request(number: int, callback: str | None) -> bytes:
    """One request to send a text."""
    form = {
        "To": f"+1555{number % 10_000_000:07d}",
        "From": "+15005550006",
        "Body": "Your visit is on Tuesday at 14:30. Reply C to confirm. " * 2,
    }
    if callback is not None:
        form["StatusCallback"] = callback
    credentials = base64.b64encode(f"{ACCOUNT}:loopback-token".encode()).decode()
    return _post(
        f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json",
        "application/x-www-form-urlencoded",
        f"Basic {credentials}",
        urlencode(form).encode(),
    )


def sendgrid_request(number: int, callback: str | None) -> bytes:
    """One request to send an email of 4 KiB."""
    mail = {
        "personalizations": [
            {"to": [{"email": f"patient{number}@example.com"}], "custom_args": {"delivery_id": str(number)}}
        ],
        "from": {"email": "care@luxe.example"},
        "subject": "Your visit",
        "content": [
            {"type": "text/plain", "value": "Your visit is on Tuesday at 14:30. " * 10},
            {"type": "text/html", "value": "<p>Your visit is on Tuesday at 14:30.</p>" * 90},
        ],
    }
    return _post("/v3/mail/send", "application/json", "Bearer SG.loopback", orjson.dumps(mail))


def _post(path: str, content_type: str, authorization: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\nUser-Agent: capacity\r\n"
        f"Authorization: {authorization}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Connection(asyncio.Protocol):
    """One keep-alive connection: a request, its answer, the next request."""

    def __init__(self, requests: list[bytes], until: float, latencies: list[float]) -> None:
        self._requests = requests
        self._until = until
        self._latencies = latencies
        self._at = 0
        self._sent = 0.0
        self._buffer = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # a stream's; uvloop's own class does not say so
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = _LENGTH.search(head)
        if length is not None and len(rest) < int(length[1]):
            return
        if not head.startswith((b"HTTP/1.1 201", b"HTTP/1.1 202")):
            self._transport.abort()
            self.done.set_exception(RuntimeError(head.split(b"\r\n", 1)[0].decode()))
            return
        self._buffer = b""
        now = time.perf_counter()
        self._latencies.append(now - self._sent)
        if now < self._until:
            self._next()
        else:
            self._transport.close()
            self.done.set_result(None)

    def _next(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._requests[self._at % len(self._requests)])
        self._at += 1


async def load(port: int, requests: list[bytes], connections: int, seconds: float) -> tuple[float, list[float]]:
    """Messages a second, and the latencies in seconds."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    start = time.perf_counter()
    opened = []
    for index in range(connections):
        mine = requests[index::connections]
        opened.append(
            await loop.create_connection(partial(_Connection, mine, start + seconds, latencies), "127.0.0.1", port)
        )
    await asyncio.gather(*(connection.done for _, connection in opened))
    return len(latencies) / (time.perf_counter() - start), sorted(latencies)


def answer_webhooks(port: multiprocessing.Queue[int]) -> None:
    """A webhook that answers 200 to everything."""
    from aiohttp import web

    async def receive(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response()

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(web.Server(receive), "127.0.0.1", 0)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--receipts", choices=["on", "off"], default="off")
    asked = parser.parse_args()
    callback = None
    extra: list[str] = []
    webhook = None
    if asked.receipts == "on":
        ports: multiprocessing.Queue[int] = multiprocessing.Queue()
        webhook = multiprocessing.Process(target=answer_webhooks, args=(ports,), daemon=True)
        webhook.start()
        base = f"http://127.0.0.1:{ports.get()}"
        callback, extra = f"{base}/status", ["--webhook-url", base]
    with tempfile.TemporaryDirectory() as state_dir:
        provider = subprocess.Popen(
            [
                *(sys.executable, "-m", "connectors.loopback", "--port", "0"),
                *("--state-dir", state_dir, "--receipts", asked.receipts, *extra),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            if provider.stdout is None:
                raise RuntimeError("no output of the provider")
            port = int(provider.stdout.readline().rsplit(":", 1)[1])
            for name, build in (("twilio", twilio_request), ("sendgrid", sendgrid_request)):
                requests = [build(number, callback) for number in range(20_000)]
                rate, latencies = uvloop.run(load(port, requests, asked.connections, asked.seconds))
                p50, p99 = (latencies[int(len(latencies) * share)] * 1000 for share in (0.5, 0.99))
                print(
                    f"{name}: {rate:,.0f} messages/s, {asked.connections} connections, receipts {asked.receipts}, "
                    f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
                )
            with urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
                print(answer.read().decode())
        finally:
            provider.terminate()
            provider.wait(10)
            if webhook is not None:
                webhook.terminate()


if __name__ == "__main__":
    main()
