"""What can be paused as a whole, the account and each of its senders; and who is told when it is, and when it is over."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, get_args

from connectors.providers.outcome import Reach
from schemas.records import SenderClass
from sinks.runtime.alarms import Alarms
from sinks.runtime.breaker import Breaker, Cause, Pace
from sinks.runtime.tuning import Tuning

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Subject:
    """One of them. ``told``: the alarms raised since it is paused."""

    name: str
    breaker: Breaker
    since: datetime | None = None
    told: list[tuple[str, Cause, str]] = field(default_factory=list)


class Subjects:
    """Those of one channel. Their number never changes: another thread reads them."""

    def __init__(self, channel: str, provider: str, tuning: Tuning, alarms: Alarms) -> None:
        self._provider = provider
        self._alarms = alarms
        pace = Pace(tuning.breaker_failures, tuning.breaker_first_probe_seconds, tuning.breaker_longest_probe_seconds)
        self.account = Subject("account", Breaker(pace))
        # Only texts leave by several senders.
        names = get_args(SenderClass) if channel == "sms" else ()
        self._senders = {name: Subject(f"{name} sender", Breaker(pace)) for name in names}
        self.all = (self.account, *self._senders.values())
        self.pauses: Counter[str] = Counter()  # by cause, since the process began

    def of(self, message: Mapping[str, Any]) -> tuple[Subject, ...]:
        """Those that a message leaves by, the account first."""
        sender = self._senders.get(message["sender_class"])
        return (self.account,) if sender is None else (self.account, sender)

    def met(self, message: Mapping[str, Any], reach: Reach) -> Subject:
        """Which of a message's is refused."""
        return self.account if reach == "account" else self.of(message)[-1]

    def paused(self, subject: Subject, clinic_id: str) -> None:
        """It has just been paused, or for another cause. ``clinic_id``: whose message met it."""
        cause, code = subject.breaker.cause, subject.breaker.code
        if cause is None:
            return
        subject.since = subject.since or datetime.now(UTC)
        subject.told.append((clinic_id, cause, code))
        self.pauses[cause] += 1
        log.warning("%s: the %s is paused (%s, code %s); messages wait", self._provider, subject.name, cause, code)
        self._alarms.paused(clinic_id, subject.name, cause, code, subject.since)

    def resumed(self, breaker: Breaker) -> None:
        """Its pause is over."""
        subject = next(one for one in self.all if one.breaker is breaker)
        log.warning("%s: the %s is back; messages go out again", self._provider, subject.name)
        since = subject.since or datetime.now(UTC)
        for clinic_id, cause, code in subject.told:
            self._alarms.resumed(clinic_id, subject.name, cause, code, since)
        subject.told.clear()
        subject.since = None

    def standing(self) -> list[dict[str, Any]]:
        """How each stands, as ``luxe status`` shows it."""
        return [
            {
                "subject": subject.name,
                "state": subject.breaker.state,
                "cause": subject.breaker.cause,
                "code": subject.breaker.code,
                "since": subject.since.isoformat(timespec="seconds") if subject.since else None,
            }
            for subject in self.all
        ]
