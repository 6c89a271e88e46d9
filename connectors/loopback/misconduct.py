"""What a verdict does to a request and its connection: delays, resets, silence."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct

from aiohttp import web

from connectors.loopback.faults import Verdict

# l_onoff=1, l_linger=0: closing then sends RST instead of FIN, which is what a client sees as "connection reset".
_LINGER_RESET = struct.pack("ii", 1, 0)


class Dropped(Exception):
    """The connection is gone on purpose: there is nobody to answer."""


async def before_accepting(request: web.Request, verdict: Verdict) -> None:
    """Delay, reset or silence before anything is kept. Raises Dropped when the connection was given up."""
    if verdict.latency_ms:
        await asyncio.sleep(verdict.latency_ms / 1000)
    if verdict.reset_before:
        reset(request)
        raise Dropped
    if verdict.hang is not None and not verdict.hang.accept:
        await _hang(request, verdict.hang.seconds)


async def after_accepting(request: web.Request, verdict: Verdict) -> None:
    """Reset or silence after the message was kept. Raises Dropped when the connection was given up."""
    if verdict.reset_after:
        reset(request)
        raise Dropped
    if verdict.hang is not None:
        await _hang(request, verdict.hang.seconds)


def reset(request: web.Request) -> None:
    """Close the request's connection with RST."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        # A duplicate of the descriptor: uvloop's stand-in for a socket does not set options itself.
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    transport.abort()


async def _hang(request: web.Request, seconds: float) -> None:
    await asyncio.sleep(seconds)
    reset(request)
    raise Dropped
