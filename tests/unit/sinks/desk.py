"""An admission and what it says, for tests that run it in one event loop."""

from __future__ import annotations

from typing import Any, cast

from connectors.postgres.pool import Pool
from connectors.providers.outcome import Refused
from connectors.statuses import AcknowledgedProducer
from schemas.codec import Codec
from schemas.registry import FileRegistry
from sinks.runtime.admission import Admission
from sinks.runtime.alarms import Alarms
from sinks.runtime.allowance import Allowance
from sinks.runtime.call_ends import Tries
from sinks.runtime.limits import ChannelLimits, RateLimits
from sinks.runtime.permit import Permit
from sinks.runtime.tuning import Tuning

CODEC = Codec(FileRegistry())
TUNING = Tuning(
    breaker_failures=3,
    breaker_first_probe_seconds=0.1,
    breaker_longest_probe_seconds=0.1,
    breaker_doubt_seconds=0.2,
    breaker_calm_seconds=60,
)
NO_LIMITS = RateLimits(sms_per_second=0, sms_per_day=0)
DOWN = Refused("transient", code="503")
ACCOUNT = Refused("account", code="20003")


class Log:
    """Where alarms go."""

    def __init__(self) -> None:
        self.alarms: list[dict[str, Any]] = []

    def send(self, topic: str, key: bytes, value: bytes, headers: object, **more: object) -> None:
        self.alarms.append(dict(CODEC.decode(value).value))


class Record:
    """A record that waits."""

    def __init__(self) -> None:
        self.leaving = False
        self.aside = 0

    def step_aside(self) -> bool:
        self.aside += 1
        return True

    def step_back(self) -> None:
        self.aside -= 1


class Desk:
    """An admission, without limits unless they are given, and what it said."""

    def __init__(self, tuning: Tuning = TUNING, limits: RateLimits = NO_LIMITS) -> None:
        self.log = Log()
        self.held: list[bool] = []
        self.allowance = Allowance(cast(Pool, None), ChannelLimits(limits, "sms"), tuning, failed=self._failed)
        producer = cast(AcknowledgedProducer, self.log)
        self.admission = Admission(
            channel="sms",
            provider="twilio",
            tuning=tuning,
            alarms=Alarms(producer, CODEC, channel="sms", provider="twilio"),
            allowance=self.allowance,
            hold=self.held.append,
            tell=lambda _: None,
        )

    def _failed(self, error: Exception) -> None:
        raise error

    async def permit(self, message: dict[str, Any], tries: Tries, record: Record | None = None) -> Permit:
        found = await self.admission.admit(record or Record(), message, tries)
        assert found is not None
        return found


def message(**changes: Any) -> dict[str, Any]:
    return {
        "lane": "normal",
        "sender_class": "care",
        "clinic_id": "c-1",
        "expires_at": None,
        "send_not_after": None,
    } | changes
