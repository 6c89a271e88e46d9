"""Who may call the provider, and when: messages wait here, unbegun, while it or their sender is paused.

What waits holds its slot, so a lane whose provider is away takes little and then nothing. What waits for its sender alone steps
aside, so that the other sender's messages go on; so many at most (``Tuning.waiting_aside``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from connectors.providers.outcome import Refused, reach
from schemas.topics import LANES
from sinks.runtime.alarms import Alarms
from sinks.runtime.breaker import Breaker, Cause, Pace
from sinks.runtime.permit import Permit
from sinks.runtime.tuning import Tuning

log = logging.getLogger(__name__)

ACCOUNT = "account"
# A message that the account's refusal has met so often, while others were answered between, is refused for itself.
MAX_STRIKES = 2
# Told to whoever looks, at least this often while something is paused.
TELL_SECONDS = 1.0


class Waits(Protocol):
    """What the runtime needs of a record that waits; see sinks.runtime.lanes.Taken."""

    @property
    def leaving(self) -> bool: ...

    def step_aside(self) -> bool: ...

    def step_back(self) -> None: ...


@dataclass(slots=True)
class Tries:
    """What a message went through in this process. ``unanswered``: calls that may have arrived."""

    strikes: int = 0
    unanswered: int = 0


@dataclass(slots=True)
class Subject:
    """What is paused as a whole: the account, or one of its senders. ``told``: the alarms raised since it is."""

    name: str
    breaker: Breaker
    since: datetime | None = None
    told: list[tuple[str, Cause, str]] = field(default_factory=list)


@dataclass(slots=True)
class Counted:
    """Since the process began; for whoever shows them."""

    pauses: Counter[str] = field(default_factory=Counter)  # by cause
    probes: int = 0
    postponed: int = 0


@dataclass(slots=True, eq=False)
class _Waiter:
    taken: Waits
    lane: str
    subjects: tuple[Subject, ...]
    until: float | None
    fresh: bool
    permit: asyncio.Future[Permit | None]
    aside: bool = False


class Admission:
    """Gives permits for calls of one channel, and learns from their ends. Of one event loop."""

    def __init__(
        self,
        *,
        channel: str,
        provider: str,
        tuning: Tuning,
        alarms: Alarms,
        hold: Callable[[bool], None],
        tell: Callable[[Mapping[str, Any]], None],
    ) -> None:
        """``hold``: whether the lanes are to stop taking. ``tell``: how it stands, when that changes."""
        self._channel = channel
        self._provider = provider
        self._tuning = tuning
        self._alarms = alarms
        self._hold = hold
        self._tell = tell
        self._pace = Pace(
            tuning.breaker_failures, tuning.breaker_first_probe_seconds, tuning.breaker_longest_probe_seconds
        )
        self._account = Subject(ACCOUNT, Breaker(self._pace))
        self._senders: dict[str, Subject] = {}
        self._waiting: dict[str, deque[_Waiter]] = {lane: deque() for lane in LANES}
        self._calling: Counter[str] = Counter()
        self._short_of_slots = False
        self._held = False
        self._recoveries = 0  # answers that ended a run of failures
        self._bell = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self.counted = Counted()

    # Before the call

    async def admit(self, taken: Waits, message: Mapping[str, Any], tries: Tries) -> Permit | None:
        """Leave for a call, waiting for it if need be; None once the message's partition is leaving.

        The permit is ``late`` where the message's time was over first. Whoever gets one closes it.
        """
        lane = message["lane"]
        subjects = self._subjects(message)
        permit = None if self._short_of_slots else self._permit(lane, subjects, time.monotonic())
        if permit is not None:
            return permit
        waiter = _Waiter(
            taken,
            lane,
            subjects,
            until=_late_at(message),
            fresh=not tries.strikes,
            permit=asyncio.get_running_loop().create_future(),
        )
        others_go_on = subjects[0].breaker.opened_at is None and any(s.breaker.opened_at is not None for s in subjects)
        waiter.aside = others_go_on and taken.step_aside()
        self._waiting[lane].append(waiter)
        self.look()
        try:
            return await waiter.permit
        finally:
            if waiter.aside:
                taken.step_back()

    def at_once(self, permit: Permit, message: Mapping[str, Any]) -> bool:
        """Let a permit whose call was made be used for another one, if that may be made now."""
        subjects = self._subjects(message)
        now = time.monotonic()
        if permit.late or not all(subject.breaker.would_admit(now) for subject in subjects):
            return False
        permit.tickets = [_ticket(subject.breaker, now) for subject in subjects]
        permit.spent = False
        return True

    def look(self) -> None:
        """See who may go on: after anything that may have changed it, a partition's leaving too."""
        now, clock = time.monotonic(), time.time()
        self._short_of_slots = False
        for lane, queue in self._waiting.items():
            left: deque[_Waiter] = deque()
            for waiter in queue:
                if waiter.permit.done():  # cancelled
                    continue
                if waiter.taken.leaving:
                    waiter.permit.set_result(None)
                elif waiter.until is not None and clock >= waiter.until:
                    self._calling[lane] += 1
                    waiter.permit.set_result(Permit(lane, (), (), self._close, late=True))
                elif (permit := self._permit(lane, waiter.subjects, now)) is not None:
                    waiter.permit.set_result(permit)
                else:
                    left.append(waiter)
            self._waiting[lane] = left
        self._hold_if_paused()
        self._look_again(now, clock)

    def _permit(self, lane: str, subjects: tuple[Subject, ...], now: float) -> Permit | None:
        if not all(subject.breaker.would_admit(now) for subject in subjects):
            return None
        if self._calling[lane] >= self._tuning.slots(lane):
            self._short_of_slots = True
            return None
        permit = Permit(
            lane,
            [subject.breaker for subject in subjects],
            [_ticket(subject.breaker, now) for subject in subjects],
            self._close,
        )
        self._calling[lane] += 1
        self.counted.probes += permit.is_probe
        return permit

    def _subjects(self, message: Mapping[str, Any]) -> tuple[Subject, ...]:
        if self._channel != "sms":  # only texts leave by several senders
            return (self._account,)
        name = message["sender_class"]
        sender = self._senders.get(name)
        if sender is None:
            sender = self._senders[name] = Subject(f"{name} sender", Breaker(self._pace))
        return (self._account, sender)

    def _hold_if_paused(self) -> None:
        """Lanes take until somebody waits who has not been refused yet: the next probe is never one that no answer is for."""
        held = self._account.breaker.opened_at is not None and any(
            waiter.fresh for queue in self._waiting.values() for waiter in queue
        )
        if held != self._held:
            self._held = held
            self._hold(held)

    def _look_again(self, now: float, clock: float) -> None:
        """At the next probe's time, and when somebody's time is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting = [waiter for queue in self._waiting.values() for waiter in queue]
        times = [waiter.until - clock for waiter in waiting if waiter.until is not None]
        times += [
            at - now
            for subject in (self._account, *self._senders.values())
            if waiting and (at := subject.breaker.probe_at) is not None and at > now
        ]
        if times:
            self._timer = asyncio.get_running_loop().call_later(max(0.001, min(times)), self.look)

    # After the call

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
            self._paused(self._account, message["clinic_id"])
        for breaker, other in zip(permit.breakers[1:], permit.tickets[1:], strict=True):
            breaker.withdraw(other)
        self._ring()

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
            self._refused(
                permit, message, refused, self._account if reaches == ACCOUNT else self._subjects(message)[-1]
            )
            # Who is told first to send less has had its answer, with a time; the others need not be told one by one.
            waits = permit.paused and (waited or refused.error_class == "account")
        if waits:
            tries.strikes += 1
            self.counted.postponed += 1
        return waits

    def _is_its_own(self, tries: Tries, probed: bool) -> bool:
        return tries.strikes >= MAX_STRIKES and not probed

    def _refused(self, permit: Permit, message: Mapping[str, Any], refused: Refused, subject: Subject) -> None:
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
                    self._paused(subject, message["clinic_id"])
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
            self._resumed(next(one for one in (self._account, *self._senders.values()) if one.breaker is breaker))
        if closed or (recovers and breaker.streak == 0):
            self._recoveries += 1
            self._ring()

    def _close(self, permit: Permit) -> None:
        self._calling[permit.lane] -= 1
        probe = not permit.spent and permit.is_probe
        if not permit.spent:
            for breaker, ticket in zip(permit.breakers, permit.tickets, strict=True):
                breaker.withdraw(ticket)
        if probe or self._short_of_slots:
            self.look()

    def _ring(self) -> None:
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()
        if any(self._waiting.values()) or self._held:
            self.look()
        self._tell(self.standing())

    # Told

    def _paused(self, subject: Subject, clinic_id: str) -> None:
        cause, code = subject.breaker.cause, subject.breaker.code
        if cause is None:
            return
        subject.since = subject.since or datetime.now(UTC)
        subject.told.append((clinic_id, cause, code))
        self.counted.pauses[cause] += 1
        log.warning("%s: the %s is paused (%s, code %s); messages wait", self._provider, subject.name, cause, code)
        self._alarms.paused(clinic_id, subject.name, cause, code, subject.since)

    def _resumed(self, subject: Subject) -> None:
        log.warning("%s: the %s is back; messages go out again", self._provider, subject.name)
        since = subject.since or datetime.now(UTC)
        for clinic_id, cause, code in subject.told:
            self._alarms.resumed(clinic_id, subject.name, cause, code, since)
        subject.told.clear()
        subject.since = None

    def standing(self) -> dict[str, Any]:
        """How it stands, as ``luxe status`` shows it."""
        return {
            "provider": self._provider,
            "waiting": sum(map(len, self._waiting.values())),
            "breakers": [
                {
                    "subject": subject.name,
                    "state": subject.breaker.state,
                    "cause": subject.breaker.cause,
                    "code": subject.breaker.code,
                    "since": subject.since.isoformat(timespec="seconds") if subject.since else None,
                }
                for subject in (self._account, *self._senders.values())
            ],
        }


def _ticket(breaker: Breaker, now: float) -> int:
    ticket = breaker.admit(now)
    if ticket is None:
        raise RuntimeError("a breaker that would admit did not")
    return ticket


def _late_at(message: Mapping[str, Any]) -> float | None:
    """When the message need not be sent any more, in seconds since the epoch."""
    limits = [message[name].timestamp() for name in ("expires_at", "send_not_after") if message[name] is not None]
    return min(limits, default=None)
