"""Live: what comes, and what another tab does, is told in every process; resumed where it was cut; closed with a reason."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import jwt
import pytest

from api.secret import jwt_secret
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from tests.integration.api.conftest import Api, api_on
from tests.integration.api.inboxes import Inboxes, arrival, inboxes_of, person
from tests.integration.api.test_inbox import INBOX, caller_of

pytestmark = pytest.mark.integration

WAIT_SECONDS = 90.0  # of a test for what must come


@pytest.fixture
async def inboxes(settings: Settings, pool: Pool, records: Records) -> AsyncIterator[Inboxes]:
    async with inboxes_of(settings, pool, records) as opened:
        yield opened


class Tab:
    """One open connection, and what it was told."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.last = 0

    async def told(self, *events: str) -> dict[str, Any]:
        """The next event of one of these kinds; others are passed over."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                message = await self.socket.receive()
                assert message.type is aiohttp.WSMsgType.TEXT, message
                said: dict[str, Any] = json.loads(message.data)
                self.last = said.get("id", self.last)
                if said["event"] in events:
                    return said

    async def closed(self) -> int | None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not self.socket.closed:
                await self.socket.receive()
        return self.socket.close_code


def bearer(api: Api, recipient: str) -> dict[str, str]:
    kind, _, id_ = recipient.partition(":")
    token = api.token("patient" if kind == "patient" else "staff", id_, "c1")
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def tab_on(api: Api, recipient: str, after: int | None = None) -> AsyncIterator[Tab]:
    query = "" if after is None else f"?after={after}"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{api.url}v1/inbox/live{query}", headers=bearer(api, recipient)) as socket,
    ):
        yield Tab(socket)


async def test_two_processes_and_three_tabs_agree(settings: Settings, inboxes: Inboxes) -> None:
    recipient, key = await person(inboxes.pool, inboxes.records)
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(api_on(settings)) for _ in range(2)]
        tabs = [await stack.enter_async_context(tab_on(api, recipient)) for api in (here, here, there)]
        for tab in tabs:
            assert (await tab.told("hello"))["data"]["unread"] == 0
        one = arrival(inboxes.records, recipient, key, "Your visit")
        await inboxes.put([one])
        for tab in tabs:
            told = await tab.told("item")
            assert (told["data"]["id"], told["data"]["title"]) == (one.notification_id, "Your visit")
            assert (await tab.told("counts"))["data"]["unread"] == 1
        await caller_of(there, recipient)("POST", f"{INBOX}/items/{one.notification_id}/read")
        for tab in tabs:
            assert (await tab.told("item"))["data"]["readAt"] is not None
            assert (await tab.told("counts"))["data"]["unread"] == 0


async def test_what_kafka_did_not_tell_the_heartbeat_finds(settings: Settings, inboxes: Inboxes) -> None:
    recipient, key = await person(inboxes.pool, inboxes.records)
    async with (
        api_on(settings.model_copy(update={"inbox_heartbeat_seconds": 0.2})) as api,
        tab_on(api, recipient) as tab,
    ):
        await tab.told("heartbeat")
        await inboxes.put([arrival(inboxes.records, recipient, key)], told=False)
        await tab.told("item")


async def test_a_browser_sends_its_token_as_a_protocol_and_strangers_pages_are_refused(
    api: Api, inboxes: Inboxes
) -> None:
    recipient, _ = await person(inboxes.pool, inboxes.records)
    token = bearer(api, recipient)["Authorization"].removeprefix("Bearer ")
    protocols = ("luxe.inbox.v1", f"luxe.bearer.{token}")
    url = f"{api.url}v1/inbox/live"
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url, protocols=protocols, origin=api.url.rstrip("/")) as socket:
            assert socket.protocol == "luxe.inbox.v1"
            await Tab(socket).told("hello")
        for refused, offered, origin in ((404, protocols, "https://evil.example"), (401, ("luxe.inbox.v1",), None)):
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                await session.ws_connect(url, protocols=offered, origin=origin)
            assert error.value.status == refused


async def test_more_connections_than_allowed_are_refused(settings: Settings, inboxes: Inboxes) -> None:
    recipient, _ = await person(inboxes.pool, inboxes.records)
    other, _ = await person(inboxes.pool, inboxes.records)
    few = settings.model_copy(update={"inbox_connections": 2, "inbox_connections_each": 1})
    async with api_on(few) as api, AsyncExitStack() as stack:
        await (await stack.enter_async_context(tab_on(api, recipient))).told("hello")
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            await stack.enter_async_context(tab_on(api, recipient))
        assert error.value.status == 429
        await (await stack.enter_async_context(tab_on(api, other))).told("hello")
        third, _ = await person(inboxes.pool, inboxes.records)
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            await stack.enter_async_context(tab_on(api, third))
        assert error.value.status == 503


async def test_it_is_closed_when_its_token_expires_and_when_the_process_ends(
    settings: Settings, inboxes: Inboxes
) -> None:
    recipient, _ = await person(inboxes.pool, inboxes.records)
    claims = {"sub": recipient.partition(":")[2], "role": "patient", "aud": settings.api_jwt_audience}
    async with AsyncExitStack() as stack:
        running = AsyncExitStack()
        api = await running.enter_async_context(api_on(settings.model_copy(update={"api_jwt_skew_seconds": 0})))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        now = int(time.time())
        token = jwt.encode({**claims, "iat": now, "exp": now + 20}, jwt_secret(settings), "HS256")
        socket = await session.ws_connect(f"{api.url}v1/inbox/live", headers={"Authorization": f"Bearer {token}"})
        assert await Tab(socket).closed() == 4401
        tab = await stack.enter_async_context(tab_on(api, recipient))
        await tab.told("hello")
        closing = asyncio.create_task(running.aclose())
        assert await tab.closed() == 1001
        await closing


async def test_server_sent_events_say_the_same_and_resume(api: Api, inboxes: Inboxes) -> None:
    recipient, key = await person(inboxes.pool, inboxes.records)
    await inboxes.put([arrival(inboxes.records, recipient, key, f"Number {n}") for n in range(3)])
    headers = {**bearer(api, recipient), "Last-Event-ID": "1"}
    async with aiohttp.ClientSession() as session, session.get(f"{api.url}v1/inbox/events", headers=headers) as stream:
        assert (stream.status, stream.content_type) == (200, "text/event-stream")
        assert stream.headers["Cache-Control"] == "no-store"
        said: list[dict[str, str]] = []
        async with asyncio.timeout(WAIT_SECONDS):
            while sum(one.get("event") == "item" for one in said) < 2:
                block = (await stream.content.readuntil(b"\n\n")).decode().strip()
                said.append(dict(line.split(": ", 1) for line in block.splitlines()))
    items = [one for one in said if one.get("event") == "item"]
    assert [(one["id"], json.loads(one["data"])["title"]) for one in items] == [("2", "Number 1"), ("3", "Number 2")]


async def test_who_was_away_for_too_long_is_told_to_read_anew(api: Api, inboxes: Inboxes, settings: Settings) -> None:
    recipient, key = await person(inboxes.pool, inboxes.records)
    await inboxes.put([arrival(inboxes.records, recipient, key)])
    async with inboxes.pool.connection() as connection:
        await connection.execute("UPDATE inboxes SET version = 9, forgotten = 5 WHERE recipient = %s", (recipient,))
    for after in (4, 10):
        async with tab_on(api, recipient, after) as tab:
            assert (await tab.told("reload"))["data"] == {"version": 9}
