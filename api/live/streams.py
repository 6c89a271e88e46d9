"""The two live routes: one pump, two ways to say it. Events: hello, item, counts, heartbeat, reload, bye (SSE's close code)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import orjson
import psycopg
from aiohttp import WSMsgType, web

from api import access
from api.answering import add_headers
from api.identity import Identity
from api.inbox import PATH, viewer_of
from api.inbox_model import counted
from api.live.feed import Feed
from api.live.hub import SLOW_READER, TOKEN_EXPIRED, Closing, Connection, Full, Hub
from api.problems import Problem, not_found, unusable
from api.resources import FEED, HUB, SETTINGS, identity_of
from api.routes import Answer, Parameter, Route
from connectors.settings import Settings
from schemas.shapes import Violation, shape_of

log = logging.getLogger(__name__)

PROTOCOL = "luxe.inbox.v1"
# Clients say nothing but pongs; more than this is none of ours.
MAX_CLIENT_BYTES = 1_024
# After our close frame the client has so long to take what is still on its way.
CLOSE_SECONDS = 5.0
RETRY_MS = 2_000
FULL_RETRY_SECONDS = 30
# Postgres is away: ask again, rarely.
STORE_RETRY_SECONDS = 2.0
_VERSION = re.compile(r"[0-9]{1,18}")


class Speaker(Protocol):
    """One connection's way to its client."""

    async def say(self, event: str, version: int | None, data: Mapping[str, Any]) -> None:
        """Send one event; ``version``: the place to resume from. Raises ConnectionError when the client is gone."""


async def pump(feed: Feed, connection: Connection, identity: Identity, speaker: Speaker, settings: Settings) -> Closing:
    """Tell what there is, then what comes, until there is a reason to close. Raises ConnectionError."""
    heartbeat = settings.inbox_heartbeat_seconds

    async def say(event: str, version: int | None, data: Mapping[str, Any]) -> None:
        async with asyncio.timeout(settings.inbox_send_seconds):
            await speaker.say(event, version, data)

    try:
        greeted = False
        while connection.closing is None:
            left = identity.until - time.time()
            if left <= 0:
                return TOKEN_EXPIRED
            try:
                fed = await feed.read(connection.viewer, connection.last)
            except (psycopg.OperationalError, TimeoutError):
                await asyncio.sleep(STORE_RETRY_SECONDS)
                continue
            if not greeted:
                greeted = True
                # Where it begins, not how far what follows will bring it: whoever is cut off now has been told nothing of that.
                begins = fed.last if connection.last is None or fed.forgotten else connection.last
                told = {**counted(fed.counts), "version": begins, "heartbeatSeconds": heartbeat}
                await say("hello", begins, told)
            if fed.forgotten:
                await say("reload", fed.last, {"version": fed.last})
            for version, item in fed.items:
                await say("item", version, item)
            moved, connection.last = fed.last != connection.last, fed.last
            if fed.more:
                continue
            if moved:
                await say("counts", fed.last, {**counted(fed.counts), "version": fed.last})
            while not await connection.woken(max(0.0, min(heartbeat, identity.until - time.time()))):
                if time.time() >= identity.until:
                    return TOKEN_EXPIRED
                await say("heartbeat", None, {"version": connection.last})
    except TimeoutError:
        return SLOW_READER
    return connection.closing


async def over_websocket(request: web.Request) -> web.StreamResponse:
    """Each message is JSON: `event`, `id` (the version to resume `after`), `data`. The server says all, the client nothing."""
    identity = identity_of(request)
    connection = Connection(viewer_of(identity), _resumed(request))
    settings, hub = request.app[SETTINGS], request.app[HUB]
    _same_origin(request)
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise Problem(400, "Open it as a WebSocket; /v1/inbox/events is the same over HTTP.")
    _admitted(hub, connection)
    try:
        socket = web.WebSocketResponse(
            protocols=(PROTOCOL,),
            heartbeat=settings.inbox_heartbeat_seconds,
            timeout=CLOSE_SECONDS,
            max_msg_size=MAX_CLIENT_BYTES,
            compress=False,  # a deflate window is more memory than everything else of a connection
        )
        add_headers(request, socket)
        await socket.prepare(request)
        await _converse(request, socket, connection, identity)
        return socket
    finally:
        hub.leave(connection)


