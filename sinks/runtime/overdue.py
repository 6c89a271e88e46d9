"""Receipts that have not come, asked for: notify says which, the provider what became of its message, the desk tells it.

What nobody knows is no failure: it is told as overdue, and stays sent. A query is asked once; should the provider not answer
either, that is all that will ever be known, unless a receipt comes after all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from connectors.postgres import deliveries
from connectors.postgres.deliveries import Delivery
from connectors.postgres.pool import Pool
from connectors.providers.outcome import OutcomeUnknown, Refused
from connectors.statuses import StatusLog, delivery_status
from connectors.webhooks.desk import Desk
from connectors.webhooks.receipts import Receipt
from sinks.runtime.channel import Channel
from sinks.runtime.in_flight import Taken
from sinks.runtime.patience import patiently

log = logging.getLogger(__name__)

RECORD = "luxe.pipeline.ReceiptQuery"
REASON = "receipt_timeout"
# Receipt words that say no more than we know.
_NOTHING_NEW = ("sent",)


class Overdue:
    """Answers ReceiptQuery records of one channel."""

    def __init__(
        self, channel: Channel, pool: Pool, statuses: StatusLog, desk: Desk, postgres_retry_seconds: float
    ) -> None:
        self._channel, self._pool, self._statuses, self._desk = channel, pool, statuses, desk
        self._retry_seconds = postgres_retry_seconds

    async def answer(self, taken: Taken, query: Mapping[str, Any]) -> None:
        """Ask, tell, finish the record. Raises psycopg.Error, KafkaException, BufferError for what they refuse."""
        found = await patiently(
            lambda: deliveries.find(self._pool, [query["delivery_id"]]), retry_seconds=self._retry_seconds
        )
        delivery = found.get(query["delivery_id"])
        if delivery is None or delivery.attempt != query["attempt"]:
            taken.finish()  # tried again since: then that attempt's receipts count
            return
        receipt = await self._ask(delivery)
        if receipt is not None and receipt.status not in _NOTHING_NEW:
            await patiently(lambda: self._desk.take([receipt]), retry_seconds=self._retry_seconds)
            taken.finish()
            return
        now = datetime.now(UTC)
        status = delivery_status(
            {name: getattr(delivery, name) for name in Delivery.__slots__},
            "unknown" if delivery.state == "unknown" else "sent",
            status_at=now,
            recorded_at=now,
            provider=delivery.provider,
            provider_event_id=REASON,
            provider_message_id=delivery.provider_message_id,
            provider_status=None if receipt is None else receipt.provider_status,
            reason=REASON,
        )
        self._statuses.write(status, taken.headers, taken.finish)

    async def _ask(self, delivery: Delivery) -> Receipt | None:
        if delivery.provider_message_id is None:
            return None
        try:
            return await self._channel.look_up(delivery.provider_message_id, datetime.now(UTC))
        except (Refused, OutcomeUnknown) as error:
            log.warning("%s could not be asked for an overdue receipt: %s", self._channel.provider, error)
            return None
