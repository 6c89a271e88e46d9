"""Domain events of the webhooks' own, on their topics: told once Kafka has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaException

from connectors.postgres.records import Records
from connectors.statuses import AcknowledgedProducer
from schemas.events import EVENT_TYPES


class EventLog:
    """Writes events."""

    def __init__(self, records: Records, producer: AcknowledgedProducer) -> None:
        self._codec, self._producer = records.codec, producer
        self._encoders: dict[str, tuple[str, Callable[[Mapping[str, Any]], bytes]]] = {}

    async def publish(self, event: Mapping[str, Any]) -> None:
        """Return once Kafka has it, under its aggregate's key. Raises CodecError, KafkaException, BufferError."""
        topic, encode = self._encoder(event["event_type"])
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def failed(error: KafkaException) -> None:
            if not done.done():
                done.set_exception(error)

        headers = [("correlation_id", event["correlation_id"])]
        headers.append(("occurred_at_ms", str(int(event["occurred_at"].timestamp() * 1000))))
        self._producer.send(
            topic,
            event["aggregate_id"].encode(),
            encode(event),
            headers,
            lambda: None if done.done() else done.set_result(None),
            failed,
        )
        await done

    def _encoder(self, event_type: str) -> tuple[str, Callable[[Mapping[str, Any]], bytes]]:
        found = self._encoders.get(event_type)
        if found is None:
            contract = EVENT_TYPES[event_type]
            encode = self._codec.encoder(contract.topic, contract.record)
            found = self._encoders[event_type] = (contract.topic, encode)
        return found
