"""Events as the coordinator reads them: by intake's own checks; and dead letters of what it cannot handle for all that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Message

from connectors.metrics.catalogue import DEAD_LETTERS as DEAD_LETTERS_COUNTED
from connectors.metrics.counting import Counts
from connectors.postgres import outbox
from connectors.postgres.policies import strangers_key
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.sealing import seal
from schemas.codec import CodecError
from schemas.ids import dead_letter_id
from schemas.topics import DEAD_LETTERS
from streams.catalog import Catalog
from streams.dead_letters import CONTENT, LETTER, code_of, explanation_of
from streams.event_checks import BadEventError, EventChecks
from streams.rules.mapping import compile_mapping
from streams.runtime.records import Record

STAGE = "coordinator"


class Unreadable(Exception):
    """A record that is no event which may be. Says nothing of it: intake's dead letter does."""


class Letters:
    """Reads events, and buries what cannot be handled."""

    def __init__(self, pool: Pool, records: Records, types: Catalog) -> None:
        self._pool, self._records = pool, records
        self._checks = EventChecks(records.codec, compile_mapping(types))
        self._encode = records.codec.encoder(DEAD_LETTERS, LETTER)
        self.counted = Counts(DEAD_LETTERS_COUNTED)

    def read(self, message: Message, now: datetime) -> dict[str, Any]:
        """The event. Raises Unreadable."""
        record = Record(
            message.topic() or "",
            message.partition() or 0,
            message.offset() or 0,
            _bytes(message.key()),
            _bytes(message.value()),
            message.timestamp()[1],
        )
        try:
            return self._checks.read(record, now)[1]
        except (CodecError, BadEventError):
            raise Unreadable from None

    async def bury(self, message: Message, event: Mapping[str, Any], error: Exception, now: datetime) -> None:
        """Make a dead letter; the same again for the same record. Raises what Postgres raises."""
        topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
        letter_id = dead_letter_id(topic, partition, offset, STAGE)
        key, value = _bytes(message.key()), _bytes(message.value())
        named = message.headers() or ()
        pairs = named.items() if isinstance(named, dict) else named
        headers = [{"name": name, "value": _bytes(found)} for name, found in pairs]
        content = self._records.codec.encode_content(CONTENT, {"key": key, "value": value, "headers": headers})
        async with self._pool.connection() as connection:
            wrapped = await strangers_key(connection, event["clinic_id"])
            data_key = self._records.keys.get(wrapped.wrapped, wrapped.subject, wrapped.clinic_id)
            letter = {
                "dead_letter_id": letter_id,
                "stage": STAGE,
                "source_topic": topic,
                "source_partition": partition,
                "source_offset": offset,
                "source_timestamp": datetime.fromtimestamp(max(0, message.timestamp()[1]) / 1000, UTC),
                "error_code": code_of(error),
                "explanation": explanation_of(error),
                "field": getattr(error, "field", None),
                "schema_id": None,
                "schema_name": None,
                "event_id": event["event_id"],
                "event_type": event["event_type"],
                "notification_id": None,
                "notification_type": None,
                "recipient": None,
                "clinic_id": event["clinic_id"],
                "original_bytes": len(key or b"") + len(value or b""),
                "recorded_at": now,
                "correlation_id": event["correlation_id"],
                "sealed": seal(data_key, "DeadLetter", letter_id, content),
            }
            await outbox.add(connection, DEAD_LETTERS, letter_id.encode(), self._encode(letter))
        self.counted.add(STAGE, letter["error_code"])


def _bytes(found: str | bytes | None) -> bytes | None:
    return found.encode() if isinstance(found, str) else found
