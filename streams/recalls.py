"""A late success recalls what another channel has not sent yet: a gate on that delivery, looked at just before the call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from schemas.codec import Codec
from schemas.topics import AGGREGATE_GATES, PIPELINE_RETENTION_MS
from streams.runtime import Event

RECORD = "luxe.pipeline.Gate"
REASON = "arrived"
# Statuses of a step whose call was not made yet, as far as anybody has told.
_NOT_SENT = ("", "queued")
# Its message is in its topic no longer than that.
_KEPT = timedelta(milliseconds=PIPELINE_RETENTION_MS)


class Recalls:
    """Shuts the gates."""

    def __init__(self, codec: Codec) -> None:
        self._encode = codec.encoder(AGGREGATE_GATES, RECORD)

    def recall(self, event: Event, steps: Sequence[Mapping[str, Any]], now: datetime) -> int:
        """Of these steps, those that are not sent yet are not to be sent any more. How many."""
        waiting = [step for step in steps if step["status"] in _NOT_SENT]
        for step in waiting:
            key = f"delivery:{step['delivery_id']}"
            gate = {
                "gate_key": key,
                "kind": "notification",
                "reason": REASON,
                "source": "notify",
                "aggregate_version": None,
                "created_at": now,
                "expires_at": now + _KEPT,
            }
            event.produce(AGGREGATE_GATES, key.encode(), self._encode(gate))
        return len(waiting)
