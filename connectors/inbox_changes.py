"""Wake-ups for open connections: a record on ``inbox.changes`` once Postgres has a change of an inbox. Ids and versions only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from confluent_kafka import KafkaException

from connectors.statuses import AcknowledgedProducer
from schemas.codec import Codec
from schemas.topics import INBOX_CHANGES

log = logging.getLogger(__name__)

RECORD = "luxe.pipeline.InboxChange"


class InboxChanges:
    """Writes InboxChange records, keyed by the recipient.

    One that is lost is no harm but delay: every API process also asks Postgres, at each heartbeat, for versions that it missed.
    """

    def __init__(self, producer: AcknowledgedProducer, codec: Codec) -> None:
        self._producer = producer
        self._encode = codec.encoder(INBOX_CHANGES, RECORD)

    async def arrived(self, recipient: str, notification_id: str, version: int) -> None:
        """A new item; returns once Kafka has it. Raises KafkaException, BufferError."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        value = self._encoded(recipient, "arrived", notification_id, version)
        self._producer.send(
            INBOX_CHANGES, recipient.encode(), value, (), partial(_resolve, done), partial(_reject, done)
        )
        await done

    def changed(self, versions: Mapping[str, int], notification_id: str | None) -> None:
        """Items were read, archived, acknowledged: recipient → version of the inbox. Waits for nothing, and fails silently."""
        for recipient, version in versions.items():
            value = self._encoded(recipient, "changed", notification_id, version)
            try:
                self._producer.send(INBOX_CHANGES, recipient.encode(), value, (), failed=_told)
            except BufferError:  # Kafka is away for long: the heartbeat's look at Postgres does instead
                return

    def _encoded(
        self, recipient: str, kind: Literal["arrived", "changed"], notification_id: str | None, version: int
    ) -> bytes:
        return self._encode(
            {
                "recipient": recipient,
                "kind": kind,
                "notification_id": notification_id,
                "version": version,
                "changed_at": datetime.now(UTC),
            }
        )


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():  # its message may have been given up meanwhile
        done.set_result(None)


def _reject(done: asyncio.Future[None], error: KafkaException) -> None:
    if not done.done():
        done.set_exception(error)


def _told(error: KafkaException) -> None:
    log.warning(
        "a change of an inbox was not told: %s; connections learn of it at their heartbeat", error.args[0].name()
    )
