"""Receipts that have not come: the channel's sink is asked to ask its provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from schemas.codec import Codec
from schemas.topics import deliver_topic
from streams.rules.progress import CAN_BE_ASKED
from streams.runtime import Event

RECORD = "luxe.pipeline.ReceiptQuery"
# Nobody waits for it: the message is out, and whoever is to be reached otherwise was reached by the plan's own time-outs.
LANE = "low"


class Overdue:
    """Asks for them."""

    def __init__(self, codec: Codec) -> None:
        self._encoders = {
            channel: (deliver_topic(channel, LANE), codec.encoder(deliver_topic(channel, LANE), RECORD))
            for channel in CAN_BE_ASKED
        }

    def ask(self, event: Event, request: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], now: datetime) -> None:
        """One query for each of these steps that its provider took and nothing more was heard of."""
        for step in steps:
            if step["channel"] not in self._encoders or step["status"] not in ("sent", "unknown"):
                continue
            topic, encode = self._encoders[step["channel"]]
            query = {
                "delivery_id": step["delivery_id"],
                "notification_id": request["notification_id"],
                "notification_type": request["notification_type"],
                "recipient": request["recipient"],
                "clinic_id": request["clinic_id"],
                "channel": step["channel"],
                "attempt": step["attempt"],
                "occurred_at": request["occurred_at"],
                "asked_at": now,
                "correlation_id": request["correlation_id"],
            }
            event.produce(topic, request["recipient"].encode(), encode(query))
