"""Questions to ClickHouse from a server: a few at a time, each in a thread, on clients that are opened when they are needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from connectors.clickhouse.remote import open_remote
from connectors.settings import Settings, SettingsError

T = TypeVar("T")

# The embedded engine has four handles; half of them stay the analysts'.
AT_ONCE = 2


class ClickHouseAway(Exception):
    """ClickHouse does not answer, or has no tables yet."""


class Asking:
    """Clients of one process. A client that failed, or whose asker went away, is not used again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._places = asyncio.Semaphore(AT_ONCE)
        self._idle: list[Client] = []

    async def ask(self, question: Callable[[Client], T]) -> T:
        """What ``question`` makes of a client. Raises ClickHouseAway."""
        async with self._places:
            try:
                client = self._idle.pop() if self._idle else await asyncio.to_thread(open_remote, self._settings)
                answer = await asyncio.to_thread(question, client)
            except (ClickHouseError, SettingsError) as error:
                raise ClickHouseAway(f"ClickHouse: {type(error).__name__}") from error
            self._idle.append(client)
            return answer

    async def close(self) -> None:
        """Close what is idle."""
        for client in self._idle:
            await asyncio.to_thread(client.close)
        self._idle.clear()