class _Socket:
    """Speaker over a WebSocket."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def say(self, event: str, version: int | None, data: Mapping[str, Any]) -> None:
        told: dict[str, Any] = {"event": event, "data": data}
        if version is not None:
            told["id"] = version
        await self._socket.send_frame(orjson.dumps(told, option=orjson.OPT_UTC_Z), WSMsgType.TEXT)


async def _converse(
    request: web.Request, socket: web.WebSocketResponse, connection: Connection, identity: Identity
) -> None:
    """Pump until there is a reason to close, or the client has gone."""

    async def listen() -> None:
        async for _ in socket:
            pass  # pings and pongs are answered beneath; anything else says nothing to us

    listening = asyncio.create_task(listen())
    pumping = asyncio.create_task(pump(request.app[FEED], connection, identity, _Socket(socket), request.app[SETTINGS]))
    try:
        await asyncio.wait({listening, pumping}, return_when=asyncio.FIRST_COMPLETED)
        if pumping.done() and not listening.done():
            # While somebody listens, closing would not wait for the client to take what is on its way.
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            with contextlib.suppress(ConnectionError):
                closing = pumping.result()
                await _close(request, socket, closing)
    finally:
        for task in (pumping, listening):
            task.cancel()
        await asyncio.gather(pumping, listening, return_exceptions=True)


async def _close(request: web.Request, socket: web.WebSocketResponse, closing: Closing) -> None:
    """Say why; whoever does not take it within CLOSE_SECONDS is cut off: nothing of theirs stays in memory."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.close(code=closing.code, message=closing.reason.encode(), drain=False)
    # Answered, it is closed already.
    if request.transport is not None:
        request.transport.abort()


async def over_sse(request: web.Request) -> web.StreamResponse:
    """Server-sent events (`fetch` with a token; EventSource can send none). Before we close comes `bye` with the reason."""
    identity = identity_of(request)
    connection = Connection(viewer_of(identity), _resumed(request))
    settings, hub = request.app[SETTINGS], request.app[HUB]
    _admitted(hub, connection)
    try:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        add_headers(request, response)
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            await response.write(f"retry: {RETRY_MS}\n\n".encode())
            speaker = _Events(response)
            closing = await pump(request.app[FEED], connection, identity, speaker, settings)
            if closing is SLOW_READER and request.transport is not None:
                request.transport.abort()  # nothing gets through to whoever does not read
            else:
                await speaker.say("bye", None, {"code": closing.code, "reason": closing.reason})
        return response
    finally:
        hub.leave(connection)


class _Events:
    """Speaker over server-sent events."""

    def __init__(self, response: web.StreamResponse) -> None:
        self._response = response

    async def say(self, event: str, version: int | None, data: Mapping[str, Any]) -> None:
        place = b"" if version is None else b"id: %d\n" % version
        told = orjson.dumps(data, option=orjson.OPT_UTC_Z)  # no line break is ever in it
        await self._response.write(place + b"event: " + event.encode() + b"\ndata: " + told + b"\n\n")


def _resumed(request: web.Request) -> int | None:
    """The version after which the client wants to be told: Last-Event-ID, else ``after``; None: from now on."""
    said = request.headers.get("Last-Event-ID") or request.query.get("after")
    if said is None:
        return None
    if _VERSION.fullmatch(said) is None:
        raise unusable([Violation("after", shape_of(said), "send the `id` of the last event, or a page's `version`")])
    return int(said)


def _admitted(hub: Hub, connection: Connection) -> None:
    try:
        hub.admit(connection)
    except Full as full:
        retry = {"Retry-After": str(FULL_RETRY_SECONDS)}
        raise Problem(429 if full.each else 503, f"There are {full}.", headers=retry) from None


def _same_origin(request: web.Request) -> None:
    """A browser says which page opens a WebSocket, and asks nobody before. Raises Problem 404 for a stranger's."""
    origin = request.headers.get("Origin")
    if origin is None or origin in request.app[SETTINGS].api_cors_origins:
        return
    ours = {urlsplit(request.app[SETTINGS].pages_url).netloc, request.host}
    if urlsplit(origin).netloc not in ours:
        raise not_found()


_AFTER = Parameter(
    "after",
    "query",
    "Begin after this version: of a page, or of the last event; without it, with what comes from now on.",
    {"type": "string", "pattern": "^[0-9]{1,18}$"},
)
_LAST_EVENT_ID = Parameter("Last-Event-ID", "header", "As `after`.", {"type": "string", "pattern": "^[0-9]{1,18}$"})

ROUTES = (
    Route(
        "GET",
        PATH + "/live",
        over_websocket,
        access.OWN_INBOX,
        "Follow the inbox over a WebSocket",
        (Answer(101, "It is open"),),
        parameters=(_AFTER, _LAST_EVENT_ID),
        problems=(400, 422),
        tag="live",
        streams=True,
    ),
    Route(
        "GET",
        PATH + "/events",
        over_sse,
        access.OWN_INBOX,
        "Follow the inbox by server-sent events",
        (Answer(200, "It goes on until either side ends it", media_type="text/event-stream"),),
        parameters=(_AFTER, _LAST_EVENT_ID),
        problems=(422,),
        tag="live",
        streams=True,
    ),
)
