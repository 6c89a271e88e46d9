"""The suppression list as it is read: which gates are shut, why, until when, and whose they are."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

import psycopg

from connectors.postgres.gates import address_gate, consent_gate, recipient_gate
from connectors.postgres.recipient_columns import consent_types

SENDER_CLASSES: tuple[Literal["care", "marketing", "*"], ...] = ("care", "marketing", "*")


class Listed(NamedTuple):
    """One reason of one gate. ``recipients``: whose address, consent or record it is; those of the clinic asked for."""

    gate_key: str
    reason: str
    source: str
    created_at: datetime
    expires_at: datetime | None
    recipients: list[str]


async def keys_of(connection: psycopg.AsyncConnection, recipient: str) -> list[str]:
    """Every gate that a recipient has, shut or not."""
    cursor = await connection.execute(
        "SELECT channel, address_hash FROM addresses WHERE recipient = %s ORDER BY channel, address_hash", (recipient,)
    )
    addresses = await cursor.fetchall()
    return [
        recipient_gate(recipient),
        *(consent_gate(recipient, consent_type) for consent_type in consent_types()),
        *(address_gate(channel, kind, hash_) for channel, hash_ in addresses for kind in SENDER_CLASSES),
    ]


async def shut_at(connection: psycopg.AsyncConnection, gate_key: str, reason: str) -> datetime | None:
    """Since when a gate is shut for this reason; None: it is not."""
    cursor = await connection.execute(
        "SELECT created_at FROM suppressions WHERE gate_key = %s AND reason = %s", (gate_key, reason)
    )
    row = await cursor.fetchone()
    return row[0] if row else None


async def of_recipient(connection: psycopg.AsyncConnection, recipient: str) -> list[Listed]:
    """What is suppressed of one person, expired ones left out."""
    cursor = await connection.execute(
        """SELECT gate_key, reason, source, created_at, expires_at FROM suppressions
           WHERE gate_key = ANY(%s) AND (expires_at IS NULL OR expires_at > now()) ORDER BY gate_key, reason""",
        (await keys_of(connection, recipient),),
    )
    return [Listed._make((*row, [recipient])) for row in await cursor.fetchall()]


async def of_clinic(
    connection: psycopg.AsyncConnection, clinic_id: str, *, after: tuple[str, str], limit: int
) -> list[Listed]:
    """What is suppressed of a clinic's people, by gate and reason, from behind ``after``."""
    cursor = await connection.execute(
        """SELECT s.gate_key, s.reason, s.source, s.created_at, s.expires_at, whose.recipients
           FROM suppressions s CROSS JOIN LATERAL (
               SELECT array_agg(r.recipient ORDER BY r.recipient) AS recipients FROM recipients r
               WHERE r.clinic_id = %(clinic)s AND r.recipient IN (
                   SELECT a.recipient FROM addresses a
                   WHERE s.gate_key LIKE 'address:%%' AND a.channel = split_part(s.gate_key, ':', 2)
                     AND a.address_hash = split_part(s.gate_key, ':', 4)
                   UNION ALL
                   SELECT split_part(s.gate_key, ':', 2) || ':' || split_part(s.gate_key, ':', 3)
                   WHERE s.gate_key LIKE 'consent:%%' OR s.gate_key LIKE 'recipient:%%'
               )
           ) AS whose
           WHERE (s.gate_key, s.reason) > (%(gate)s, %(reason)s) AND whose.recipients IS NOT NULL
             AND (s.expires_at IS NULL OR s.expires_at > now())
           ORDER BY s.gate_key, s.reason LIMIT %(limit)s""",
        {"clinic": clinic_id, "gate": after[0], "reason": after[1], "limit": limit},
    )
    return [Listed(*row) for row in await cursor.fetchall()]
