"""Receipts that came before the ledger knew their message: parked, sealed, until their delivery is known.

A provider may post a receipt before it answers our request. So the webhook parks what it does not know, and whoever sweeps
(twice a second, say) takes what has become known. Unclaimed after 5 minutes: quarantined, see housekeeping.py.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import psycopg

from connectors.postgres.deliveries import Delivery
from connectors.postgres.policies import strangers_key
from connectors.postgres.pool import Pool
from connectors.postgres.records import SYSTEM_CLINIC, Records
from connectors.sealing import DataKey, SealError, open_sealed, seal

log = logging.getLogger(__name__)

# Taken at once at most: bounds what one transaction holds.
TAKE_ROWS = 500


class Receipt(NamedTuple):
    """A provider's receipt as it came, e.g. the webhook's raw body."""

    provider: str
    provider_message_id: str
    raw: bytes

    def __repr__(self) -> str:
        return f"Receipt({self.provider}, {len(self.raw)} bytes)"


class Claimed(NamedTuple):
    """A parked receipt whose delivery is known now."""

    receipt: Receipt
    received_at: datetime
    delivery: Delivery


async def park(pool: Pool, records: Records, receipts: Sequence[Receipt]) -> None:
    """Keep receipts whose message nobody knows yet. Raises LookupError before `luxe up` has stored the system's policy."""
    if not receipts:
        return
    async with pool.connection() as connection:
        key = await _key(connection, records)
        await connection.execute(
            """INSERT INTO parked_receipts (provider, provider_message_id, sealed)
               SELECT * FROM unnest(%s::text[], %s::text[], %s::bytea[])""",
            (
                [receipt.provider for receipt in receipts],
                [receipt.provider_message_id for receipt in receipts],
                [
                    seal(key, "Receipt", f"{receipt.provider}:{receipt.provider_message_id}", receipt.raw)
                    for receipt in receipts
                ],
            ),
        )


async def take_parked(connection: psycopg.AsyncConnection, records: Records, limit: int = TAKE_ROWS) -> list[Claimed]:
    """Remove and return parked receipts whose delivery is known by now, oldest first, quarantined ones too.

    One of an earlier attempt comes with its delivery as of that attempt.

    They are gone once the caller's transaction commits: publish them before. Another taker at the same time gets others.
    """
    cursor = await connection.execute(
        # The lateral query looks each receipt up by an index of its own kind; a join would read one table whole.
        """WITH known AS (
               SELECT p.id, k.delivery_id, k.earlier FROM parked_receipts p CROSS JOIN LATERAL (
                   SELECT d.delivery_id, false AS earlier FROM deliveries d
                   WHERE d.provider = p.provider AND d.provider_message_id = p.provider_message_id
                   UNION ALL
                   SELECT d.delivery_id, true FROM deliveries d
                   WHERE d.earlier_message_ids <> '{}' AND d.earlier_message_ids @> ARRAY[p.provider_message_id]
                       AND d.provider = p.provider
                   LIMIT 1
               ) k
               ORDER BY p.id LIMIT %s FOR UPDATE OF p SKIP LOCKED
           ), taken AS (
               DELETE FROM parked_receipts p USING known k WHERE p.id = k.id
               RETURNING p.id, k.delivery_id, k.earlier, p.provider, p.provider_message_id, p.sealed, p.received_at
           )
           SELECT t.provider, t.provider_message_id, t.sealed, t.received_at,
                  d.delivery_id, d.notification_id, d.recipient, d.clinic_id, d.notification_type, d.category, d.lane,
                  d.channel, d.step, CASE WHEN t.earlier THEN d.attempt - 1 ELSE d.attempt END, d.provider, d.template_id,
                  d.template_version, d.occurred_at, d.correlation_id, t.provider_message_id, d.state
           FROM taken t JOIN deliveries d USING (delivery_id) ORDER BY t.id""",
        (limit,),
    )
    rows = await cursor.fetchall()
    if not rows:
        return []
    key = await _key(connection, records)
    claimed: list[Claimed] = []
    for provider, message_id, sealed, received_at, *delivery in rows:
        try:
            raw = open_sealed(key, "Receipt", f"{provider}:{message_id}", sealed)
        except SealError as error:
            # Nobody can ever read it: kept, it would stand before all that came after it.
            log.error("a parked receipt of %s cannot be opened (%s); it is dropped", provider, error.code)  # noqa: TRY400
            continue
        claimed.append(Claimed(Receipt(provider, message_id, raw), received_at, Delivery(*delivery)))
    return claimed


async def _key(connection: psycopg.AsyncConnection, records: Records) -> DataKey:
    """Whose receipt it is is unknown: the system's strangers key."""
    key = await strangers_key(connection, SYSTEM_CLINIC)
    return records.keys.get(key.wrapped, key.subject, key.clinic_id)
