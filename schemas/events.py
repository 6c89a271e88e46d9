"""Domain events: which record and which topic an event type has."""

from __future__ import annotations

from typing import NamedTuple

from schemas.definitions import event_types
from schemas.topics import event_topic


class EventContract(NamedTuple):
    """Where an event type is written: full record name and topic."""

    record: str
    topic: str


EVENT_TYPES: dict[str, EventContract] = {
    event_type: EventContract(record, event_topic(event_type)) for event_type, record in event_types().items()
}
EVENT_RECORDS: dict[str, str] = {contract.record: event_type for event_type, contract in EVENT_TYPES.items()}

# The fields that every event begins with, in order.
ENVELOPE: tuple[str, ...] = (
    "event_id",
    "event_type",
    "occurred_at",
    "schema_version",
    "source",
    "correlation_id",
    "clinic_id",
    "aggregate_id",
    "aggregate_version",
    "metadata",
)
