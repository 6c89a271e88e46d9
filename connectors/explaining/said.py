"""What the system of record adds to an explanation: consents by version, opt-outs, blocked addresses, ledger, time zones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import psycopg

from connectors.explaining.facts import Blocked, ConsentSaid, LedgerRow, OptOutSaid, Said
from connectors.postgres import suppressions
from connectors.postgres.records import SYSTEM_CLINIC

# Somebody who changes their mind every day for a year is far below.
_MAX_SAID = 1_000


async def said_of(connection: psycopg.AsyncConnection, recipient: str) -> Said:
    """Everything that somebody said, newest first."""
    cursor = await connection.execute(
        """SELECT consent_type, version, status, consent_date, method, source, updated_by
           FROM consents WHERE recipient = %s ORDER BY id DESC LIMIT %s""",
        (recipient, _MAX_SAID),
    )
    consents = [ConsentSaid(*row) for row in await cursor.fetchall()]
    cursor = await connection.execute(
        """SELECT at, path, channel, scope FROM opt_outs
           WHERE recipients @> ARRAY[%s] AND action = 'out' ORDER BY id DESC LIMIT %s""",
        (recipient, _MAX_SAID),
    )
    opt_outs = [OptOutSaid(*row) for row in await cursor.fetchall()]
    listed = await suppressions.of_recipient(connection, recipient)
    blocked = [
        Blocked(one.gate_key.split(":")[1], one.reason, one.created_at)
        for one in listed
        if one.gate_key.startswith("address:")
    ]
    return Said(consents, opt_outs, blocked)


async def ledger_of(connection: psycopg.AsyncConnection, delivery_ids: Sequence[str]) -> dict[str, LedgerRow]:
    """The ledger's rows of these deliveries."""
    cursor = await connection.execute(
        "SELECT delivery_id, provider, state, attempt, updated_at FROM deliveries WHERE delivery_id = ANY(%s)",
        (list(delivery_ids),),
    )
    return {row[0]: LedgerRow(*row) for row in await cursor.fetchall()}


async def zones_of(connection: psycopg.AsyncConnection, clinic_ids: Sequence[str]) -> dict[str, str]:
    """Clinic → its time zone; the stand-in's for one without a policy."""
    cursor = await connection.execute(
        "SELECT clinic_id, content->>'time_zone' FROM policies WHERE clinic_id = ANY(%s)",
        ([*clinic_ids, SYSTEM_CLINIC],),
    )
    zones: dict[str, str] = dict(await cursor.fetchall())
    stand_in = zones.get(SYSTEM_CLINIC, "UTC")
    return {clinic_id: zones.get(clinic_id) or stand_in for clinic_id in clinic_ids}


def said_before(said: Said, moment: datetime) -> Said:
    """Only what had been said by then: what came later explains nothing."""
    return Said(
        said.consents,  # chosen by version
        [one for one in said.opt_outs if one.at <= moment],
        [one for one in said.blocked if one.since <= moment],
    )
