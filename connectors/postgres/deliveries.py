"""The attempt ledger: a row before each call to a provider, its result after; and how a receipt finds its delivery.

    attempting ──► accepted            the provider took it
               ├─► retry               it was late for quiet hours, or fails in a way that passes
               ├─► failed              for good
               └─► unknown             nobody knows, and it is not sent again

No statement needs another one's transaction: each is committed by itself, so that a worker that stands still holds up nobody.

A later attempt, decided by notify, begins anew whatever the one before came to, whose message id at the provider is remembered:
a late receipt of it is known for what it is, and never taken for the later one's.

An attempt whose lease ran out without a result is given to whoever asks next, as ``unknown``: look it up at the provider first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from connectors.postgres.pool import Pool, each_by_itself

# Outlives the providers' HTTP time-out, so that an attempt is over, one way or the other, before another may take it.
LEASE_SECONDS = 60

State = Literal["attempting", "accepted", "retry", "failed", "unknown"]
Result = Literal["accepted", "retry", "failed", "unknown"]
# begun: make the call. unknown: a former attempt ended without a result. leased: another worker is at it. finished: leave it.
Verdict = Literal["begun", "unknown", "leased", "finished"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at one delivery, as its ChannelMessage says. ``provider``: twilio, sendgrid, fcm or in_app."""

    delivery_id: str
    notification_id: str
    recipient: str
    clinic_id: str
    notification_type: str
    category: str
    lane: str
    channel: str
    step: int
    attempt: int
    provider: str
    template_id: str
    template_version: int
    occurred_at: datetime
    correlation_id: str | None = None

    def __repr__(self) -> str:
        return f"Attempt({self.delivery_id}, {self.channel}, attempt {self.attempt})"


class BeginResult(NamedTuple):
    """What to do about an attempt. ``provider_message_id`` of a finished one, where the provider gave one.

    ``ended``: how a finished one ended, as ``finish`` was told; None: nobody told.
    """

    delivery_id: str
    verdict: Verdict
    state: State
    attempt: int
    provider_message_id: str | None
    lease_until: datetime | None
    ended: str | None


class Finish(NamedTuple):
    """The result of an attempt. ``ended``: JSON of how it ended, to be told again; nothing of a person.

    ``lease_until``: the lease it was made under; None for a receipt, which needs none.
    """

    delivery_id: str
    attempt: int
    state: Result
    provider_message_id: str | None = None
    ended: str | None = None
    lease_until: datetime | None = None


