"""What waits in the outbox, as it would be in Kafka."""

from __future__ import annotations

from typing import Any

from connectors.postgres.outbox_sealing import opened
from connectors.postgres.records import Records


def decoded(records: Records, topic: str, value: bytes, sealed: bool) -> dict[str, Any]:
    """A row's record."""
    wire = opened(records.ring, topic, value) if sealed else value
    return dict(records.codec.decode(wire).value)
