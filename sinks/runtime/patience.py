"""Postgres may be away for a while: what needs it waits, nothing is given up, nothing is guessed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg

log = logging.getLogger(__name__)

Result = TypeVar("Result")


async def patiently(ask: Callable[[], Awaitable[Result]], *, retry_seconds: float) -> Result:
    """The answer, as soon as Postgres gives one. Errors that are the question's own fault are raised."""
    told = False
    while True:
        try:
            return await ask()
        except psycopg.OperationalError as error:
            if not told:
                log.warning("Postgres does not answer (%s); deliveries wait for it", type(error).__name__)
                told = True
            await asyncio.sleep(retry_seconds)