class Finished(NamedTuple):
    """What became of results. ``twice``: deliveries that the provider had accepted before, under another message id.

    ``overtaken``: deliveries whose result was not entered, for another worker or a later attempt has them by now.
    """

    twice: list[str]
    overtaken: frozenset[str]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as the ledger knows it: what a status about it needs. Prints without its recipient."""

    delivery_id: str
    notification_id: str
    recipient: str
    clinic_id: str
    notification_type: str
    category: str
    lane: str
    channel: str
    step: int
    attempt: int
    provider: str
    template_id: str
    template_version: int
    occurred_at: datetime
    correlation_id: str | None
    provider_message_id: str | None
    state: State

    def __repr__(self) -> str:
        return f"Delivery({self.delivery_id}, {self.channel}, {self.state})"


_FIELDS = Attempt.__slots__

_BEGIN = """
    INSERT INTO deliveries AS d (
        delivery_id, notification_id, recipient, clinic_id, notification_type, category, lane, channel, step, attempt,
        provider, template_id, template_version, occurred_at, correlation_id, state, lease_until)
    SELECT n.*, 'attempting', now() + make_interval(secs => %s)
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::int[],
                %s::int[], %s::text[], %s::text[], %s::int[], %s::timestamptz[], %s::text[]) AS n (delivery_id)
    ORDER BY n.delivery_id  -- one order for all, so that two workers never wait for each other
    ON CONFLICT (delivery_id) DO UPDATE SET
        attempt = excluded.attempt,
        attempt_before = CASE WHEN d.attempt < excluded.attempt THEN d.attempt ELSE d.attempt_before END,
        state_before = CASE WHEN d.attempt = excluded.attempt THEN d.state_before
            WHEN d.state = 'attempting' THEN 'unknown' ELSE d.state END,
        message_id_before = CASE WHEN d.attempt < excluded.attempt THEN d.provider_message_id ELSE d.message_id_before END,
        ended_before = CASE WHEN d.attempt < excluded.attempt THEN d.ended ELSE d.ended_before END,
        earlier_message_ids = CASE WHEN d.attempt < excluded.attempt AND d.provider_message_id IS NOT NULL
            THEN d.earlier_message_ids || d.provider_message_id ELSE d.earlier_message_ids END,
        provider_message_id = CASE WHEN d.attempt < excluded.attempt THEN NULL ELSE d.provider_message_id END,
        takeovers = CASE WHEN d.state = 'attempting' THEN d.takeovers + 1 ELSE 0 END,
        provider = excluded.provider,
        template_version = excluded.template_version,
        state = 'attempting', ended = NULL, lease_until = excluded.lease_until, updated_at = now()
    WHERE (d.state = 'attempting' AND d.lease_until < now() AND d.attempt <= excluded.attempt)
       OR (d.state <> 'attempting' AND d.attempt < excluded.attempt)
    RETURNING delivery_id, CASE WHEN takeovers > 0 THEN 'unknown' ELSE 'begun' END, state, attempt, provider_message_id,
              lease_until, ended
"""

_LEFT = """
    SELECT delivery_id, CASE WHEN state = 'attempting' THEN 'leased' ELSE 'finished' END, state, attempt, provider_message_id,
           lease_until, ended
    FROM deliveries WHERE delivery_id = ANY(%s)
"""

_FINISH = """
    WITH n AS (
        SELECT * FROM unnest(%s::text[], %s::int[], %s::text[], %s::text[], %s::text[], %s::timestamptz[])
            AS n (delivery_id, attempt, state, provider_message_id, ended, lease_until)
    ), locked AS (
        SELECT d.delivery_id, d.state AS old_state, d.provider_message_id AS old_id, n.state, n.provider_message_id, n.ended
        FROM deliveries d JOIN n USING (delivery_id)
        WHERE n.state = 'accepted'
            OR (d.attempt = n.attempt AND (n.lease_until IS NULL OR n.lease_until = d.lease_until))
        ORDER BY d.delivery_id FOR UPDATE OF d
    ), done AS (
        UPDATE deliveries d
        SET state = l.state, provider_message_id = l.provider_message_id, ended = l.ended, lease_until = NULL,
            updated_at = now()
        FROM locked l WHERE d.delivery_id = l.delivery_id AND l.old_state <> 'accepted'
    )
    SELECT delivery_id, old_state = 'accepted' AND state = 'accepted' AND old_id IS DISTINCT FROM provider_message_id
    FROM locked
"""

_LEFT_IN_DOUBT = """
    UPDATE deliveries SET lease_until = now() - interval '1 ms', updated_at = now()
    WHERE delivery_id = %s AND state = 'attempting' AND lease_until = %s
"""
# Receipts of the attempt before find their delivery by the row, and its record, read again, is told how it ended.
_AS_IT_WAS = """
    UPDATE deliveries
    SET attempt = attempt_before, state = state_before, provider_message_id = message_id_before, ended = ended_before,
        earlier_message_ids = array_remove(earlier_message_ids, message_id_before), takeovers = 0, lease_until = NULL,
        attempt_before = NULL, state_before = NULL, message_id_before = NULL, ended_before = NULL, updated_at = now()
    WHERE delivery_id = %s AND state = 'attempting' AND lease_until = %s AND attempt_before IS NOT NULL
