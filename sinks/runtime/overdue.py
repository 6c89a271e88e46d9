"""Receipts that have not come, asked for: notify says which, the provider what became of its message, the desk tells it.

What nobody knows is no failure: it is told as overdue, and stays sent. The question waits for the provider's breaker and limits
as messages do, and is asked again a few times; then that is all that will ever be known, unless a receipt comes after all.
"""

from __future__ import annotations

import logging
import time
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
from sinks.runtime.admission import Admission
from sinks.runtime.channel import Channel
from sinks.runtime.in_flight import Taken
from sinks.runtime.patience import patiently, wait_aside
from sinks.runtime.tuning import Tuning

log = logging.getLogger(__name__)

# No question waits longer for a permit: what waits pins its partition, and nobody may ever send to end a pause.
LONGEST_WAIT_SECONDS = 3600.0

RECORD = "luxe.pipeline.ReceiptQuery"
REASON = "receipt_timeout"
LANE = "low"  # where questions come from
# Receipt words that say no more than we know.
_NOTHING_NEW = ("sent",)


class Overdue:
    """Answers ReceiptQuery records of one channel."""

    def __init__(
        self,
        channel: Channel,
        admission: Admission,
        pool: Pool,
        statuses: StatusLog,
        desk: Desk,
        tuning: Tuning,
    ) -> None:
        self._channel, self._admission, self._pool = channel, admission, pool
        self._statuses, self._desk = statuses, desk
        self._retry_seconds = tuning.postgres_retry_seconds
        self._asks, self._again_seconds = tuning.receipt_asks, tuning.receipt_ask_again_seconds

    async def answer(self, taken: Taken, query: Mapping[str, Any]) -> None:
        """Ask, tell, finish the record; abandon it when its partition leaves.

        Raises psycopg.Error, KafkaException, BufferError for what they refuse."""
        found = await patiently(
            lambda: deliveries.find(self._pool, [query["delivery_id"]]), retry_seconds=self._retry_seconds
        )
        delivery = found.get(query["delivery_id"])
        if delivery is None or delivery.attempt != query["attempt"]:
            taken.finish()  # tried again since: then that attempt's receipts count
            return
        try:
            receipt = await self._ask(taken, delivery)
        except _Leaving:
            taken.abandon()  # whoever comes next asks
            return
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

    async def _ask(self, taken: Taken, delivery: Delivery) -> Receipt | None:
        """None: nobody knows. Raises _Leaving."""
        if delivery.provider_message_id is None:
            return None
        until = time.time() + LONGEST_WAIT_SECONDS
        for asked in range(self._asks):
            if asked and not await wait_aside(taken, self._again_seconds * 2 ** (asked - 1)):
                raise _Leaving
            permit = await self._admission.admit_question(taken, LANE, until)
            if permit is None:
                raise _Leaving
            try:
                if permit.late:
                    break
                receipt = await self._channel.look_up(delivery.provider_message_id, datetime.now(UTC))
            except Refused as error:
                log.warning("%s does not tell of an overdue receipt: %s", self._channel.provider, error)
                if not self._admission.ends.not_told(permit, delivery.clinic_id, error):
                    break
            except OutcomeUnknown as error:
                log.warning("%s does not tell of an overdue receipt: %s", self._channel.provider, error)
                self._admission.ends.unanswered(permit, {"clinic_id": delivery.clinic_id}, error.code)
            else:
                self._admission.ends.answered(permit)
                return receipt
            finally:
                permit.close()
        return None


class _Leaving(Exception):
    """The record's partition is to be another's."""
