"""How far a notification's plan was carried out, and what is to be done about it next. Pure; times in ms since the epoch.

A plan's steps come in groups: those of one group are taken together. One group is under way at a time. It is left for the next
when every step of it failed for good, at once, or when none of it succeeded in time, once; never because a provider accepted a
message, which says nothing of its reader. What succeeds late ends the plan all the same; what fails late is only recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import takewhile
from typing import Any, NamedTuple

from streams.rules.plan import PlannedStep, sent_at_once
from streams.rules.status import ACCEPTED, DELIVERED, FAILED, NEVER_SENT, SEEN
from streams.rules.terms import Channel, LaterStep

HOUR_MS = 3_600_000
# A receipt that has not come by then is asked for: the hour. Carriers that report at all do so within minutes.
RECEIPT_TIMEOUT_MS = HOUR_MS
# So long something may still be heard of a message: SendGrid tries a server that defers for 72 hours, carriers less.
WATCHED_MS = 96 * HOUR_MS
# Whose provider can be asked what became of one message.
CAN_BE_ASKED: frozenset[str] = frozenset({"sms"})

# What ends the plan, by the step's ``success``.
_REACHED: Mapping[str, frozenset[str]] = {
    "accepted": ACCEPTED | DELIVERED | SEEN,
    "delivered": DELIVERED | SEEN,
    "seen": SEEN,
    "acknowledged": frozenset({"acknowledged"}),
}


class Group(NamedTuple):
    """Steps taken together. ``timeout_seconds``: how long ``success`` is waited for; 0: until all of them failed for good."""

    size: int
    success: str
    timeout_seconds: int


@lru_cache(maxsize=4096)  # plans differ by types, open channels and hours
def groups_of(steps: tuple[PlannedStep, ...]) -> tuple[Group, ...]:
    """A plan's groups, in their order."""
    found: list[Group] = []
    at = 0
    while at < len(steps):
        size = sent_at_once(steps[at:])
        found.append(Group(size, steps[at].success, steps[at].timeout_seconds))
        at += size
    return tuple(found)


