"""Events as their topics carry them."""

from __future__ import annotations

from typing import Any

from connectors.demo.script import Told
from schemas.codec import Codec
from schemas.events import EVENT_TYPES
from streams.runtime import Record


class EventRecords:
    """Records of events, with an encoder for each type, made when it is first told."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._found: dict[str, tuple[str, Any]] = {}
        self._offset = 0

    def told(self, told: Told) -> Record:
        """The record. Raises KeyError for a type that is none of ours, CodecError."""
        found = self._found.get(told.event_type)
        if found is None:
            contract = EVENT_TYPES[told.event_type]
            found = self._found[told.event_type] = (
                contract.topic,
                self._codec.encoder(contract.topic, contract.record),
            )
        topic, encode = found
        return self.record(topic, told.value["aggregate_id"].encode(), encode(told.value), told.at_ms)

    def record(self, topic: str, key: bytes, value: bytes | None, at_ms: int) -> Record:
        """The record of an event that is encoded already."""
        self._offset += 1
        return Record(topic, 0, self._offset, key, value, at_ms)
