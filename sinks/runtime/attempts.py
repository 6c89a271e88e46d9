"""The attempt ledger as a sink uses it: begun before the call, ended after it, many rows in one commit."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg

from connectors.gathering import Gathered
from connectors.postgres import deliveries
from connectors.postgres.deliveries import Attempt, BeginResult, Finish, Result
from connectors.postgres.pool import Pool
from sinks.runtime.counted import Counted
from sinks.runtime.outcome import Outcome
from sinks.runtime.patience import patiently
from sinks.runtime.tuning import Tuning

log = logging.getLogger(__name__)

Row = TypeVar("Row")
Answer = TypeVar("Answer")

_FIELDS = tuple(field.name for field in fields(Attempt) if field.name != "provider")
# Another worker's attempt is asked after this often: its lease may end early, with its result.
LEASED_POLL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Begun:
    """Our attempt. The call must be over before ``lease_until_monotonic``; after it another may take the delivery up.

    ``unknown_since``: a former try of this attempt ended without a result; nothing of it was sent before this time.
    """

    delivery_id: str
    attempt: int
    lease_until: datetime
    lease_until_monotonic: float
    unknown_since: datetime | None


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing is left to do. ``outcome``: how this attempt ended; None where a later attempt has taken its place."""

    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class Leased:
    """Another worker, perhaps dead, is at it: ask again in so many seconds."""

    seconds: float


class Attempts:
    """The ledger of one provider."""

    def __init__(self, pool: Pool, provider: str, tuning: Tuning, counted: Counted, *, lease_seconds: float) -> None:
        self._pool = pool
        self._counted = counted
        self._provider = provider
        self._lease_seconds = lease_seconds
        self._retry_seconds = tuning.postgres_retry_seconds
        self._beginning: Gathered[Attempt, BeginResult | psycopg.Error] = Gathered(
            self._begin, max_items=tuning.batch_rows, linger_ms=tuning.batch_linger_ms
        )
        self._finishing: Gathered[Finish, bool | psycopg.Error] = Gathered(
            self._finish, max_items=tuning.batch_rows, linger_ms=tuning.batch_linger_ms
        )

    async def begin(self, message: Mapping[str, Any]) -> Begun | Ended | Leased:
        """Enter the attempt of a ChannelMessage. Raises psycopg.Error for the row's own fault."""
        attempt = Attempt(provider=self._provider, **{name: message[name] for name in _FIELDS})
        asked = time.monotonic()
        result = await self._beginning.submit(attempt)
        if isinstance(result, psycopg.Error):
            raise result
        if result.verdict in ("begun", "unknown") and result.lease_until is not None:
            since = message["created_at"] if result.verdict == "unknown" else None
            until = asked + self._lease_seconds
            return Begun(attempt.delivery_id, attempt.attempt, result.lease_until, until, since)
        if result.attempt > attempt.attempt:
            return Ended(None)
        if result.verdict == "finished":
            return Ended(_outcome_of(result))
        return Leased(_until(result.lease_until))

    async def renew(self, begun: Begun) -> Begun | None:
        """The attempt with a new lease, when it waited too long for its call; None where another worker took it up."""
        asked = time.monotonic()
        until = await patiently(
            lambda: deliveries.renew(self._pool, begun.delivery_id, begun.lease_until, self._lease_seconds),
            retry_seconds=self._retry_seconds,
        )
        if until is None:
            return None
        return replace(begun, lease_until=until, lease_until_monotonic=asked + self._lease_seconds)

    async def release(self, begun: Begun, *, in_doubt: bool) -> None:
        """Give the attempt up unspent: its call was not made, or refused for a reason that is no message's own.

        ``in_doubt``: an earlier call of it may have arrived, so whoever takes it up asks the provider first.
        """
        await patiently(
            lambda: deliveries.release(self._pool, begun.delivery_id, begun.lease_until, in_doubt=in_doubt),
            retry_seconds=self._retry_seconds,
        )

    async def finish(self, begun: Begun, outcome: Outcome) -> bool:
        """Enter how it ended; False where another took the attempt up meanwhile, whose word counts then.

        Raises psycopg.Error for the row's own fault.
        """
        state, message_id = _state_of(outcome), outcome.provider_message_id
        row = Finish(begun.delivery_id, begun.attempt, state, message_id, outcome.encoded(), begun.lease_until)
        entered = await self._finishing.submit(row)
        if isinstance(entered, psycopg.Error):
            raise entered
        return entered

    async def known(self, provider_message_ids: Iterable[str]) -> frozenset[str]:
        """Those of the provider's message ids that are some delivery's already."""
        ids = list(provider_message_ids)
        found = await patiently(
            lambda: deliveries.find_by_provider_ids(self._pool, self._provider, ids), retry_seconds=self._retry_seconds
        )
        return frozenset(found)

    async def _begin(self, attempts: Sequence[Attempt]) -> list[BeginResult | psycopg.Error]:
        self._counted.wrote("begin", len(attempts))
        return await self._by_batch(attempts, lambda rows: deliveries.begin(self._pool, rows, self._lease_seconds))

    async def _finish(self, rows: Sequence[Finish]) -> list[bool | psycopg.Error]:
        self._counted.wrote("finish", len(rows))
        return await self._by_batch(rows, self._enter)

    async def _enter(self, rows: Sequence[Finish]) -> list[bool]:
        twice, overtaken = await deliveries.finish(self._pool, rows)
        if twice:
            log.warning("%d deliveries were accepted twice by %s: %s", len(twice), self._provider, ", ".join(twice))
        return [row.delivery_id not in overtaken for row in rows]

    async def _by_batch(
        self, rows: Sequence[Row], write: Callable[[Sequence[Row]], Awaitable[list[Answer]]]
    ) -> list[Answer | psycopg.Error]:
        """Write all at once; if the batch has a bad row, one by one, so that it fails alone."""
        answers: list[Answer | psycopg.Error] = []
        try:
            answers += await patiently(lambda: write(rows), retry_seconds=self._retry_seconds)
        except psycopg.Error as error:
            if len(rows) == 1:
                return [error]
            for row in rows:
                alone = await self._by_batch([row], write)
                answers += alone
        return answers


def _state_of(outcome: Outcome) -> Result:
    if outcome.status == "sent":
        return "accepted"
    if outcome.status == "unknown":
        return "unknown"
    # Late for quiet hours: notify decides it again, and another attempt, with the same delivery, comes when they are over.
    decided_again = (outcome.status, outcome.reason) == ("expired", "send_not_after")
    return "retry" if decided_again or outcome.retry_at is not None else "failed"


def _outcome_of(result: BeginResult) -> Outcome:
    """The end whose status may not have reached Kafka, as it was or would have been told."""
    if result.ended is not None:
        return Outcome.decoded(result.ended, result.provider_message_id)
    # A receipt was quicker than the sink's own word, or it ended before the ledger kept more than the state.
    if result.state == "accepted":
        return Outcome("sent", provider_message_id=result.provider_message_id)
    if result.state == "unknown":
        return Outcome("unknown", "no_answer", error_class="unknown")
    return Outcome("failed", "ended_before")


def _until(lease_until: datetime | None) -> float:
    """How long to wait for another worker's lease. The clock is Postgres', so it is asked again anyway."""
    left = (lease_until - datetime.now(UTC)).total_seconds() if lease_until is not None else 0.0
    return min(LEASED_POLL_SECONDS, max(0.1, left))
