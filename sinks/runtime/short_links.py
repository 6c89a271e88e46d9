"""A message's short links, stored before it is sent: a link must lead somewhere when it is in somebody's hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.gathering import Gathered
from connectors.postgres import short_links
from connectors.postgres.pool import Pool
from connectors.postgres.short_links import ShortLink
from connectors.sealing.keyring import KeyRing
from connectors.settings import Settings
from connectors.short_links.codes import ShortLinks
from sinks.runtime.patience import patiently
from sinks.runtime.tuning import Tuning


class LinkStore:
    """Stores links, many messages' in one commit. Waits while Postgres is away, as the ledger does."""

    def __init__(self, settings: Settings, pool: Pool, ring: KeyRing, tuning: Tuning) -> None:
        self._short = ShortLinks(ring, settings.pages_url)
        self._pool = pool
        self._days = settings.short_link_days
        self._retry_seconds = tuning.postgres_retry_seconds
        self._gathered: Gathered[Sequence[ShortLink], None] = Gathered(
            self._keep, max_items=tuning.batch_rows, linger_ms=tuning.batch_linger_ms
        )

    async def keep(self, message: Mapping[str, Any], links: Sequence[Mapping[str, Any]]) -> None:
        """Return once they are stored; most messages have none."""
        if links:
            await self._gathered.submit([self._row(message, link) for link in links])

    def _row(self, message: Mapping[str, Any], link: Mapping[str, Any]) -> ShortLink:
        code, url, delivery_id = link["code"], link["url"], message["delivery_id"]
        target = None if url is None else self._short.seal(code, delivery_id, url)
        return ShortLink(code, delivery_id, message["recipient"], target, link["counted"])

    async def _keep(self, batch: Sequence[Sequence[ShortLink]]) -> list[None]:
        rows = [link for links in batch for link in links]
        await patiently(
            lambda: short_links.keep(self._pool, rows, self._days),
            retry_seconds=self._retry_seconds,
        )
        return [None] * len(batch)
