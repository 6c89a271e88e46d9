"""How a sink stands, for `luxe status`: a file, written by a thread, for a slow disk must not hold the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from connectors.readiness import tell_standing
from connectors.settings import Settings

log = logging.getLogger(__name__)


class Standing:
    """One channel's. Only the latest word counts: what it said while the one before was being written is left out."""

    def __init__(self, settings: Settings, channel: str) -> None:
        self._settings = settings
        self._channel = channel
        self._next: Mapping[str, Any] | None = None
        self._writing: asyncio.Task[None] | None = None

    def tell(self, standing: Mapping[str, Any]) -> None:
        """Have it written soon; never raises. In the event loop."""
        self._next = standing
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._next is not None:
                standing, self._next = self._next, None
                try:
                    await asyncio.to_thread(tell_standing, self._settings, self._channel, standing)
                except OSError as error:  # a full disk must not cost a message
                    log.warning("%s: how it stands could not be written (%s)", self._channel, error.strerror)
        finally:
            self._writing = None

    async def written(self) -> None:
        """Wait until the latest word is written, or could not be."""
        while self._writing is not None:
            await asyncio.shield(self._writing)
