"""The statuses a sink itself knows of: queued (taken), sending (call about to be made), and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from connectors.statuses import StatusLog, delivery_status
from sinks.runtime.in_flight import Taken
from sinks.runtime.outcome import Outcome


class DeliveryLife:
    """Tells one delivery's steps. Its offset counts as finished when Kafka has its end, and all told before it."""

    __slots__ = (
        *("_accepted_is_delivered", "_ended", "_headers", "_log", "_message", "_provider", "_taken", "_unacknowledged"),
    )

    def __init__(
        self,
        log: StatusLog,
        taken: Taken,
        message: Mapping[str, Any],
        provider: str,
        *,
        accepted_is_delivered: bool = False,
    ) -> None:
        self._log = log
        self._taken = taken
        self._message = message
        self._provider = provider
        self._accepted_is_delivered = accepted_is_delivered
        self._headers = taken.headers
        self._unacknowledged = 0
        self._ended = False

    def queued(self) -> None:
        """Taken from the log."""
        self._tell("queued")

    def sending(self) -> None:
        """Nothing stands against it; the call is made next."""
        self._tell("sending", provider=self._provider)

    def ended(self, outcome: Outcome) -> None:
        """Nothing more happens here; receipts may follow."""
        self._ended = True
        asked = outcome.status in ("sent", "failed", "unknown")
        self._tell(
            outcome.status,
            provider=self._provider if asked else "",
            reason=outcome.reason,
            provider_message_id=outcome.provider_message_id,
            provider_status=outcome.provider_status,
            error_class=outcome.error_class,
            error_code=outcome.error_code,
            retry_at=outcome.retry_at,
        )
        if outcome.status == "sent" and self._accepted_is_delivered:
            self._tell("delivered", provider=self._provider, provider_message_id=outcome.provider_message_id)

    def _tell(self, status: str, **more: Any) -> None:
        now = datetime.now(UTC)
        self._unacknowledged += 1
        self._log.write(
            delivery_status(self._message, status, status_at=now, recorded_at=now, **more),
            self._headers,
            self._acknowledged,
        )

    def _acknowledged(self) -> None:
        self._unacknowledged -= 1
        if self._ended and not self._unacknowledged:
            self._taken.finish()
