"""Waiting: for Postgres, which may be away for a while, with nothing given up and nothing guessed; and for a time to be over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg

from sinks.runtime.in_flight import Taken

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# How soon who waits sees that it is to leave.
LOOK_SECONDS = 0.5


async def patiently(ask: Callable[[], Awaitable[Result]], *, retry_seconds: float) -> Result:
    """The answer, as soon as Postgres gives one. Errors that are the question's own fault are raised."""
    told = False
    while True:
        try:
            return await ask()
        except (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout) as error:
            # The latter: we stood still for a minute, and the server gave our transaction up; nothing of it was done.
            if not told:
                log.warning("Postgres does not answer (%s); deliveries wait for it", type(error).__name__)
                told = True
            await asyncio.sleep(retry_seconds)


async def wait_aside(taken: Taken, seconds: float) -> bool:
    """Wait without a slot, if one may step aside; False as soon as the record's partition is leaving."""
    aside = taken.step_aside()
    try:
        while seconds > 0 and not taken.leaving:
            await asyncio.sleep(min(LOOK_SECONDS, seconds))
            seconds -= LOOK_SECONDS
    finally:
        if aside:
            taken.step_back()
    return not taken.leaving
