"""Who may call the provider, and when: messages wait here, unbegun, while it or their sender is paused, for a rate limit or room.

What waits for what all wait for holds its slot, so its lane takes little and then nothing. What waits for its own sender or
clinic, or for room, steps aside, so that the others' messages go on; so many at most (``Tuning.waiting_aside``).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from connectors.postgres.sender_refusals import SenderRefusal
from schemas.topics import LANES
from sinks.runtime.alarms import Alarms
from sinks.runtime.allowance import Allowance
from sinks.runtime.breaker import Breaker
from sinks.runtime.call_ends import CallEnds, Counted, Tries
from sinks.runtime.permit import Permit
from sinks.runtime.purse import Purse
from sinks.runtime.room import Room
from sinks.runtime.subjects import Subject, Subjects
from sinks.runtime.tuning import Tuning
from sinks.runtime.turns import CRITICAL, Turns
from sinks.runtime.waiter import Waiter, Waits, late_at

# Limits of a longer window are of messages sent; questions are none.
SHORT_WINDOW_SECONDS = 1.0


class Admission:
    """Gives permits for calls of one channel; ``ends`` is told how each ended. Of one event loop."""

    def __init__(
        self,
        *,
        channel: str,
        provider: str,
        tuning: Tuning,
        alarms: Alarms,
        allowance: Allowance,
        hold: Callable[[bool], None],
        tell: Callable[[Mapping[str, Any]], None],
    ) -> None:
        """``hold``: whether the lanes are to stop taking. ``tell``: how it stands, when that changes."""
        self._provider = provider
        self._tuning = tuning
        self._allowance = allowance
        allowance.refilled = self.look
        self._account_purses = allowance.account()
        self._hold = hold
        self._tell = tell
        self._subjects = Subjects(channel, provider, tuning, alarms)
        self._account = self._subjects.account
        self._turns = Turns()
        self._waiting: dict[str, deque[Waiter]] = {lane: deque() for lane in LANES}
        self._calling: Counter[str] = Counter()
        self._short_of_slots = False
        self.room = Room(tuning.forms_at_once)
        self._held = False
        self._timer: asyncio.TimerHandle | None = None
        self.counted = Counted(self._subjects.pauses)
        self.ends = CallEnds(provider, tuning, alarms, self._subjects, self.counted, self._rang)

    # Before the call

    async def admit(self, taken: Waits, message: Mapping[str, Any], tries: Tries, big: bool = False) -> Permit | None:
        """Leave for a call, waiting for it if need be; None once the message's partition is leaving.

        The permit is ``late`` where the message's time was over first. Whoever gets one closes it. ``big``: it comes with a
        place in the room, taken with all else at once: nobody holds one of them while it waits for another.
        """
        return await self._admit(
            Waiter(
                taken,
                message["lane"],
                self._subjects.of(message),
                (*self._account_purses, *self._allowance.own(message)),
                until=late_at(message),
                fresh=not tries.strikes,
                permit=asyncio.get_running_loop().create_future(),
                room=self.room if big else None,
            )
        )

    async def admit_question(self, taken: Waits, lane: str, until: float) -> Permit | None:
        """Leave to ask what became of a message, as for ``admit``; ``late`` at ``until``, in seconds since the epoch.

        It takes of the account's limits by the second, not of the day's texts. While our account is refused it only waits: that
        we may read says nothing of sending.
        """
        purses = tuple(purse for purse in self._account_purses if purse.limit.window_seconds <= SHORT_WINDOW_SECONDS)
        permit = asyncio.get_running_loop().create_future()
        return await self._admit(
            Waiter(taken, lane, (self._account,), purses, until=until, fresh=False, permit=permit, asks=True)
        )

    async def _admit(self, waiter: Waiter) -> Permit | None:
        permit = None if self._short_of_slots else self._permit(waiter, time.monotonic())
        if permit is not None:
            return permit
        self._waiting[waiter.lane].append(waiter)
        self.look()
        try:
            return await waiter.permit
        except asyncio.CancelledError:
            if not waiter.permit.cancelled() and (permit := waiter.permit.result()) is not None:
                permit.close()  # given at the moment that nobody waited any more
            raise
        finally:
            if waiter.aside:
                waiter.taken.step_back()

    def at_once(self, permit: Permit, message: Mapping[str, Any]) -> bool:
        """Let a permit whose call was made be used for another one, if that may be made now."""
        subjects = self._subjects.of(message)
        purses = (*self._account_purses, *self._allowance.own(message))
        now = time.monotonic()
        if permit.late or not _may_go(subjects, purses, now):
            return False
        permit.tokens = [(purse, purse.take()) for purse in purses]
        permit.tickets = [_ticket(subject.breaker, now) for subject in subjects]
        permit.spent = False
        return True

    def spare(self) -> bool:
        """Leave for one call that need not be made, for nobody waits for it: now, with a token of the account's limits, or not.

        Not while anybody waits, nor while the provider may be about to pause. Such calls say nothing of it.
        """
        account = self._account.breaker
        if account.opened_at is not None or account.streak or any(self._waiting.values()):
            return False
        now = time.monotonic()
        if not all(purse.left(now) for purse in self._account_purses):
            self._allowance.want([(False, self._account_purses)], now)
            return False
        for purse in self._account_purses:
            purse.take()
        return True

    def look(self) -> None:
        """See who may go on: after anything that may have changed it, a partition's leaving too."""
        now, clock = time.monotonic(), time.time()
        self._short_of_slots = False
        left: dict[str, deque[Waiter]] = {lane: deque() for lane in LANES}
        for waiter in self._turns.of(self._waiting):
            lane = waiter.lane
            if waiter.permit.done():  # cancelled
                continue
            if waiter.taken.leaving:
                waiter.permit.set_result(None)
            elif waiter.until is not None and clock >= waiter.until:
                self._calling[lane] += 1
                waiter.permit.set_result(Permit(lane, (), (), (), self._close, late=True))
            elif (permit := self._permit(waiter, now)) is not None:
                waiter.permit.set_result(permit)
                self._turns.served(lane)
            else:
                left[lane].append(waiter)
                if not waiter.aside and (waiter.asks or self._others_go_on(waiter, now)):
                    waiter.aside = waiter.taken.step_aside()
        self._waiting = left
        self._hold_if_paused()
        dry_until = self._allowance.want(
            (
                (waiter.lane == CRITICAL, waiter.purses)
                for queue in self._waiting.values()
                for waiter in queue
                if not waiter.crowded and all(subject.breaker.would_admit(now) for subject in waiter.subjects)
            ),
            now,
        )
        self._look_again(now, clock, dry_until)

    def told(self, refusals: Collection[SenderRefusal]) -> None:
        """Which account and senders receipts say may not send, all that do."""
        if self._subjects.told(refusals, time.monotonic()):
            self._rang()

    def _others_go_on(self, waiter: Waiter, now: float) -> bool:
        """Whether it waits for its own sender or clinic, or for room, and not for what all wait for."""
        if waiter.crowded:
            return True  # whatever else it waits for: the small ones behind it may be next there
        if self._account.breaker.opened_at is not None or any(purse.is_dry(now) for purse in self._account_purses):
            return False
        own = waiter.purses[len(self._account_purses) :]
        paused = any(subject.breaker.opened_at is not None for subject in waiter.subjects[1:])
        return paused or any(purse.is_dry(now) for purse in own)

    def _permit(self, waiter: Waiter, now: float) -> Permit | None:
        lane, subjects, purses = waiter.lane, waiter.subjects, waiter.purses
        barred = waiter.crowded or (waiter.asks and self._account.breaker.cause == "account")
        if barred or not _may_go(subjects, purses, now):
            return None
        if self._calling[lane] >= self._tuning.slots(lane):
            self._short_of_slots = True
            return None
        permit = Permit(
            lane,
            [subject.breaker for subject in subjects],
            [_ticket(subject.breaker, now) for subject in subjects],
            [(purse, purse.take()) for purse in purses],
            self._close,
            room=waiter.room,
        )
        self._calling[lane] += 1
        self.counted.probes += permit.is_probe
        return permit

    def _hold_if_paused(self) -> None:
        """Lanes take until somebody waits who has not been refused yet: the next probe is never one that no answer is for."""
        held = self._account.breaker.opened_at is not None and any(
            waiter.fresh for queue in self._waiting.values() for waiter in queue
        )
        if held != self._held:
            self._held = held
            self._hold(held)

    def _look_again(self, now: float, clock: float, dry_until: float | None) -> None:
        """At the next probe's time, when somebody's time is over, and when a limit may have tokens again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting = [waiter for queue in self._waiting.values() for waiter in queue]
        times = [waiter.until - clock for waiter in waiting if waiter.until is not None]
        times += [
            at - now
            for subject in self._subjects.all
            if waiting and (at := subject.breaker.probe_at) is not None and at > now
        ]
        if dry_until is not None:
            times.append(dry_until - now)
        if times:
            self._timer = asyncio.get_running_loop().call_later(max(0.001, min(times)), self.look)

    # After the call: what its end says is for ``ends``

    def _close(self, permit: Permit) -> None:
        self._calling[permit.lane] -= 1
        probe = not permit.spent and permit.is_probe
        if not permit.spent:
            for breaker, ticket in zip(permit.breakers, permit.tickets, strict=True):
                breaker.withdraw(ticket)
            for purse, window in permit.tokens:
                purse.put_back(window)
        if permit.leave_room() or probe or self._short_of_slots:
            self.look()

    def leave_room(self, permit: Permit) -> None:
        """A message that is not big after all: the next one may enter."""
        if permit.leave_room():
            self.look()

    def _rang(self) -> None:
        if any(self._waiting.values()) or self._held:
            self.look()
        self._tell(self.standing())

    def close(self) -> None:
        """The process ends."""
        self._subjects.close()

    def standing(self) -> dict[str, Any]:
        """How it stands, as ``luxe status`` shows it."""
        return {
            "provider": self._provider,
            "waiting": sum(map(len, self._waiting.values())),
            "breakers": self._subjects.standing(),
        }


def _may_go(subjects: Sequence[Subject], purses: Sequence[Purse], now: float) -> bool:
    return all(subject.breaker.would_admit(now) for subject in subjects) and all(purse.left(now) for purse in purses)


def _ticket(breaker: Breaker, now: float) -> int:
    ticket = breaker.admit(now)
    if ticket is None:
        raise RuntimeError("a breaker that would admit did not")
    return ticket
