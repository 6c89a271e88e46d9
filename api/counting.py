"""Openings and clicks as statuses in Kafka, told in passing: nobody who follows a link waits for a count.

What a person did is ``read`` or ``clicked``. What a machine did proves no more than that the message left: it is one more
``sent``, whose ``provider_status`` says machine_open or machine_click. Where Kafka stays away for a minute, or this process is
killed, counts are lost, and no link is.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from datetime import datetime
from typing import Literal

from confluent_kafka import KafkaException

from connectors.postgres.deliveries import Delivery
from connectors.settings import Settings
from connectors.statuses import AcknowledgedProducer, StatusLog, delivery_status
from schemas.codec import Codec

log = logging.getLogger(__name__)

LINGER_MS = 5.0
# So long a count waits for Kafka.
KAFKA_TIMEOUT_SECONDS = 60.0
SETTLE_SECONDS = 2.0
# The same link by the same kind of visitor counts once an hour: reloading it makes no more rows.
WINDOW_SECONDS = 3_600
# What was counted lately is remembered; forgotten, its repeat has the same id and is recognised later.
REMEMBERED = 50_000

_WORDS = {"clicked": "click", "read": "open"}


class Counting:
    """Tells Kafka. Must be made in the running event loop."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._producer = AcknowledgedProducer(
            settings, on_failure=_lost, linger_ms=LINGER_MS, message_timeout_seconds=KAFKA_TIMEOUT_SECONDS
        )
        self._log = StatusLog(self._producer, codec)
        self._lately: OrderedDict[str, None] = OrderedDict()

    def count(
        self, code: str, delivery: Delivery, status: Literal["clicked", "read"], *, machine: bool, now: datetime
    ) -> None:
        """Hand one over, and return. Never raises: a count is not worth a link."""
        word = f"machine_{_WORDS[status]}" if machine else _WORDS[status]
        occasion = f"{code}:{word}:{int(now.timestamp()) // WINDOW_SECONDS}"
        if occasion in self._lately:
            return
        self._lately[occasion] = None
        if len(self._lately) > REMEMBERED:
            self._lately.popitem(last=False)
        fields = {name: getattr(delivery, name) for name in Delivery.__slots__}
        told = delivery_status(
            fields,
            "sent" if machine else status,
            status_at=now,
            recorded_at=now,
            provider_event_id=occasion,
            provider_message_id=delivery.provider_message_id,
            provider_status=word,
        )
        headers = [("correlation_id", delivery.correlation_id)] if delivery.correlation_id else []
        try:
            self._log.write(told, headers)
        except (BufferError, KafkaException) as error:
            _lost(error)

    async def close(self) -> None:
        """Wait a moment for what is on its way."""
        await self._producer.settle(SETTLE_SECONDS)


def _lost(error: Exception) -> None:
    name = error.args[0].name() if isinstance(error, KafkaException) else type(error).__name__
    log.warning("an opening or click was not counted: %s", name)
