"""What a sink tells the clinics' administrators: a provider that is paused, or back; refusals that a person must look at."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from connectors.alerts import Severity, system_alert
from connectors.refusal_alarms import AlarmLog, RefusalAlarms
from connectors.statuses import AcknowledgedProducer
from schemas.codec import Codec
from sinks.runtime.breaker import Cause

# A pause that comes again is told again after as long as the catalogue recognises the same alarm: streams/catalog.yaml,
# system_alert and system_alert_critical. A pause's end is told no sooner (LUXE_SINKS_BREAKER_CALM_SECONDS), so no pause that
# comes after it is taken for the one before.
PAUSE_AGAIN_AFTER = timedelta(minutes=5)

_SUMMARY: Mapping[Cause, str] = {
    "account": "{provider} refuses our {subject} (code {code}). Messages wait and nothing is lost: mend credentials, sender or "
    "billing at the provider; see docs/runbooks/delivery.md.",
    "down": "{provider} does not answer ({code}). Messages wait and go out when it is back: look at its status page.",
    "throttled": "{provider} tells us to send less (code {code}). Messages wait: raise the {subject}'s rate there.",
}
_SEVERITY: Mapping[Cause, Severity] = {"account": "critical", "down": "warning", "throttled": "info"}


class Alarms:
    """Writes ``system.alert`` events of one channel: one a pause, one when it ends, one a kind of refusal, clinic and hour."""

    def __init__(self, producer: AcknowledgedProducer, codec: Codec, *, channel: str, provider: str) -> None:
        self._log = AlarmLog(producer, codec)
        self._refusals = RefusalAlarms(self._log)
        self._channel, self._provider = channel, provider

    def paused(self, clinic_id: str, subject: str, cause: Cause, code: str, since: datetime) -> None:
        """``subject`` (account, or which sender) is paused. ``clinic_id``: whose message met it; its administrators are told."""
        self._pause(clinic_id, subject, cause, code, since)

    def resumed(self, clinic_id: str, subject: str, cause: Cause, code: str, since: datetime, until: datetime) -> None:
        """It is over, and has been for a while."""
        self._pause(clinic_id, subject, cause, code, since, until)

    def refused(self, clinic_id: str, error_class: str, code: str) -> None:
        """One message was refused; told where a person must look at it."""
        self._refusals.refused(
            clinic_id, channel=self._channel, provider=self._provider, error_class=error_class, code=code
        )

    def _pause(
        self, clinic_id: str, subject: str, cause: Cause, code: str, since: datetime, until: datetime | None = None
    ) -> None:
        said = _SUMMARY[cause].format(provider=self._provider, subject=subject, code=code)
        resolved = until is not None
        details = {"provider": self._provider, "subject": subject, "cause": cause, "code": code}
        if until is not None:
            details["until"] = until.isoformat(timespec="seconds")
        self._log.send(
            system_alert(
                clinic_id,
                component=f"sink.{self._channel}",
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
