"""Events as the coordinator reads them: by intake's own checks; and dead letters of what it cannot handle for all that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg
from confluent_kafka import Message

from connectors import alerts
from connectors.metrics.catalogue import DEAD_LETTERS as DEAD_LETTERS_COUNTED
from connectors.metrics.counting import Counts
from connectors.postgres import outbox
from connectors.postgres.policies import strangers_key
from connectors.postgres.pool import Pool
from connectors.postgres.records import SYSTEM_CLINIC, Records
from connectors.sealing import DataKey, SealError, seal
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


class UnopenableSlot(Exception):
    """What one slot is cannot be opened: altered, or sealed with a key that its clinic has no more."""

    code = "unopenable_slot"

    def __init__(self, cause: SealError) -> None:
        super().__init__(f"what is kept of the slot cannot be opened: {cause}")


class Letters:
    """Reads events, and buries what cannot be handled: a dead letter, and an alarm."""

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
        """Make a dead letter, and an alarm; the same again for the same record.

        Raises what Postgres raises, SealError where neither the clinic's nor the system's key can be used.
        """
        topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
        letter_id = dead_letter_id(topic, partition, offset, STAGE)
        key, value = _bytes(message.key()), _bytes(message.value())
        named = message.headers() or ()
        pairs = named.items() if isinstance(named, dict) else named
        headers = [{"name": name, "value": _bytes(found)} for name, found in pairs]
        content = self._records.codec.encode_content(CONTENT, {"key": key, "value": value, "headers": headers})
        async with self._pool.connection() as connection:
            data_key = await self._key(connection, event["clinic_id"])
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
            alert = alerts.system_alert(
                event["clinic_id"],
                component="waitlist",
                code="waitlist_event_buried",
                summary="An event of a waitlist's slot could not be handled: nobody is told of it. "
                "`luxe dead-letters list` says why; `luxe waitlist show` says how the slot stands.",
                now=now,
                severity="critical",
                subject=event["aggregate_id"],
            )
            wire = self._records.codec.encode(alerts.TOPIC, alerts.RECORD, alert)
            await outbox.add(connection, alerts.TOPIC, alert["aggregate_id"].encode(), wire)
        self.counted.add(STAGE, letter["error_code"])

    async def _key(self, connection: psycopg.AsyncConnection, clinic_id: str) -> DataKey:
        """The clinic's; the system's, if that one is what is wrong."""
        wrapped = await strangers_key(connection, clinic_id)
        try:
            return self._records.keys.get(wrapped.wrapped, wrapped.subject, wrapped.clinic_id)
        except SealError:
            wrapped = await strangers_key(connection, SYSTEM_CLINIC)
            return self._records.keys.get(wrapped.wrapped, wrapped.subject, wrapped.clinic_id)


def _bytes(found: str | bytes | None) -> bytes | None:
    return found.encode() if isinstance(found, str) else found
