"""One recipient at a time for many callers at once: their reads share a query, their edits a transaction and its commit.

An idle process asks for one, a busy one for as many as came meanwhile (gathering.py). No caller sees another: what is wrong with
one edit is raised to its own caller only, and an edit that could hold others up, or fail them, is sent back to be made alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import psycopg
from psycopg.errors import DeadlockDetected, LockNotAvailable

from connectors.gathering import Gathered
from connectors.postgres import preference_gates, recipient_rows
from connectors.postgres.gates import consent_gate
from connectors.postgres.in_force import unpublished
from connectors.postgres.pool import Pool
from connectors.postgres.recipient_columns import consent_types
from connectors.postgres.recipient_rows import LockedRow
from connectors.postgres.recipients import Edit, Recipient, edit_many, opened
from connectors.postgres.records import Records
from connectors.time_limit import within
from schemas.topics import GATES, RECIPIENTS

# Bounds of a batch: what it holds in memory, and for how long its work keeps the event loop from others (edits: 0.5 ms each).
MAX_READS, MAX_EDITS = 200, 32
# An import holds its rows for longer: edits of its patients then wait alone, and nobody with them.
LOCK_WAIT_MS = 200


class Edited(NamedTuple):
    """A recipient as stored after the edit; None: there is none, or she is erased. ``outbox_ids``: what to wait for."""

    recipient: Recipient | None
    outbox_ids: list[int]


class _Asked(NamedTuple):
    recipient: str
    edit: Edit
    actor: str


# again: the batch has an edit of this recipient already. alone: not with others.
_Outcome = Edited | Exception | Literal["again", "alone"]


class RecipientRequests:
    """Gathers one process' reads and edits. ``refusal``: what an edit may raise, to refuse before anything is changed.

    ``batch_seconds``: then a batch fails with TimeoutError: one that Postgres never answers does not keep the next.
    """

    def __init__(self, pool: Pool, records: Records, refusal: type[Exception], batch_seconds: float) -> None:
        self._pool = pool
        self._records = records
        self._refusal = refusal
        self._reads: Gathered[str, LockedRow | None] = Gathered(
            lambda batch: within(batch_seconds, self._read(batch)), max_items=MAX_READS, linger_ms=0
        )
        # An edit whose caller was answered already is not made later, perhaps over a newer one.
        self._edits: Gathered[_Asked, _Outcome] = Gathered(
            lambda batch: within(batch_seconds, self._edit(batch)),
            max_items=MAX_EDITS,
            linger_ms=0,
            drops_cancelled=True,
        )

    async def read(self, recipient: str) -> Recipient | None:
        """A recipient as stored now; None: there is none, or she is erased. Raises SealError.

        psycopg.OperationalError, TimeoutError: Postgres does not answer.
        """
        row = await self._reads.submit(recipient)
        return None if row is None else opened(self._records, recipient, row)

    async def edit(self, recipient: str, edit: Edit, actor: str) -> Edited:
        """Change a recipient; it is committed on return. ``edit`` may be called more than once: it must have no effects.

        Raises what ``edit`` refused with, and what ``edit_many`` raises; TimeoutError: perhaps it was stored.
        """
        asked = _Asked(recipient, edit, actor)
        while (outcome := await self._edits.submit(asked)) == "again":
            pass
        if outcome == "alone":
            async with self._pool.connection() as connection:
                [outcome] = await self._make(connection, [asked])
        if not isinstance(outcome, Edited):
            raise outcome
        return outcome

    async def _read(self, recipients: Sequence[str]) -> list[LockedRow | None]:
        async with self._pool.connection() as connection:
            # One statement is a transaction by itself: BEGIN and COMMIT would be two more round trips.
            await connection.set_autocommit(True)
            try:
                rows = await recipient_rows.read(connection, list(set(recipients)))
            finally:
                await connection.set_autocommit(False)
        return [rows.get(recipient) for recipient in recipients]

    async def _edit(self, batch: Sequence[_Asked]) -> list[_Outcome]:
        first: dict[str, _Asked] = {}
        for asked in batch:
            first.setdefault(asked.recipient, asked)
        outcomes: dict[str, _Outcome] = dict.fromkeys(first, "alone")
        try:
            async with self._pool.connection() as connection:
                await connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{LOCK_WAIT_MS}ms",))
                made = await self._make(connection, list(first.values()))
            outcomes = dict(zip(first, made, strict=True))
        except (LockNotAvailable, DeadlockDetected):
            pass
        except psycopg.OperationalError:
            raise  # Postgres is away, for all of them
        except Exception:  # noqa: BLE001, S110 - whatever it is that one edit breaks: alone, it is raised to its own caller
            pass
        return [outcomes[asked.recipient] if first[asked.recipient] is asked else "again" for asked in batch]

    async def _make(self, connection: psycopg.AsyncConnection, batch: Sequence[_Asked]) -> list[Edited | Exception]:
        """The edits of different recipients, in the caller's transaction."""
        refused: dict[str, Exception] = {}

        def refusing(asked: _Asked) -> Edit:
            def edit(found: Recipient | None) -> Recipient | None:
                try:
                    return asked.edit(found)
                except self._refusal as error:
                    refused[asked.recipient] = error
                    return None

            return edit

        edits = {asked.recipient: refusing(asked) for asked in batch}
        actors = {asked.recipient: asked.actor for asked in batch}
        written = await edit_many(connection, self._records, edits, actors, source="api")
        left = [one for one in written.stored if one not in written.record_ids and one not in refused]
        earlier = await on_their_way(connection, left) if left else []
        made: list[Edited | Exception] = []
        for recipient in edits:
            own = written.record_ids.get(recipient)
            ids = earlier if own is None else [own, *written.gate_ids]
            made.append(refused.get(recipient) or Edited(written.stored.get(recipient), ids))
        return made


async def on_their_way(connection: psycopg.AsyncConnection, recipients: Sequence[str]) -> list[int]:
    """Outbox rows of earlier changes of recipients, and of the gates they turn: stored, and perhaps not in force yet."""
    gates = [consent_gate(recipient, consent_type) for recipient in recipients for consent_type in consent_types()]
    gates += preference_gates.keys(recipients)
    keys = [(RECIPIENTS, recipient.encode()) for recipient in recipients]
    return await unpublished(connection, [*keys, *((GATES, gate.encode()) for gate in gates)])
