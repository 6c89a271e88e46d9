"""A circuit breaker: when calls to a provider are not worth making, and when one is made to see whether they are again. Pure.

    closed ──► open        calls fail in a row, or one says that every call will
    open ──► half_open     its time has come: one call is let through, the probe
    half_open ──► closed   the probe was answered
              └─► open     it was not; the next probe comes twice as late

Held, it is open until it is released, whatever calls are answered: they are accepted, and only their receipts say what they are
worth. A probe is let through all the same, as seldom as any, for its receipt.

Times are monotonic seconds, as the caller gives them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["closed", "open", "half_open"]
# down: nobody answers. account: our account, sender or configuration is refused. throttled: we are told to be slower.
Cause = Literal["down", "account", "throttled"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How quick a breaker is. ``failures``: so many calls in a row without an answer open it."""

    failures: int
    first_probe_seconds: float
    longest_probe_seconds: float


class Breaker:
    """One breaker. A call begins with ``admit``, and its end is told with that ticket; what calls before a pause say is stale."""

    __slots__ = (
        *("_by_calls", "_delay", "_generation", "_pace", "_probe_at", "_probed_at", "_probing"),
        *("cause", "code", "held", "opened_at", "streak"),
    )

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._generation = 0
        self._probing = False
        self._probe_at = self._probed_at = 0.0
        self._delay = pace.first_probe_seconds
        self.streak = 0  # failures since the last answer
        self.opened_at: float | None = None
        self.cause: Cause | None = None
        self.code = ""
        self.held = False
        self._by_calls: tuple[Cause, str] | None = None  # while held: what calls say, too

    @property
    def state(self) -> State:
        """What it is now."""
        if self.opened_at is None:
            return "closed"
        return "half_open" if self._probing else "open"

    @property
    def probe_at(self) -> float | None:
        """When the next call may be let through; None while any may, or one is under way."""
        return self._probe_at if self.state == "open" else None

    def would_admit(self, now: float) -> bool:
        """Whether ``admit`` would give a ticket."""
        return self.opened_at is None or (not self._probing and now >= self._probe_at)

    def admit(self, now: float) -> int | None:
        """The ticket of a call that may be made; None: it may not."""
        if not self.would_admit(now):
            return None
        if self.opened_at is not None:
            self._probing = True
            self._generation += 1
            self._probed_at = now
        return self._generation

    def is_probe(self, ticket: int) -> bool:
        """Whether this call is the one that the breaker waits for."""
        return self._probing and ticket == self._generation

    def answered(self, ticket: int) -> bool:
        """The provider answered, be it with a refusal of that one message. True: this closed the breaker."""
        if ticket != self._generation:
            return False
        probed = self._probing
        if probed or self.opened_at is None:
            self.streak = 0
        if probed and self.held:
            self._probing, self._by_calls = False, None
            self._probe_at = self._probed_at + self._delay
            return False
        if probed:
            self._close()
        return probed

    def failed(self, ticket: int, now: float, code: str, cause: Cause = "down") -> bool:
        """No answer, or one that says only "not now". True: this opened the breaker."""
        if ticket != self._generation:
            return False
        if self._probing:
            self._by_calls = cause, code
            self._postpone_probe(now)
            return False
        if self.opened_at is not None:
            return False
        self.streak += 1
        return self.streak >= self._pace.failures and self._open(now, cause, code)

    def pause(self, ticket: int, now: float, cause: Cause, code: str, seconds: float | None = None) -> bool:
        """Every call will be refused, for ``seconds`` where the provider says so. True: this opened, or its cause is another."""
        if self.opened_at is None:
            if ticket != self._generation:
                return False
            self._open(now, cause, code)
            changed = True
        else:
            probed = self.is_probe(ticket)
            if probed:
                self._by_calls = cause, code
                self._postpone_probe(now)
            changed = probed and cause != self.cause
            if changed:
                self.cause, self.code = cause, code
        if seconds is not None:
            self._probe_at = max(self._probe_at, now + seconds)
        return changed

    def hold(self, now: float, code: str) -> bool:
        """Receipts say that nothing arrives. True: this opened it, or its cause was another."""
        if self.held:
            return False
        changed = self.cause != "account"
        self.held, self._by_calls = True, None if self.cause is None else (self.cause, self.code)
        self._delay = self._pace.longest_probe_seconds
        if self.opened_at is None:
            self._open(now, "account", code)
        self.cause, self.code = "account", code
        return changed

    def release(self) -> bool:
        """They say it no more. True: this closed it; what calls said last is for a probe's answer to end."""
        if not self.held:
            return False
        self.held = False
        if self._by_calls is not None:
            self.cause, self.code = self._by_calls
            self._delay = self._pace.first_probe_seconds
            return False
        self._close()
        return True

    def withdraw(self, ticket: int) -> None:
        """The call was not made: another may be the probe."""
        if self.is_probe(ticket):
            self._probing = False

    def _open(self, now: float, cause: Cause, code: str) -> bool:
        self._generation += 1
        self.opened_at, self.cause, self.code = now, cause, code
        self._probe_at = now + self._delay
        return True

    def _close(self) -> None:
        self._probing = False
        self._generation += 1
        self.streak = 0
        self.opened_at = self.cause = None
        self.code = ""
        self._delay = self._pace.first_probe_seconds

    def _postpone_probe(self, now: float) -> None:
        self._probing = False
        self._delay = min(self._pace.longest_probe_seconds, self._delay * 2)
        self._probe_at = now + self._delay
