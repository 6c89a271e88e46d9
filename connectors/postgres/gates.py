"""Gates: what must not be sent any more. Written here with its outbox row, looked at by the sinks just before each call.

A gate has reasons and is shut while one is left: a START lifts ``opted_out``, never ``hard_bounce``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

import psycopg

from connectors.postgres import outbox
from connectors.postgres.outbox import OutboxRow
from connectors.postgres.records import Records
from schemas.topics import GATES

Reason = Literal[
    "opted_out", "hard_bounce", "complaint", "carrier_block", "manual", "cancelled", "superseded", "erased"
]
_REASONS: frozenset[str] = frozenset(get_args(Reason))
# By what a key begins with. A withdrawn preference is a consent withdrawn, and Gate.avsc can take no further kind.
_KINDS = {
    "address": "address",
    "consent": "consent",
    "preference": "consent",
    "aggregate": "aggregate",
    "notification": "notification",
    "recipient": "recipient",
}


@dataclass(frozen=True, slots=True)
class Suppression:
    """One reason to shut one gate. ``source``: webhook, api, import, operator. ``expires_at``: open again from then on."""

    gate_key: str
    reason: Reason
    source: str
    expires_at: datetime | None = None


def address_gate(channel: str, sender_class: Literal["care", "marketing", "*"], address_hash: str) -> str:
    """Key of the gate before one address, for one class of sender."""
    return f"address:{channel}:{sender_class}:{address_hash}"


def consent_gate(recipient: str, consent_type: str) -> str:
    """Key of the gate that a withdrawn consent shuts."""
    return f"consent:{recipient}:{consent_type}"


def recipient_gate(recipient: str) -> str:
    """Key of the gate before everything to one recipient."""
    return f"recipient:{recipient}"


async def put(connection: psycopg.AsyncConnection, records: Records, suppressions: Sequence[Suppression]) -> list[int]:
    """Shut gates; ids of the outbox rows. Nothing is sent any more once ``outbox.published`` says they are in Kafka.

    Raises ValueError for an unknown kind of gate or reason.
    """
    latest = {(suppression.gate_key, suppression.reason): suppression for suppression in suppressions}
    if not latest:
        return []
    for suppression in latest.values():
        if suppression.reason not in _REASONS:
            raise ValueError(f"reason must be one of {', '.join(sorted(_REASONS))}")
    keys = sorted({suppression.gate_key for suppression in latest.values()})
    # Locks each gate until the end of the transaction: its records then follow one another in the order of their changes.
    await connection.execute(
        """INSERT INTO gates (gate_key, kind) SELECT * FROM unnest(%s::text[], %s::text[])
           ON CONFLICT (gate_key) DO UPDATE SET updated_at = now()""",
        (keys, [_kind(key) for key in keys]),
    )
    rows = list(latest.values())
    await connection.execute(
        """INSERT INTO suppressions (gate_key, reason, source, created_at, expires_at)
           SELECT gate_key, reason, source, now(), expires_at
           FROM unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[]) AS s (gate_key, reason, source, expires_at)
           ON CONFLICT (gate_key, reason)
           DO UPDATE SET source = excluded.source, created_at = excluded.created_at, expires_at = excluded.expires_at""",
        (
            [row.gate_key for row in rows],
            [row.reason for row in rows],
            [row.source for row in rows],
            [row.expires_at for row in rows],
        ),
    )
    return await _publish(connection, records, keys)


async def lift(
    connection: psycopg.AsyncConnection, records: Records, keys: Iterable[str], reason: Reason | None = None
) -> list[int]:
    """Take a reason (or all of them) from gates; those without one left are open. Ids of the outbox rows."""
    cursor = await connection.execute(
        "SELECT gate_key FROM gates WHERE gate_key = ANY(%s) ORDER BY gate_key FOR UPDATE", (list(keys),)
    )
    known = [key for (key,) in await cursor.fetchall()]
    await connection.execute(
        "DELETE FROM suppressions WHERE gate_key = ANY(%s) AND (%s::text IS NULL OR reason = %s)",
        (known, reason, reason),
    )
    return await _publish(connection, records, known)


async def _publish(connection: psycopg.AsyncConnection, records: Records, keys: Sequence[str]) -> list[int]:
    """The gates' records: the reason that lasts longest, or a tombstone where none is left."""
    cursor = await connection.execute(
        """SELECT DISTINCT ON (gate_key) gate_key, reason, source, created_at, expires_at
           FROM suppressions WHERE gate_key = ANY(%s) AND (expires_at IS NULL OR expires_at > now())
           ORDER BY gate_key, expires_at DESC NULLS FIRST, created_at DESC""",
        (list(keys),),
    )
    shut: dict[str, bytes] = {}
    for gate_key, reason, source, created_at, expires_at in await cursor.fetchall():
        record: dict[str, Any] = {
            "gate_key": gate_key,
            "kind": _kind(gate_key),
            "reason": reason,
            "source": source,
            "aggregate_version": None,
            "created_at": created_at,
            "expires_at": expires_at,
        }
        shut[gate_key] = records.encode_gate(record)
    return await outbox.add_many(connection, [OutboxRow(GATES, key.encode(), shut.get(key)) for key in keys])


def _kind(gate_key: str) -> str:
    kind = _KINDS.get(gate_key.partition(":")[0])
    if kind is None:
        raise ValueError(f"a gate's key begins with one of {', '.join(sorted(_KINDS))}, then a colon")
    return kind
