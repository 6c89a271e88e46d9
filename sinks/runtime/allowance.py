"""Tokens of one channel's rate limits: what messages need, what is in hand, and asking Postgres for what is short."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from connectors.metrics import catalogue
from connectors.metrics.counting import Counts, Read, Source
from connectors.postgres import rate_limits
from connectors.postgres.pool import Pool
from connectors.postgres.rate_limits import Lease, Want
from sinks.runtime.limits import ChannelLimits
from sinks.runtime.patience import patiently
from sinks.runtime.purse import Purse
from sinks.runtime.tuning import Tuning

Token = tuple[Purse, int]


class Allowance:
    """One ask at a time; who comes meanwhile is counted in the next."""

    def __init__(
        self, pool: Pool, limits: ChannelLimits, tuning: Tuning, *, failed: Callable[[Exception], None]
    ) -> None:
        """``failed``: told of what makes waiting for tokens vain."""
        self._failed = failed
        self._pool = pool
        self._limits = limits
        self._retry_seconds = tuning.postgres_retry_seconds
        self._account = frozenset(limit.name for limit in limits.account)
        # One a clinic that has limits of its own, some 200 bytes each; who waits holds its own, so none is forgotten.
        self._purses: dict[str, Purse] = {}
        self._asking: asyncio.Task[None] | None = None
        self.refilled: Callable[[], None] = lambda: None
        self.asked = 0
        self._channel = limits.channel
        self._tokens, self._short = Counts(catalogue.LIMIT_TOKENS), Counts(catalogue.LIMIT_SHORT)
        self._waiting: dict[str, int] = {}  # by the limit's kind

    def account(self) -> tuple[Purse, ...]:
        """Those that every message takes from."""
        return tuple(map(self._purse, self._limits.account))

    def own(self, message: Mapping[str, Any]) -> tuple[Purse, ...]:
        """Those of a message's sender and clinic."""
        return tuple(map(self._purse, self._limits.own(message["sender_class"], message["clinic_id"])))

    def _purse(self, limit: rate_limits.Limit) -> Purse:
        purse = self._purses.get(limit.name)
        if purse is None:
            purse = self._purses[limit.name] = Purse(limit)
        return purse

    def want(self, waiting: Iterable[tuple[bool, Sequence[Purse]]], now: float) -> float | None:
        """Ask for what is short. ``waiting``: of each message, whether it is critical and what it takes from.

        When to look again, because a limit that had none may have some then; None: nothing is known to be dry.
        """
        needs: dict[str, list[int]] = {}
        waits: dict[str, int] = {}
        dry: dict[str, float] = {}
        spare: dict[str, int] = {}
        for critical, purses in waiting:
            waits_for: str | None = None
            # Its sender's and clinic's first: the account's would lapse while it waits for those.
            for purse in reversed(purses):
                name = purse.limit.name
                left = spare.setdefault(name, purse.left(now))
                if left > 0:
                    spare[name] = left - 1
                    continue
                waits_for = waits_for or purse.limit.kind
                ask_at = purse.ask_at(now)
                if ask_at is not None:
                    dry[name] = ask_at
                    break
                needs.setdefault(name, [0, 0])[not critical] += 1
                if name not in self._account:
                    break
            if waits_for is not None:
                waits[waits_for] = waits.get(waits_for, 0) + 1
        self._waiting = waits
        wants = [Want(self._purses[name].limit, *counts) for name, counts in needs.items()]
        if wants and self._asking is None:
            self._asking = asyncio.create_task(self._ask(wants))
        return min(dry.values(), default=None)

    async def _ask(self, wants: Sequence[Want]) -> None:
        try:
            asked_at, leases = await patiently(lambda: self._lease(wants), retry_seconds=self._retry_seconds)
            self.asked += 1
            for want in wants:
                purse = self._purses.get(want.limit.name)
                if purse is not None:
                    wanted, lease = want.critical + want.other, leases[want.limit.name]
                    purse.fill(lease, asked_at, wanted, time.monotonic())
                    self._tokens.add(self._channel, want.limit.kind, by=lease.tokens)
                    if lease.tokens < wanted:
                        self._short.add(self._channel, want.limit.kind)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task
            self._failed(error)
            return
        finally:
            self._asking = None
        self.refilled()

    async def _lease(self, wants: Sequence[Want]) -> tuple[float, dict[str, Lease]]:
        while True:
            asked_at = time.monotonic()
            leases = await rate_limits.lease(self._pool, wants)
            missing = [want.limit.name for want in wants if want.limit.name not in leases]
            if not missing:
                return asked_at, leases
            await rate_limits.make(self._pool, missing)

    def sources(self) -> list[Source]:
        """For the exporter, in whose thread they are read."""
        waiting = Read(
            catalogue.LIMIT_WAITING, lambda: [((self._channel, kind), count) for kind, count in self._waiting.items()]
        )
        return [self._tokens, self._short, waiting]

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
