"""What a provider signed and we do not understand goes into the dead letters, sealed, with what is wrong with it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from confluent_kafka import KafkaException

from connectors.postgres.policies import strangers_key
from connectors.postgres.pool import Pool
from connectors.postgres.records import SYSTEM_CLINIC, Records
from connectors.sealing import seal
from connectors.statuses import AcknowledgedProducer
from connectors.webhooks.batches import Misfit
from connectors.webhooks.counted import Counted
from schemas.ids import derived_id
from schemas.topics import DEAD_LETTERS

log = logging.getLogger(__name__)

LETTER = "luxe.pipeline.DeadLetter"
CONTENT = "luxe.pipeline.DeadLetterContent"
STAGE = "webhooks"
CODE = "unreadable_receipt"
# Of one request: a provider that changed its form changed it for all entries, and a hundred tell as much as all.
MAX_LETTERS = 100


class Misfits:
    """Writes DeadLetter records of the webhooks. The same entry has the same letter, however often it is posted."""

    def __init__(self, pool: Pool, records: Records, producer: AcknowledgedProducer, counted: Counted) -> None:
        self._pool = pool
        self._records = records
        self._producer = producer
        self._counted = counted
        self._encode = records.codec.encoder(DEAD_LETTERS, LETTER)

    async def keep(self, misfits: Sequence[Misfit]) -> None:
        """Return once Kafka has a letter of each, MAX_LETTERS at most. Raises psycopg.Error, KafkaException, BufferError."""
        if not misfits:
            return
        first = misfits[0]
        log.warning(
            "%d entries of a batch are left out; the first, entry %d: %s", len(misfits), first.number, first.error
        )
        async with self._pool.connection() as connection:
            wrapped = await strangers_key(connection, SYSTEM_CLINIC)
        key = self._records.keys.get(wrapped.wrapped, wrapped.subject, wrapped.clinic_id)
        now = datetime.now(UTC)
        await asyncio.gather(*(self._send(self._letter(one, key, now)) for one in misfits[:MAX_LETTERS]))
        for one in misfits:
            self._counted.refused(one.provider, "entry")
        self._counted.buried(CODE, len(misfits[:MAX_LETTERS]))

    def _letter(self, misfit: Misfit, key: Any, now: datetime) -> dict[str, Any]:
        source = f"webhook {misfit.provider}"
        letter_id = derived_id("dead-letter", source, hashlib.sha256(misfit.raw).hexdigest())
        content: dict[str, Any] = {"key": None, "value": misfit.raw, "headers": []}
        nothing = dict.fromkeys(
            (
                *("field", "schema_id", "schema_name", "event_id", "event_type", "notification_id"),
                *("notification_type", "recipient", "clinic_id", "correlation_id"),
            )
        )
        return nothing | {
            "dead_letter_id": letter_id,
            "stage": STAGE,
            "source_topic": source,
            "source_partition": 0,
            "source_offset": misfit.number,
            "source_timestamp": now,
            "error_code": CODE,
            "explanation": str(misfit.error),
            "original_bytes": len(misfit.raw),
            "recorded_at": now,
            "sealed": seal(key, "DeadLetter", letter_id, self._records.codec.encode_content(CONTENT, content)),
        }

    async def _send(self, letter: dict[str, Any]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._producer.send(
            DEAD_LETTERS,
            letter["dead_letter_id"].encode(),
            self._encode(letter),
            [],
            partial(_settle, done, None),
            partial(_settle, done),
        )
        await done


def _settle(done: asyncio.Future[None], error: KafkaException | None) -> None:
    if done.done():  # its request may have been given up meanwhile
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
