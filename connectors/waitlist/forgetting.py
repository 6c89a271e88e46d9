"""A patient who is erased: her offers end, and where her id stood with slots stands that somebody was."""

from __future__ import annotations

import logging
from dataclasses import replace
from uuid import uuid4

import psycopg
from psycopg.types.json import Jsonb

from connectors.postgres.records import Records
from connectors.sealing import SealError
from connectors.waitlist import slot as slots
from connectors.waitlist.answering import now_ms
from connectors.waitlist.keeping import SlotRows

log = logging.getLogger(__name__)


async def forget(connection: psycopg.AsyncConnection, records: Records, patient_id: str) -> None:
    """In the caller's transaction. An offer of hers that stands is withdrawn, and its slot goes on to the next.

    The same tombstone for all that one slot says of her, another for each slot: it leads from none of them to another.
    """
    rows = SlotRows(records, "")
    cursor = await connection.execute(
        """SELECT clinic_id, slot_id FROM waitlist_slots
           WHERE holder = %(id)s OR candidates @> %(one)s
              OR (clinic_id, slot_id) IN (SELECT clinic_id, slot_id FROM waitlist_offers WHERE patient_id = %(id)s)
           ORDER BY clinic_id, slot_id""",
        {"id": patient_id, "one": Jsonb([[patient_id]])},
    )
    for clinic_id, slot_id in await cursor.fetchall():
        row = await rows.locked(connection, clinic_id, slot_id)
        now, tombstone = now_ms(), f"erased:{uuid4()}"
        try:
            row = await rows.keep(connection, row, slots.left(row.slot, patient_id, now), now)
        except (SealError, LookupError) as error:
            # Its offer is over in the rows; what cannot be told for want of the clinic's key does not keep her id.
            log.warning("the end of an erased person's offer cannot be told (%s)", type(error).__name__)
            row = await rows.seen(connection, clinic_id, slot_id)
        candidates = tuple(
            one._replace(patient_id=tombstone) if one.patient_id == patient_id else one for one in row.slot.candidates
        )
        holder = tombstone if row.slot.holder == patient_id else row.slot.holder
        nameless = replace(row.slot, candidates=candidates, holder=holder)
        await rows.keep(connection, row, slots.Step(nameless), now)
        await connection.execute(
            "UPDATE waitlist_offers SET patient_id = %s WHERE (clinic_id, slot_id, patient_id) = (%s, %s, %s)",
            (tombstone, clinic_id, slot_id, patient_id),
        )
