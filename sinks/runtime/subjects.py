"""What can be paused as a whole, the account and each of its senders; and who is told when it is, and when it is over.

A pause is told at once, its end once it has held for a while: a provider that comes and goes is one alarm, not one a minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, get_args

from connectors.postgres.sender_refusals import SenderRefusal
from connectors.providers.outcome import Reach
from schemas.records import SenderClass
from sinks.runtime.alarms import Alarms
from sinks.runtime.breaker import Breaker, Cause, Pace
from sinks.runtime.tuning import Tuning

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Subject:
    """One of them. ``since``: it is paused. ``told``: the alarms that stand, since ``told_since``; ``calm``: they end with it."""

    name: str
    breaker: Breaker
    since: datetime | None = None
    told: list[tuple[str, Cause, str]] = field(default_factory=list)
    told_since: datetime | None = None
    calm: asyncio.TimerHandle | None = None


class Subjects:
    """Those of one channel. Their number never changes: another thread reads them."""

    def __init__(self, channel: str, provider: str, tuning: Tuning, alarms: Alarms) -> None:
        self._provider = provider
        self._alarms = alarms
        self._calm_seconds = tuning.breaker_calm_seconds
        pace = Pace(tuning.breaker_failures, tuning.breaker_first_probe_seconds, tuning.breaker_longest_probe_seconds)
        self.account = Subject("account", Breaker(pace))
        # Only texts leave by several senders.
        names = get_args(SenderClass) if channel == "sms" else ()
        self._senders: Mapping[SenderClass, Subject] = {
            name: Subject(f"{name} sender", Breaker(pace)) for name in names
        }
        self.all = (self.account, *self._senders.values())
        self.pauses: Counter[str] = Counter()  # by cause, since the process began

    def of(self, message: Mapping[str, Any]) -> tuple[Subject, ...]:
        """Those that a message leaves by, the account first."""
        sender = self._senders.get(message["sender_class"])
        return (self.account,) if sender is None else (self.account, sender)

    def met(self, message: Mapping[str, Any], reach: Reach) -> Subject:
        """Which of a message's is refused."""
        return self.account if reach == "account" else self.of(message)[-1]

    def told(self, refusals: Collection[SenderRefusal], now: float) -> bool:
        """Pause those that receipts say may not send, release the others. Whether one stands otherwise than before."""
        refused: dict[str, SenderRefusal] = {refusal.subject: refusal for refusal in refusals}
        changed = False
        for key, subject in (("account", self.account), *self._senders.items()):
            refusal = refused.get(key)
            changed |= subject.breaker.held != (refusal is not None)
            if refusal is None:
                if subject.breaker.release():
                    self.resumed(subject.breaker)
            elif subject.breaker.hold(now, refusal.code):
                self.paused(subject, refusal.clinic_id)
        return changed

    def paused(self, subject: Subject, clinic_id: str) -> None:
        """It has just been paused, or for another cause. ``clinic_id``: whose message met it."""
        cause, code = subject.breaker.cause, subject.breaker.code
        if cause is None:
            return
        subject.since = subject.since or datetime.now(UTC)
        self.pauses[cause] += 1
        log.warning("%s: the %s is paused (%s, code %s); messages wait", self._provider, subject.name, cause, code)
        if subject.calm is not None:
            subject.calm.cancel()
            subject.calm = None
        if any(cause == said for _, said, _ in subject.told):
            return
        subject.told_since = subject.told_since or subject.since
        subject.told.append((clinic_id, cause, code))
        self._alarms.paused(clinic_id, subject.name, cause, code, subject.told_since)

    def resumed(self, breaker: Breaker) -> None:
        """Its pause is over."""
        subject = next(one for one in self.all if one.breaker is breaker)
        log.warning("%s: the %s is back; messages go out again", self._provider, subject.name)
        subject.since = None
        loop = asyncio.get_running_loop()
        subject.calm = loop.call_later(self._calm_seconds, self._over, subject, datetime.now(UTC))

    def _over(self, subject: Subject, until: datetime) -> None:
        since = subject.told_since or until
        for clinic_id, cause, code in subject.told:
            self._alarms.resumed(clinic_id, subject.name, cause, code, since, until)
        subject.told.clear()
        subject.told_since = subject.calm = None

    def close(self) -> None:
        """The process ends: what seems to be over is told now."""
        for subject in self.all:
            if subject.calm is not None:
                subject.calm.cancel()
                self._over(subject, datetime.now(UTC))

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
