"""What receipts say of our account and senders, brought to the breakers: refusals that no call tells of pause all the same."""

from __future__ import annotations

import asyncio
import logging

import psycopg

from connectors.metrics.counting import Source
from connectors.postgres import sender_refusals
from connectors.postgres.pool import Pool
from connectors.settings import Settings
from sinks.runtime.admission import Admission
from sinks.runtime.tools import Tools

log = logging.getLogger(__name__)


class SenderRefusals:
    """Beside the lanes of a channel whose senders may be refused by receipt; never fails."""

    def __init__(self, pool: Pool, provider: str, admission: Admission, poll_seconds: float) -> None:
        self._pool, self._provider, self._admission = pool, provider, admission
        self._poll_seconds = poll_seconds

    @classmethod
    def open(cls, settings: Settings, tools: Tools) -> SenderRefusals:
        """Of the channel's provider."""
        return cls(tools.pool, tools.channel.provider, tools.admission, tools.tuning.refusals_poll_seconds)

    def sources(self) -> list[Source]:
        """None: what is paused is counted where it is paused."""
        return []

    async def run(self) -> None:
        """Until cancelled. While Postgres does not answer, what was last known stands."""
        told = False
        while True:
            try:
                self._admission.told(await sender_refusals.standing(self._pool, self._provider))
                told = False
            except psycopg.Error as error:
                if not told:
                    log.warning("who may send is not known anew (%s); it stands as it did", type(error).__name__)
                told = True
            await asyncio.sleep(self._poll_seconds)

    async def close(self) -> None:
        """Nothing of its own is open."""
