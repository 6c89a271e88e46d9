"""Refusals of single messages that a person must look at: an alarm a kind, clinic and hour, whether call or receipt tells it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import KafkaException

from connectors.alerts import RECORD, TOPIC, system_alert
from connectors.statuses import AcknowledgedProducer
from schemas.codec import Codec

log = logging.getLogger(__name__)

# An hour's fit one screen.
AGAIN_SECONDS = 3600.0
MAX_REMEMBERED = 1_000

_REFUSED: Mapping[str, str] = {
    "account": "{provider} refused a message for how our account or sender is set up (code {code}).",
    "content_filtered": "{provider} refused a message for what it says or how it is made (code {code}): look at its template.",
    "media": "{provider} cannot have a message's picture, or carriers refuse it (code {code}): look at image_url.",
    "unknown": "{provider} refused a message with a code that we have no rule for ({code}): tell who maintains this.",
}


class AlarmLog:
    """Writes ``system.alert`` events. No message must suffer for an alarm that cannot be told."""

    def __init__(self, producer: AcknowledgedProducer, codec: Codec) -> None:
        self._producer = producer
        self._encode = codec.encoder(TOPIC, RECORD)

    def send(self, alert: Mapping[str, Any]) -> None:
        """Hand it over; where that fails, the log says so."""
        try:
            self._producer.send(TOPIC, alert["aggregate_id"].encode(), self._encode(alert), [], failed=_untold)
        except (BufferError, KafkaException) as error:
            _untold(error)


class RefusalAlarms:
    """See the module."""

    def __init__(self, alarms: AlarmLog) -> None:
        self._alarms = alarms
        self._told: dict[tuple[str, str, str, str], float] = {}

    def refused(self, clinic_id: str, *, channel: str, provider: str, error_class: str, code: str) -> None:
        """One message was refused. What a call and a receipt tell of alike is one alarm."""
        said = _REFUSED.get(error_class)
        key, now = (clinic_id, channel, error_class, code), time.monotonic()
        if said is None or now - self._told.get(key, -AGAIN_SECONDS) < AGAIN_SECONDS:
            return
        if len(self._told) >= MAX_REMEMBERED:
            self._told.clear()  # at worst they are written again, and recognised by their ids
        self._told[key] = now
        self._alarms.send(
            system_alert(
                clinic_id,
                component=f"sink.{channel}",
                code=f"refused_{error_class}",
                subject=code,
                summary=said.format(provider=provider, code=code),
                now=datetime.now(UTC),
            )
        )


def _untold(error: Exception) -> None:
    log.error("an alarm could not be written to %s: %s", TOPIC, type(error).__name__)
