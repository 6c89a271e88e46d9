"""Two API processes, one of them killed; tabs that are cut off again and again; and clients that do not read."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import pytest

from api.live import streams
from api.resources import HUB
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from tests.integration.api.conftest import Api, api_on
from tests.integration.api.inboxes import Inboxes, arrival, inboxes_of, person
from tests.integration.api.test_inbox import INBOX
from tests.integration.api.test_live import WAIT_SECONDS, bearer
from tests.integration.sinks.rig import environment, free_port, wait_for

pytestmark = pytest.mark.integration

STEPS = 120


@pytest.fixture
async def inboxes(settings: Settings, pool: Pool, records: Records) -> AsyncIterator[Inboxes]:
    async with inboxes_of(settings, pool, records) as opened:
        yield opened


class Process:
    """An API as a process of its own."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.port = free_port()
        self._settings = settings.model_copy(update={"api_port": self.port})
        self._name = name
        self.start()

    def start(self) -> None:
        ready = self._settings.state_dir / "ready" / self._name
        ready.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "api"], env=os.environ | environment(self._settings, self._name)
        )
        wait_for(lambda: ready.exists() or self._process.poll() is not None)
        assert self._process.poll() is None, f"the API ended with status {self._process.returncode}"

    def end(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        self._process.wait(WAIT_SECONDS)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def processes(settings: Settings) -> Iterator[list[Process]]:
    running = [Process(settings, f"api-{n}") for n in range(2)]
    try:
        yield running
    finally:
        for one in running:
            one.end(signal.SIGTERM)


class Follower:
    """A tab that is cut off every few events, goes on at either process, and keeps what it was told."""

    def __init__(self, urls: list[str], headers: dict[str, str], seed: int) -> None:
        self._urls = urls
        self._headers = headers
        self._random = random.Random(seed)
        self.items: dict[str, dict[str, Any]] = {}
        self.last = 0
        self.cuts = 0

    async def follow(self) -> None:
        async with aiohttp.ClientSession(headers=self._headers) as session:
            while True:
                url = f"{self._random.choice(self._urls)}{INBOX}/live?after={self.last}"
                try:
                    async with session.ws_connect(url) as socket:
                        await self._take(socket)
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)
                self.cuts += 1

    async def _take(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        left = self._random.randint(1, 12)
        async for message in socket:
            said = json.loads(message.data)
            if said["event"] == "item":
                item = said["data"]
                assert item["version"] == said["id"] > self.last  # never twice, never backwards
                self.items[item["id"]] = item
            self.last = said.get("id", self.last)
            left -= 1
            if not left:
                return


async def test_a_random_history_is_told_whole_to_tabs_that_are_cut_and_by_a_process_that_is_killed(
    settings: Settings, inboxes: Inboxes
) -> None:
    recipient, key = await person(inboxes.pool, inboxes.records)
    chance = random.Random(7)
    told = settings.model_copy(update={"inbox_heartbeat_seconds": 0.5, "inbox_connections_each": 64})
    with processes(told) as running:
        urls = [one.url for one in running]
        async with api_on(settings) as api:  # for its tokens: the secret is the same
            headers = bearer(api, recipient)
        followers = [Follower(urls, headers, seed) for seed in range(3)]
        following = [asyncio.create_task(one.follow()) for one in followers]
        async with aiohttp.ClientSession(headers=headers) as session:

            async def listed(**query: str) -> dict[str, Any]:
                for url in chance.sample(urls, 2):
                    try:
                        async with session.get(f"{url}{INBOX}", params=query) as reply:
                            found: dict[str, Any] = await reply.json()
                            return found
                    except aiohttp.ClientError:
                        continue
                raise AssertionError("no API answers")

            for step in range(STEPS):
                if step == STEPS // 2:
                    await asyncio.to_thread(running[0].end, signal.SIGKILL)
                if step == STEPS * 3 // 4:
                    await asyncio.to_thread(running[0].start)
                known = (await listed(view="all", limit="100"))["items"]
                if not known or chance.random() < 0.4:
                    some = [arrival(inboxes.records, recipient, key) for _ in range(chance.randint(1, 3))]
                    await inboxes.put(some, told=chance.random() < 0.8)
                    continue
                method, mark = chance.choice([("POST", "read"), ("DELETE", "read"), ("POST", "archive")])
                path = f"{INBOX}/items/{chance.choice(known)['id']}/{mark}"
                try:
                    async with session.request(method, chance.choice(urls) + path) as reply:
                        assert reply.status == 200
                except aiohttp.ClientError:
                    pass  # the one that was killed
            truth: list[dict[str, Any]] = []
            cursor: dict[str, str] = {}
            version = (await listed())["version"]
            while True:
                page = await listed(view="all", limit="100", **cursor)
                truth += page["items"]
                if page["next"] is None:
                    break
                cursor = {"cursor": page["next"]}
        async with asyncio.timeout(WAIT_SECONDS):
            while any(  # noqa: ASYNC110 - nobody sets an event for what a tab was told
                one.last < version and not task.done() for one, task in zip(followers, following, strict=True)
            ):
                await asyncio.sleep(0.05)
        for task in following:
            assert not task.done(), task
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
    assert {item["id"]: item for item in truth} == followers[0].items == followers[1].items == followers[2].items
    assert min(one.cuts for one in followers) > 5


async def test_who_does_not_read_is_closed_with_a_reason_and_nothing_of_it_stays(
    settings: Settings, inboxes: Inboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It begins to read at last, and has the time to: 5 s may be little for 30 MB on a busy machine.
    monkeypatch.setattr(streams, "CLOSE_SECONDS", 60.0)
    recipient, key = await person(inboxes.pool, inboxes.records)
    other, other_key = await person(inboxes.pool, inboxes.records)
    # More than sockets' buffers hold.
    long = "x" * 200_000
    await inboxes.put([arrival(inboxes.records, recipient, key, body=long) for _ in range(150)])
    impatient = settings.model_copy(update={"inbox_send_seconds": 0.5})
    async with api_on(impatient) as api, aiohttp.ClientSession() as session:
        hub = _app_of(api)[HUB]
        slow = await session.ws_connect(f"{api.url}v1/inbox/live?after=0", headers=bearer(api, recipient))
        brisk = await session.ws_connect(f"{api.url}v1/inbox/live", headers=bearer(api, other))
        assert json.loads((await brisk.receive()).data)["event"] == "hello"
        # Its neighbour is told all the while.
        await inboxes.put([arrival(inboxes.records, other, other_key)])
        async with asyncio.timeout(WAIT_SECONDS):
            while json.loads((await brisk.receive()).data)["event"] != "item":
                pass
            # The close frame waits behind what it did not read: as soon as it reads, it learns why.
            await asyncio.sleep(3.0)  # six times what it may keep us waiting
            while not slow.closed:
                await slow.receive()
            assert slow.close_code == 4408
            await _until(lambda: len(hub) == 1)
        await brisk.close()


async def test_who_never_reads_again_is_cut_off(settings: Settings, inboxes: Inboxes) -> None:
    recipient, key = await person(inboxes.pool, inboxes.records)
    await inboxes.put([arrival(inboxes.records, recipient, key, body="x" * 200_000) for _ in range(150)])
    impatient = settings.model_copy(update={"inbox_send_seconds": 0.2})
    async with api_on(impatient) as api, aiohttp.ClientSession() as session:
        hub = _app_of(api)[HUB]
        sockets = [
            await session.ws_connect(f"{api.url}v1/inbox/live?after=0", headers=bearer(api, recipient)),
            await session.get(f"{api.url}v1/inbox/events?after=0", headers=bearer(api, recipient)),
        ]
        async with asyncio.timeout(WAIT_SECONDS):
            await _until(lambda: not len(hub))
        assert len(sockets) == 2  # held open until here


async def _until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110 - the hub tells nobody who leaves it
        await asyncio.sleep(0.05)


def _app_of(api: Api) -> Any:
    return api._client.app