"""
_UNBEGUN = """
    DELETE FROM deliveries
    WHERE delivery_id = %s AND state = 'attempting' AND lease_until = %s AND attempt_before IS NULL
"""


async def begin(pool: Pool, attempts: Sequence[Attempt], lease_seconds: float = LEASE_SECONDS) -> list[BeginResult]:
    """Enter attempts before their calls, in one statement; a result for each, in the same order.

    Make the call only on ``begun``, and only while the lease, counted from before this call, is not over. The same delivery
    twice in one batch: the second is ``leased``. Raises psycopg.Error; then nothing was entered, or it will show as ``unknown``.
    """
    first = {attempt.delivery_id: attempt for attempt in reversed(attempts)}
    if not first:
        return []
    columns = [[getattr(attempt, name) for attempt in first.values()] for name in _FIELDS]
    async with each_by_itself(pool) as connection:
        cursor = await connection.execute(_BEGIN, (lease_seconds, *columns))
        entered = {row[0]: BeginResult(*row) for row in await cursor.fetchall()}
        left = [delivery_id for delivery_id in first if delivery_id not in entered]
        if left:
            cursor = await connection.execute(_LEFT, (left,))
            entered |= {row[0]: BeginResult(*row) for row in await cursor.fetchall()}
    results: list[BeginResult] = []
    answered: set[str] = set()
    for attempt in attempts:
        result = entered[attempt.delivery_id]
        if attempt.delivery_id in answered and result.verdict in ("begun", "unknown"):
            result = result._replace(verdict="leased")
        answered.add(attempt.delivery_id)
        results.append(result)
    return results


async def renew(
    pool: Pool, delivery_id: str, lease_until: datetime, lease_seconds: float = LEASE_SECONDS
) -> datetime | None:
    """A new lease on an attempt whose call was not made yet, if nobody took it up meanwhile; until when, else None.

    ``lease_until``: as ``begin`` or the last renewal gave it; it names whose lease it is. Raises psycopg.Error.
    """
    async with each_by_itself(pool) as connection:
        cursor = await connection.execute(
            """UPDATE deliveries SET lease_until = now() + make_interval(secs => %s), updated_at = now()
               WHERE delivery_id = %s AND state = 'attempting' AND lease_until = %s RETURNING lease_until""",
            (lease_seconds, delivery_id, lease_until),
        )
        row = await cursor.fetchone()
        return None if row is None else row[0]


async def release(pool: Pool, delivery_id: str, lease_until: datetime, *, in_doubt: bool) -> None:
    """Give an attempt up as if it had never been begun; one that is ``in_doubt`` is left to be taken up as unknown at once.

    ``lease_until``: as for ``renew``; an attempt that another has taken up stays as it is. Raises psycopg.Error.
    """
    async with each_by_itself(pool) as connection:
        for statement in (_LEFT_IN_DOUBT,) if in_doubt else (_AS_IT_WAS, _UNBEGUN):
            await connection.execute(statement, (delivery_id, lease_until))


async def finish(pool: Pool, results: Sequence[Finish]) -> Finished:
    """Enter results, in one statement. Raises psycopg.Error.

    What was accepted ``twice`` was sent twice: a worker that was stalled past its lease sent as well. The first message id is
    kept. A result under a lease that is not in force any more, or of an attempt that a later one has replaced, changes
    nothing; but an acceptance always counts.
    """
    # One result a delivery: the latest, and an acceptance before anything else.
    latest = {result.delivery_id: result for result in sorted(results, key=lambda one: one.state == "accepted")}
    if not latest:
        return Finished([], frozenset())
    columns = [[result[place] for result in latest.values()] for place in range(len(Finish._fields))]
    async with each_by_itself(pool) as connection:
        cursor = await connection.execute(_FINISH, columns)
        entered: dict[str, bool] = dict(await cursor.fetchall())
    return Finished([one for one, twice in entered.items() if twice], frozenset(latest.keys() - entered.keys()))


_BY_PROVIDER_IDS = """
    SELECT provider_message_id, delivery_id, notification_id, recipient, clinic_id, notification_type, category, lane, channel,
           step, attempt, provider, template_id, template_version, occurred_at, correlation_id, provider_message_id, state
    FROM deliveries WHERE provider = %s AND provider_message_id = ANY(%s)
