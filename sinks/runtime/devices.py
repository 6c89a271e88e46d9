"""Which devices are a person's now: a push message names those she had when it was rendered; somebody else may hold one since.

And what their badge is to show: her unread items at that moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from connectors.gathering import Gathered
from connectors.postgres import devices
from connectors.postgres.pool import Pool
from sinks.runtime.patience import patiently
from sinks.runtime.tuning import Tuning

_Asked = tuple[str, frozenset[str]]


class Theirs(NamedTuple):
    """Hashes of one person's devices; how many items of her inbox are unread, None where she has none."""

    hashes: frozenset[str]
    unread: int | None


class Devices:
    """Asks Postgres for many messages at once; waits while it is away."""

    def __init__(self, pool: Pool, tuning: Tuning) -> None:
        self._pool = pool
        self._retry_seconds = tuning.postgres_retry_seconds
        self._asking: Gathered[_Asked, Theirs] = Gathered(
            self._ask, max_items=tuning.batch_rows, linger_ms=tuning.batch_linger_ms
        )

    async def held(self, recipient: str, hashes: Iterable[str]) -> Theirs:
        """Those of the devices' hashes that are registered for this recipient, and their badge."""
        return await self._asking.submit((recipient, frozenset(hashes)))

    async def _ask(self, batch: Sequence[_Asked]) -> list[Theirs]:
        recipients = list({recipient for recipient, _ in batch})
        hashes = list({one for _, several in batch for one in several})
        found = await patiently(lambda: devices.held(self._pool, recipients, hashes), retry_seconds=self._retry_seconds)
        return [
            Theirs(frozenset(one for one in several if (recipient, one) in found.devices), found.unread.get(recipient))
            for recipient, several in batch
        ]
