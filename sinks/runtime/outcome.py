"""How one attempt of a delivery ended, as the ledger keeps it and as its last status says it."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Literal

from connectors.providers.outcome import PASSING, Accepted, OutcomeUnknown, Refused
from sinks.runtime.gates import Verdict

EndStatus = Literal["sent", "failed", "unknown", "suppressed", "cancelled", "expired"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an attempt. ``retry_at``: when another attempt makes sense, for failures that pass."""

    status: EndStatus
    reason: str = ""
    provider_message_id: str | None = None
    provider_status: str | None = None
    error_class: str | None = None
    error_code: str | None = None
    retry_at: datetime | None = None

    def encoded(self) -> str:
        """As the ledger keeps it, beside the provider's message id: JSON of what is not plain."""
        kept = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "provider_message_id"}
        if self.retry_at is not None:
            kept["retry_at"] = self.retry_at.isoformat()
        # Not orjson: it takes no half of a surrogate pair, and a provider's words may hold one.
        return json.dumps({name: value for name, value in kept.items() if value not in (None, "")})

    @classmethod
    def decoded(cls, kept: str, provider_message_id: str | None) -> Outcome:
        """From the ledger."""
        said: dict[str, Any] = json.loads(kept)
        if "retry_at" in said:
            said["retry_at"] = datetime.fromisoformat(said["retry_at"])
        return cls(**said, provider_message_id=provider_message_id)

    @classmethod
    def accepted(cls, accepted: Accepted, reason: str = "") -> Outcome:
        """The provider has it. ``reason``: ``found`` where we learned so only by asking."""
        return cls(
            "sent",
            reason,
            provider_message_id=accepted.provider_message_id,
            provider_status=accepted.provider_status,
        )

    @classmethod
    def refused(cls, refused: Refused, now: datetime, retry_delay_seconds: float) -> Outcome:
        """The provider did not take it."""
        retry_at = None
        if refused.error_class in PASSING:
            retry_at = now + timedelta(seconds=refused.retry_after_seconds or retry_delay_seconds)
        return cls(
            "failed",
            refused.error_class,
            error_class=refused.error_class,
            error_code=refused.code,
            retry_at=retry_at,
        )

    @classmethod
    def unknown(cls, unknown: OutcomeUnknown) -> Outcome:
        """It may be on its way, and is not sent again."""
        return cls("unknown", "no_answer", error_class="unknown", error_code=unknown.code)

    @classmethod
    def gated(cls, verdict: Verdict) -> Outcome:
        """No call was made."""
        return cls(verdict.status, verdict.reason)
