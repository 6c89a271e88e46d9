"""Which connections are open in this process, and who has something to read. Of an inbox nothing waits here but numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from connectors.postgres.inbox import Viewer


class Closing(NamedTuple):
    """Why a connection is closed by us. ``code``: of a WebSocket, 4000 to 4999 are an application's own."""

    code: int
    reason: str


TOKEN_EXPIRED = Closing(4401, "token_expired")
SLOW_READER = Closing(4408, "slow_reader")
GOING_AWAY = Closing(1001, "going_away")


class Full(Exception):
    """No more connections now. ``each``: of this person; else of the whole process."""

    def __init__(self, *, each: bool) -> None:
        super().__init__("too many connections of one person" if each else "too many connections")
        self.each = each


class Connection:
    """One open connection: whose, how far it has read, and whether there is more.

    ``last``: the inbox's version up to which it was told everything; None: where it begins is not known yet.
    """

    __slots__ = ("_woken", "closing", "last", "viewer")

    def __init__(self, viewer: Viewer, last: int | None) -> None:
        self.viewer = viewer
        self.last = last
        self.closing: Closing | None = None
        self._woken = asyncio.Event()

    def wake(self, version: int) -> None:
        """The inbox has this version; what is known already wakes nobody."""
        if self.last is None or version > self.last:
            self._woken.set()

    def close(self, closing: Closing) -> None:
        """Ask its handler to close it."""
        self.closing = self.closing or closing
        self._woken.set()

    async def woken(self, seconds: float) -> bool:
        """Wait until there is something to read, or to close; False after ``seconds`` of nothing."""
        try:
            await asyncio.wait_for(self._woken.wait(), seconds)
        except TimeoutError:
            return False
        self._woken.clear()
        return True


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections may be open in one process: in all, and of one person."""

    connections: int
    connections_each: int


class Hub:
    """All open connections of a process. For one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: dict[str, set[Connection]] = {}
        self._count = 0
        self._closing = False

    def __len__(self) -> int:
        return self._count

    def admit(self, connection: Connection) -> None:
        """From now on it is woken. Raises Full."""
        own = self._open.get(connection.viewer.recipient, set())
        if self._count >= self._limits.connections or self._closing:
            raise Full(each=False)
        if len(own) >= self._limits.connections_each:
            raise Full(each=True)
        self._open.setdefault(connection.viewer.recipient, own).add(connection)
        self._count += 1

    def leave(self, connection: Connection) -> None:
        """It is open no more; to be told once."""
        own = self._open[connection.viewer.recipient]
        own.remove(connection)
        self._count -= 1
        if not own:
            del self._open[connection.viewer.recipient]

    def is_here(self, recipient: str) -> bool:
        """Whether this person has a connection open in this process."""
        return recipient in self._open

    def recipients(self) -> list[str]:
        """Everybody who has one."""
        return list(self._open)

    def wake(self, recipient: str, version: int) -> None:
        """This inbox has this version."""
        for connection in self._open.get(recipient, ()):
            connection.wake(version)

    def wake_all(self, versions: Mapping[str, int] | Iterable[tuple[str, int]]) -> None:
        """The same of several."""
        for recipient, version in dict(versions).items():
            self.wake(recipient, version)

    def close_all(self, closing: Closing) -> None:
        """Close every connection, and admit no other: the process ends."""
        self._closing = True
        for own in self._open.values():
            for connection in own:
                connection.close(closing)
