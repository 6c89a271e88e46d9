"""What a call's end says: of the message, of its sender, of the account; who is paused by it, and whose fault a refusal was."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from connectors.providers.outcome import PASSING, Refused, reach
from sinks.runtime.alarms import Alarms
from sinks.runtime.breaker import Breaker, Cause
from sinks.runtime.permit import Permit
from sinks.runtime.subjects import Subject, Subjects
from sinks.runtime.tuning import Tuning

# A message that the account's refusal has met so often, while others were answered between, is refused for itself.
MAX_STRIKES = 2


@dataclass(slots=True)
class Tries:
    """What a message went through in this process. ``unanswered``: calls that may have arrived."""

    strikes: int = 0
    unanswered: int = 0


@dataclass(slots=True)
class Counted:
    """Since the process began; for whoever shows them."""

    pauses: Counter[str]  # by cause
    probes: int = 0
    postponed: int = 0


class CallEnds:
    """Tells the breakers of one channel. Of one event loop."""

    def __init__(
        self,
        provider: str,
        tuning: Tuning,
        alarms: Alarms,
        subjects: Subjects,
        counted: Counted,
        rang: Callable[[], None],
    ) -> None:
        """``rang``: called when a breaker may stand otherwise than before."""
        self._provider = provider
        self._tuning = tuning
        self._alarms = alarms
        self._subjects = subjects
        self._account = subjects.account
        self._counted = counted
        self._rang = rang
        self._recoveries = 0  # answers that ended a run of failures
        self._bell = asyncio.Event()

    def answered(self, permit: Permit) -> None:
        """The provider answered, whatever it said of that message."""
        permit.spent = True
        for breaker, ticket in zip(permit.breakers, permit.tickets, strict=True):
            self._answered(breaker, ticket)

    def unanswered(self, permit: Permit, message: Mapping[str, Any], code: str) -> None:
        """No answer came. It says nothing of the sender."""
        permit.spent = True
        account, ticket = permit.breakers[0], permit.tickets[0]
        if account.failed(ticket, time.monotonic(), code):
            self._subjects.paused(self._account, message["clinic_id"])
        for breaker, other in zip(permit.breakers[1:], permit.tickets[1:], strict=True):
            breaker.withdraw(other)
        self._ring()

    def not_told(self, permit: Permit, clinic_id: str, refused: Refused) -> bool:
        """What became of a message is not told; whether it may be another time. A refusal to tell says nothing of sending, but

        that nobody is there, or that we are too fast.
        """
        if refused.error_class == "transient":
            self.unanswered(permit, {"clinic_id": clinic_id}, refused.code)
        elif refused.error_class == "throttled":
            self._refused(permit, clinic_id, refused, self._account)
        elif refused.error_class != "account":
            self.answered(permit)
        return refused.error_class in (*PASSING, "account")

    async def postpones(self, permit: Permit, message: Mapping[str, Any], refused: Refused, tries: Tries) -> bool:
        """Whether a refused message waits for its provider's or sender's return, its attempt unspent; else it has failed."""
        probed, reaches = permit.is_probe, reach(self._provider, refused.error_class, refused.code)
        if refused.error_class == "transient":
            self.unanswered(permit, message, refused.code)
            await self._doubt(permit)
            waits = permit.paused
        elif reaches == "message" or (refused.error_class == "account" and self._is_its_own(tries, probed)):
            self.answered(permit)
            self._alarms.refused(message["clinic_id"], refused.error_class, refused.code)
            waits = False
        else:
            waited = probed or permit.paused
            self._refused(permit, message["clinic_id"], refused, self._subjects.met(message, reaches))
            # Who is told first to send less has had its answer, with a time; the others need not be told one by one.
            waits = permit.paused and (waited or refused.error_class == "account")
        if waits:
            tries.strikes += 1
            self._counted.postponed += 1
        return waits

    def _is_its_own(self, tries: Tries, probed: bool) -> bool:
        return tries.strikes >= MAX_STRIKES and not probed

    def _refused(self, permit: Permit, clinic_id: str, refused: Refused, subject: Subject) -> None:
        permit.spent = True
        now = time.monotonic()
        cause: Cause = "throttled" if refused.error_class == "throttled" else "account"
        for breaker, ticket in zip(permit.breakers, permit.tickets, strict=True):
            if breaker is subject.breaker:
                seconds = refused.retry_after_seconds
                if cause == "throttled" and seconds is None:
                    changed = breaker.failed(ticket, now, refused.code, cause)
                else:
                    most = self._tuning.throttle_longest_seconds
                    changed = breaker.pause(
                        ticket, now, cause, refused.code, None if seconds is None else min(most, seconds)
                    )
                if changed:
                    self._subjects.paused(subject, clinic_id)
            elif subject is self._account:
                breaker.withdraw(ticket)
            else:
                self._answered(breaker, ticket)
        self._ring()

    async def _doubt(self, permit: Permit) -> None:
        """Wait until it is known whether a failure was that message's own or an outage's first; not long."""
        seen = self._recoveries
        deadline = time.monotonic() + self._tuning.breaker_doubt_seconds
        while not permit.paused and permit.in_doubt and self._recoveries == seen:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            bell = self._bell
            try:
                await asyncio.wait_for(bell.wait(), left)
            except TimeoutError:
                return

    def _answered(self, breaker: Breaker, ticket: int) -> None:
        recovers = breaker.streak > 0
        closed = breaker.answered(ticket)
        if closed:
            self._subjects.resumed(breaker)
        if closed or (recovers and breaker.streak == 0):
            self._recoveries += 1
            self._ring()
        elif breaker.held:
            self._rang()  # when its next probe is due

    def _ring(self) -> None:
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()
        self._rang()