@dataclass(slots=True)
class Progress:
    """One notification's. ``current``: the group under way. ``deadline_ms``: when the next group's turn comes; 0: on failure.

    ``retries``: step → when it is tried again; ``failures``: step → how often it failed. ``ask_ms``: when receipts are asked for,
    0: not any more. ``watched_ms``: until when anything is expected. ``held``: the next group's turn has come, it waits till
    ``deadline_ms`` for the rules to allow it.
    """

    groups: tuple[Group, ...]
    current: int
    deadline_ms: int
    ask_ms: int
    watched_ms: int
    retries: dict[int, int] = field(default_factory=dict)
    failures: dict[int, int] = field(default_factory=dict)
    held: bool = False

    @classmethod
    def begun(cls, groups: tuple[Group, ...], channels: Collection[str], now_ms: int) -> Progress:
        """The first group was just sent on these channels."""
        made = cls(groups, 0, 0, 0, 0)
        made._sent(channels, now_ms)
        return made

    @classmethod
    def resumed(cls, steps: int, sent_ms: int) -> Progress:
        """So many steps were sent then, by a version that did not pursue them: nothing comes after them."""
        return cls((Group(steps, "delivered", 0),), 0, 0, 0, sent_ms + WATCHED_MS)

    def advanced(self, groups: Sequence[Group], channels: Collection[str], now_ms: int) -> None:
        """The next group was just sent. ``groups``: it, and what comes after it."""
        self.groups = (*self.groups[: self.current + 1], *groups)
        self.current += 1
        self.retries, self.held = {}, False
        self._sent(channels, now_ms)

    def hold(self, until_ms: int) -> None:
        """The next group may be sent then."""
        self.deadline_ms, self.held = until_ms, True

    def put_off(self, step: int, until_ms: int) -> None:
        """A step may be sent then, not before. While nothing of its group is under way, nobody waits for its success."""
        self.retries[step] = until_ms
        if not self.held and all(number in self.retries for number in range(self.start, self.end)):
            self.deadline_ms = 0

    def resent(self, step: int, channel: str, now_ms: int) -> None:
        """A step was just tried again."""
        del self.retries[step]
        if self.deadline_ms <= now_ms and not self.held:
            self._wait(now_ms)  # whoever was away when both were due has not waited for it yet
        self._watch((channel,), now_ms)

    def ends_here(self) -> None:
        """No group comes after the one under way."""
        self.groups = self.groups[: self.current + 1]
        self.deadline_ms, self.held = 0, False

    def leave_out(self, step: int) -> None:
        """A step of a later group is not taken."""
        at = 0
        for number, group in enumerate(self.groups):
            if step < at + group.size:
                smaller = (group._replace(size=group.size - 1),) if group.size > 1 else ()
                self.groups = (*self.groups[:number], *smaller, *self.groups[number + 1 :])
                return
            at += group.size

    def _sent(self, channels: Collection[str], now_ms: int) -> None:
        self._wait(now_ms)
        self._watch(channels, now_ms)

    def _wait(self, now_ms: int) -> None:
        wait_seconds = self.groups[self.current].timeout_seconds if self.has_next else 0
        self.deadline_ms = now_ms + wait_seconds * 1000 if wait_seconds else 0

    def _watch(self, channels: Collection[str], now_ms: int) -> None:
        if not CAN_BE_ASKED.isdisjoint(channels):
            self.ask_ms = now_ms + RECEIPT_TIMEOUT_MS
        self.watched_ms = now_ms + WATCHED_MS

    @property
    def has_next(self) -> bool:
        """Does a group come after the one under way?"""
        return self.current + 1 < len(self.groups)

    @property
    def start(self) -> int:
        """The first step of the group under way."""
        return sum(group.size for group in self.groups[: self.current])

    @property
    def end(self) -> int:
        """The step after the last of the group under way: so many steps of the plan were taken."""
        return self.start + self.groups[self.current].size

    @property
    def next_ms(self) -> int:
        """When there is something to do next."""
        moments = [self.watched_ms, *self.retries.values()]
        if self.deadline_ms:
            moments.append(self.deadline_ms)
        if self.ask_ms:
            moments.append(self.ask_ms)
        return min(moments)

    def reached(self, steps: Sequence[Mapping[str, Any]]) -> bool:
        """Did any step that was taken succeed, each by its own group's measure?"""
        return self._reached_by(steps) is not None

    def needless(self, steps: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Steps that were taken after a group that succeeded after all; those beside its success were wished for."""
        end = self._reached_by(steps)
        return () if end is None else steps[end : self.end]

    def _reached_by(self, steps: Sequence[Mapping[str, Any]]) -> int | None:
        """The end of the first group that succeeded; None: none did."""
        at = 0
        for group in self.groups[: self.current + 1]:
            wanted = _REACHED[group.success]
            end = at + group.size
            if any(step["status"] in wanted for step in steps[at:end]):
                return end
            at = end
        return None

    def is_over(self, steps: Sequence[Mapping[str, Any]]) -> bool:
        """Can nothing come any more of the group under way? Nothing of it is tried again, and each of its steps has its end."""
        return not self.retries and all(
            step["status"] in FAILED or step["status"] in NEVER_SENT for step in steps[self.start : self.end]
        )

    def is_withdrawn(self, steps: Sequence[Mapping[str, Any]]) -> bool:
        """Was it cancelled just before the call? Then no other channel is tried."""
        statuses = {step["status"] for step in steps[self.start : self.end]}
        return statuses.isdisjoint(FAILED) and "cancelled" in statuses

    def rest(self, steps: Sequence[Mapping[str, Any]]) -> tuple[LaterStep, ...]:
        """The steps after the group under way, as the plan's ``later`` ones."""
        found: list[LaterStep] = []
        at = self.end
        before = self.groups[self.current]
        for group in self.groups[self.current + 1 :]:
            for step in steps[at : at + group.size]:
                channel: Channel = step["channel"]
                found.append(LaterStep(channel, before.success, before.timeout_seconds))
            at, before = at + group.size, group
        return tuple(found)

    def due_retries(self, now_ms: int) -> list[int]:
        """Steps to try again now, the longest due first."""
        due = sorted((at, step) for step, at in self.retries.items())
        return [step for _, step in takewhile(lambda one: one[0] <= now_ms, due)]

    def as_list(self) -> list[Any]:
        """For JSON."""
        return [
            [list(group) for group in self.groups],
            self.current,
            self.deadline_ms,
            self.ask_ms,
            self.watched_ms,
            list(self.retries.items()),
            list(self.failures.items()),
            self.held,
        ]

    @classmethod
    def of_list(cls, kept: Sequence[Any]) -> Progress:
        """From JSON."""
        groups, current, deadline_ms, ask_ms, watched_ms, retries, failures, held = kept
        return cls(
            tuple(Group(*group) for group in groups),
            current,
            deadline_ms,
            ask_ms,
            watched_ms,
            dict(retries),
            dict(failures),
            held,
        )
