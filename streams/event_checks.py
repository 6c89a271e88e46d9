"""A record as an event that can be mapped: decoded once, of a type and topic that fit, possible, and under its own key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from schemas.codec import Codec
from schemas.validation import check_event
from streams.rules.mapping import EventMapping
from streams.runtime import PoisonError, Record

# Events that come to nothing because of what came before them: kept with their reason, so that every event is accounted for.
NOT_IN_FORCE: dict[str, tuple[str, None, str]] = {
    "duplicate": (
        "duplicate_event",
        None,
        "its event_id came before; if it is meant as another event, give it another id",
    ),
    "superseded": (
        "superseded_event",
        None,
        "a later version of its aggregate came before; send versions as they rise",
    ),
    "closed": ("closed_aggregate", None, "its aggregate was cancelled and not restored; send its restoration first"),
}


class BadEventError(PoisonError):
    """The event cannot be handled. ``code`` is enumerated; the text names field, shape and mend, never a value."""

    def __init__(self, code: str, field: str | None, explanation: str) -> None:
        super().__init__(f"{field}: {explanation}" if field else explanation)
        self.code = code
        self.field = field


class EventChecks:
    """Reads records of ``events.*``. ``mappings``: by the full name of the record."""

    def __init__(self, codec: Codec, mappings: Mapping[str, EventMapping]) -> None:
        self._decode, self._mappings = codec.decode, mappings

    def read(self, record: Record, now: datetime) -> tuple[EventMapping, dict[str, Any]]:
        """The event and how it is mapped. Raises CodecError, BadEventError."""
        decoded = self._decode(record.value)
        mapping = self._mappings.get(decoded.name)
        if mapping is None:
            raise BadEventError(
                "unknown_event_type",
                None,
                f"{decoded.name} is no event of ours; see the producer's guide for those that are",
            )
        if record.topic != mapping.topic:
            raise BadEventError("wrong_topic", None, f"{mapping.event_type} belongs on {mapping.topic}; send it there")
        event = decoded.value
        impossible = check_event(decoded.name, event, now)
        if impossible:
            first = impossible[0]
            more = f" (and {len(impossible) - 1} more)" if len(impossible) > 1 else ""
            raise BadEventError("impossible_value", first.field, f"{first.shape}: {first.mend}{more}")
        if record.key != event["aggregate_id"].encode():
            shape = "no key" if record.key is None else f"a key of {len(record.key)} bytes that is another text"
            raise BadEventError(
                "wrong_key", "aggregate_id", f"{shape}; send the aggregate_id as key, or its events lose their order"
            )
        return mapping, event
