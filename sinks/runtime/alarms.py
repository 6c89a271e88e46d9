"""What a sink tells the clinics' administrators: a provider that is paused, or back; refusals that a person must look at."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import KafkaException

from connectors.alerts import RECORD, TOPIC, Severity, system_alert
from connectors.statuses import AcknowledgedProducer
from schemas.codec import Codec
from sinks.runtime.breaker import Cause

log = logging.getLogger(__name__)

# A pause that comes again is told again after as long as the catalogue recognises the same alarm: streams/catalog.yaml,
# system_alert and system_alert_critical. A pause's end is told no sooner (LUXE_SINKS_BREAKER_CALM_SECONDS), so no pause that
# comes after it is taken for the one before.
PAUSE_AGAIN_AFTER = timedelta(minutes=5)
# Refusals of single messages: an hour's fit one screen.
REFUSAL_AGAIN_SECONDS = 3600.0
MAX_REMEMBERED = 1_000

_SUMMARY: Mapping[Cause, str] = {
    "account": "{provider} refuses our {subject} (code {code}). Messages wait and nothing is lost: mend credentials, sender or "
    "billing at the provider; see docs/runbooks/delivery.md.",
    "down": "{provider} does not answer ({code}). Messages wait and go out when it is back: look at its status page.",
    "throttled": "{provider} tells us to send less (code {code}). Messages wait: raise the {subject}'s rate there.",
}
_SEVERITY: Mapping[Cause, Severity] = {"account": "critical", "down": "warning", "throttled": "info"}
_REFUSED: Mapping[str, str] = {
    "account": "{provider} refused a message for how our account is set up (code {code}); others go on.",
    "content_filtered": "{provider} refused a message for what it says or how it is made (code {code}): look at its template.",
    "media": "{provider} cannot have a message's picture, or carriers refuse it (code {code}): look at image_url.",
    "unknown": "{provider} refused a message with a code that we have no rule for ({code}): tell who maintains this.",
}


class Alarms:
    """Writes ``system.alert`` events of one channel: one a pause, one when it ends, one a kind of refusal, clinic and hour."""

    def __init__(self, producer: AcknowledgedProducer, codec: Codec, *, channel: str, provider: str) -> None:
        self._producer = producer
        self._encode = codec.encoder(TOPIC, RECORD)
        self._component = f"sink.{channel}"
        self._provider = provider
        self._told: dict[tuple[str, str, str], float] = {}

    def paused(self, clinic_id: str, subject: str, cause: Cause, code: str, since: datetime) -> None:
        """``subject`` (account, or which sender) is paused. ``clinic_id``: whose message met it; its administrators are told."""
        self._pause(clinic_id, subject, cause, code, since)

    def resumed(self, clinic_id: str, subject: str, cause: Cause, code: str, since: datetime, until: datetime) -> None:
        """It is over, and has been for a while."""
        self._pause(clinic_id, subject, cause, code, since, until)

    def refused(self, clinic_id: str, error_class: str, code: str) -> None:
        """One message was refused; told where a person must look at it."""
        said = _REFUSED.get(error_class)
        key, now = (clinic_id, error_class, code), time.monotonic()
        if said is None or now - self._told.get(key, -REFUSAL_AGAIN_SECONDS) < REFUSAL_AGAIN_SECONDS:
            return
        if len(self._told) >= MAX_REMEMBERED:
            self._told.clear()  # at worst they are written again, and recognised by their ids
        self._told[key] = now
        self._send(
            system_alert(
                clinic_id,
                component=self._component,
                code=f"refused_{error_class}",
                subject=code,
                summary=said.format(provider=self._provider, code=code),
                now=datetime.now(UTC),
            )
        )

    def _pause(
        self, clinic_id: str, subject: str, cause: Cause, code: str, since: datetime, until: datetime | None = None
    ) -> None:
        said = _SUMMARY[cause].format(provider=self._provider, subject=subject, code=code)
        resolved = until is not None
        details = {"provider": self._provider, "subject": subject, "cause": cause, "code": code}
        if until is not None:
            details["until"] = until.isoformat(timespec="seconds")
        self._send(
            system_alert(
                clinic_id,
                component=self._component,
                code="provider_paused",
                subject=f"{subject}:{cause}",
                summary=f"It is over: {said}" if resolved else said,
                severity="info" if resolved else _SEVERITY[cause],
                since=since,
                resolved=resolved,
                details=details,
                now=datetime.now(UTC),
                again_after=PAUSE_AGAIN_AFTER,
            )
        )

    def _send(self, alert: Mapping[str, Any]) -> None:
        """No message must suffer for an alarm that cannot be told."""
        try:
            self._producer.send(TOPIC, alert["aggregate_id"].encode(), self._encode(alert), [], failed=_untold)
        except (BufferError, KafkaException) as error:
            _untold(error)


def _untold(error: Exception) -> None:
    log.error("an alarm could not be written to %s: %s", TOPIC, type(error).__name__)
