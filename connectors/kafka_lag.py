"""How much a librdkafka consumer has not read yet, from the client's own statistics: no request of its own, nothing a record.

The client knows each partition's end from every fetch, also an empty one, and up to where it has fetched, past control records
that no application is ever given: read to the end, the lag is 0 also on topics that transactions are written to.
"""

from __future__ import annotations

from typing import Any

import orjson

from connectors.metrics.catalogue import LAG
from connectors.metrics.counting import Read, Source

# How often the client writes its statistics: some 20 µs for a lane, in the client's own thread.
STATISTICS_MS = 5_000


class ConsumerLag:
    """Records not yet handed to the application, by topic and partition. ``statistics`` is the client's callback."""

    def __init__(self) -> None:
        self._unread: dict[tuple[str, int], int] = {}

    @property
    def config(self) -> dict[str, Any]:
        """For ``make_consumer``."""
        return {"statistics_interval_ms": STATISTICS_MS, "stats_cb": self.told}

    @property
    def unread(self) -> dict[tuple[str, int], int]:
        """(topic, partition) → records, of the partitions this client reads."""
        return self._unread

    @property
    def source(self) -> Source:
        """For the exporter."""
        return Read(LAG, lambda: [((topic, str(number)), lag) for (topic, number), lag in self._unread.items()])

    def told(self, statistics: str) -> None:
        """The client's callback, in whichever thread polls it."""
        unread: dict[tuple[str, int], int] = {}
        for topic, seen in orjson.loads(statistics)["topics"].items():
            for number, partition in seen["partitions"].items():
                if partition["fetch_state"] != "active":
                    continue  # not ours, or just being taken
                # Where the application is to go on, where nothing was fetched yet.
                fetched = max(partition["next_offset"], partition["app_offset"])
                end = partition["ls_offset"] if partition["ls_offset"] >= 0 else partition["hi_offset"]
                if fetched < 0 or end < 0:
                    continue
                unread[topic, int(number)] = max(0, end - fetched) + partition["fetchq_cnt"]
        self._unread = unread
