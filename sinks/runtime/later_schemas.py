"""What was written with a schema that this process does not know yet waits: the process is older than the record's writer.

Nothing is wrong with such a record: a process of the writer's release, or this one once the registry has the schema, handles it.
"""

from __future__ import annotations

import logging

from connectors.metrics.counting import Read, Source, one
from connectors.metrics.upgrading import LATER_SCHEMAS
from schemas.codec import LaterSchemaError

log = logging.getLogger(__name__)

# How soon it is tried again: an upgrade takes minutes, and a registry is asked for an unknown id no oftener anyway.
RETRY_SECONDS = 5.0


class LaterSchemas:
    """Those of one channel's process. ``over`` may be told of anything that never waited."""

    def __init__(self, channel: str) -> None:
        self._channel = channel
        self._waiting: set[object] = set()
        self._told: set[int | None] = set()

    def waits(self, what: object, error: LaterSchemaError) -> float:
        """It waits; for how many seconds before it is read again."""
        self._waiting.add(what)
        self.tell(error)
        return RETRY_SECONDS

    def tell(self, error: LaterSchemaError) -> None:
        """One line in the log for each schema."""
        if error.schema_id not in self._told:
            self._told.add(error.schema_id)
            log.error(
                "%s: this process does not know schema id %s, so it is older than what it reads: deploy it before notify and "
                "the API (docs/runbooks/upgrade.md); with an HTTP registry, `luxe schemas push`. What has it waits, unsent",
                *(self._channel, error.schema_id),
            )

    def held(self, taken: object) -> float:
        """A message waits for a gate that was told of so; for how many seconds before it is looked at again."""
        self._waiting.add(taken)
        return RETRY_SECONDS

    def over(self, what: object) -> None:
        """It was read, or is left to its next owner."""
        self._waiting.discard(what)

    @property
    def source(self) -> Source:
        """For the exporter."""
        return Read(LATER_SCHEMAS, one(lambda: len(self._waiting), self._channel))
