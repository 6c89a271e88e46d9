"""Puts a record that cannot be delivered into the dead letters, whole and sealed, with its cause."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from connectors.sealing import seal
from connectors.statuses import AcknowledgedProducer
from schemas.codec import Codec
from schemas.ids import dead_letter_id
from schemas.topics import DEAD_LETTERS
from sinks.runtime.counted import Counted
from sinks.runtime.in_flight import Taken
from sinks.runtime.keys import Keys
from sinks.runtime.poison import PoisonError

RECORD = "luxe.pipeline.DeadLetter"


class DeadLetters:
    """Writes DeadLetter records of one stage (the channel's name)."""

    def __init__(
        self, producer: AcknowledgedProducer, codec: Codec, keys: Keys, *, stage: str, counted: Counted
    ) -> None:
        self._counted = counted
        self._producer = producer
        self._codec = codec
        self._keys = keys
        self._stage = stage
        self._encode = codec.encoder(DEAD_LETTERS, RECORD)

    async def write(
        self, taken: Taken, poison: PoisonError, message: Mapping[str, Any] | None, acknowledged: Callable[[], None]
    ) -> None:
        """Hand the letter over; ``acknowledged`` is called once Kafka has it. ``message``: what could be read of it."""
        source = taken.message
        topic, partition = source.topic() or "", source.partition() or 0
        known = message or {}
        headers = taken.headers
        letter_id = dead_letter_id(topic, partition, taken.offset, self._stage)
        content = {
            "key": source.key(),
            "value": source.value(),
            "headers": [{"name": name, "value": value} for name, value in headers],
        }
        key = await self._keys.of_clinic(known.get("clinic_id"))
        letter = {
            "dead_letter_id": letter_id,
            "stage": self._stage,
            "source_topic": topic,
            "source_partition": partition,
            "source_offset": taken.offset,
            "source_timestamp": datetime.fromtimestamp(max(0, source.timestamp()[1]) / 1000, UTC),
            "error_code": poison.code,
            "explanation": poison.explanation,
            "field": poison.field,
            "schema_id": None,
            "schema_name": None,
            "event_id": known.get("event_id"),
            "event_type": None,
            "notification_id": known.get("notification_id"),
            "notification_type": known.get("notification_type"),
            "recipient": known.get("recipient"),
            "clinic_id": known.get("clinic_id"),
            "original_bytes": len(source.key() or b"") + len(source.value() or b""),
            "recorded_at": datetime.now(UTC),
            "correlation_id": known.get("correlation_id"),
            "sealed": seal(
                key, "DeadLetter", letter_id, self._codec.encode_content("luxe.pipeline.DeadLetterContent", content)
            ),
        }
        self._counted.buried(poison.code)
        # Not under the original's key, which may be anything; what follows a record of ours are headers of ours.
        self._producer.send(DEAD_LETTERS, letter_id.encode(), self._encode(letter), headers, acknowledged)