"""

# Any attempt before the present one: a receipt of it changes no more what is known of the delivery.
_BY_EARLIER_IDS = """
    SELECT earlier, delivery_id, notification_id, recipient, clinic_id, notification_type, category, lane, channel,
           step, attempt - 1, provider, template_id, template_version, occurred_at, correlation_id, earlier, state
    FROM deliveries, unnest(earlier_message_ids) AS earlier
    WHERE earlier_message_ids <> '{}' AND earlier_message_ids && %s AND provider = %s AND earlier = ANY(%s)
"""


async def find_by_provider_ids(pool: Pool, provider: str, ids: Sequence[str]) -> dict[str, Delivery]:
    """Provider's message id → its delivery, of those that the ledger knows; an earlier attempt's as of that attempt."""
    wanted = list(ids)
    async with each_by_itself(pool) as connection:
        cursor = await connection.execute(_BY_PROVIDER_IDS, (provider, wanted))
        found = {message_id: Delivery(*columns) for message_id, *columns in await cursor.fetchall()}
        missing = [message_id for message_id in wanted if message_id not in found]
        if missing:
            cursor = await connection.execute(_BY_EARLIER_IDS, (missing, provider, missing))
            found |= {message_id: Delivery(*columns) for message_id, *columns in await cursor.fetchall()}
    return found


async def changed_at(pool: Pool, ids: Sequence[str]) -> dict[str, datetime]:
    """Delivery id → when its row changed last: of one that the provider took, when it said so."""
    async with each_by_itself(pool) as connection:
        cursor = await connection.execute(
            "SELECT delivery_id, updated_at FROM deliveries WHERE delivery_id = ANY(%s)", (list(ids),)
        )
        return dict(await cursor.fetchall())


async def remember_earlier(pool: Pool, earlier: Sequence[tuple[str, int, str]]) -> None:
    """Delivery id, attempt and message id at the provider, of attempts that later ones have replaced: their receipts find them.

    What is the present attempt's by now, or known already, changes nothing. Raises psycopg.Error.
    """
    if not earlier:
        return
    async with each_by_itself(pool) as connection:
        await connection.execute(
            """UPDATE deliveries d SET earlier_message_ids = d.earlier_message_ids || n.ids, updated_at = now()
               FROM (SELECT e.delivery_id, array_agg(DISTINCT e.message_id) AS ids
                     FROM unnest(%s::text[], %s::int[], %s::text[]) AS e (delivery_id, attempt, message_id)
                     JOIN deliveries o USING (delivery_id)
                     WHERE e.attempt < o.attempt AND e.message_id IS DISTINCT FROM o.provider_message_id
                         AND e.message_id <> ALL (o.earlier_message_ids)
                     GROUP BY e.delivery_id) n
               WHERE d.delivery_id = n.delivery_id""",
            [[one[place] for one in earlier] for place in range(3)],
        )


async def find(pool: Pool, delivery_ids: Sequence[str]) -> dict[str, Delivery]:
    """Delivery id → delivery, of those that the ledger knows; also while the provider's message id is not known yet."""
    async with each_by_itself(pool) as connection:
        cursor = await connection.execute(
            """SELECT delivery_id, notification_id, recipient, clinic_id, notification_type, category, lane, channel, step,
                      attempt, provider, template_id, template_version, occurred_at, correlation_id, provider_message_id,
                      state
               FROM deliveries WHERE delivery_id = ANY(%s)""",
            (list(delivery_ids),),
        )
        return {columns[0]: Delivery(*columns) for columns in await cursor.fetchall()}
