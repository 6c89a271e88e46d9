"""Which devices are a person's now: a push message names those she had when it was rendered; somebody else may hold one since."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from connectors.gathering import Gathered
from connectors.postgres import devices
from connectors.postgres.pool import Pool
from sinks.runtime.patience import patiently
from sinks.runtime.tuning import Tuning

_Asked = tuple[str, frozenset[str]]


class Devices:
    """Asks Postgres for many messages at once; waits while it is away."""

    def __init__(self, pool: Pool, tuning: Tuning) -> None:
        self._pool = pool
        self._retry_seconds = tuning.postgres_retry_seconds
        self._asking: Gathered[_Asked, frozenset[str]] = Gathered(
            self._ask, max_items=tuning.batch_rows, linger_ms=tuning.batch_linger_ms
        )

    async def held(self, recipient: str, hashes: Iterable[str]) -> frozenset[str]:
        """Those of the devices' hashes that are registered for this recipient."""
        return await self._asking.submit((recipient, frozenset(hashes)))

    async def _ask(self, batch: Sequence[_Asked]) -> list[frozenset[str]]:
        recipients = list({recipient for recipient, _ in batch})
        hashes = list({one for _, several in batch for one in several})
        found = await patiently(lambda: devices.held(self._pool, recipients, hashes), retry_seconds=self._retry_seconds)
        return [frozenset(one for one in several if (recipient, one) in found) for recipient, several in batch]
