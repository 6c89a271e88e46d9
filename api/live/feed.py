"""What connections are told, read from Postgres for many of them in one query, and opened with their owners' keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from api.inbox_model import Openings
from connectors.gathering import Gathered
from connectors.postgres import data_keys, inbox
from connectors.postgres.inbox import Counts, Item, Viewer
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records

# Read at once for one connection: what it holds in memory while it sends, some 20 KB of usual items.
FEED_ITEMS = 20
# Connections read for at once.
FEED_CONNECTIONS = 100


class Fed(NamedTuple):
    """What changed after a version. ``items``: (version, InboxItem). ``last``: the version up to which this is all.

    ``more``: there is more already. ``forgotten``: so much was deleted since that version that the list must be read anew.
    """

    items: Sequence[tuple[int, dict[str, Any]]]
    counts: Counts
    last: int
    more: bool
    forgotten: bool


class Feed:
    """Reads for connections, for as many at once as ask at once."""

    def __init__(self, pool: Pool, records: Records) -> None:
        self._pool = pool
        self._openings = Openings(records)
        self._reading: Gathered[tuple[Viewer, int | None], Fed] = Gathered(
            self._read, max_items=FEED_CONNECTIONS, linger_ms=0, drops_cancelled=True
        )

    async def read(self, viewer: Viewer, after: int | None) -> Fed:
        """What a connection is to be told; ``after`` None: nothing but where it begins. Raises psycopg.Error, SealError."""
        return await self._reading.submit((viewer, after))

    async def _read(self, asked: Sequence[tuple[Viewer, int | None]]) -> list[Fed]:
        following = [(viewer.recipient, after) for viewer, after in asked if after is not None]
        async with self._pool.connection() as connection:
            changes = iter(await inbox.changes(connection, following, FEED_ITEMS) if following else ())
            counts = await inbox.counts(connection, [viewer for viewer, _ in asked])
            keys = await data_keys.find(connection, [recipient for recipient, _ in following])
        return [
            self._fed(viewer, after, [] if after is None else next(changes), counted, keys.get(viewer.recipient))
            for (viewer, after), counted in zip(asked, counts, strict=True)
        ]

    def _fed(
        self,
        viewer: Viewer,
        after: int | None,
        items: Sequence[Item],
        counts: Counts,
        key: data_keys.WrappedKey | None,
    ) -> Fed:
        if after is None:
            return Fed((), counts, counts.version, more=False, forgotten=False)
        # A version of which the inbox knows nothing yet is of another database: a restored one, say.
        if after < counts.forgotten or after > counts.version:
            return Fed((), counts, counts.version, more=False, forgotten=True)
        listed = self._openings.listed([item for item in items if viewer.sees(item)], key)
        last = items[-1].version if items else after
        return Fed(
            [(item["version"], item) for item in listed], counts, last, len(items) == FEED_ITEMS, forgotten=False
        )
