"""Patients' standings in Postgres, sealed: with the person's own data key, or the clinic's for people without a record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import psycopg

from connectors.postgres import data_keys
from connectors.postgres.policies import strangers_key
from connectors.postgres.records import Records
from connectors.sealing import DataKey, SealError, open_sealed, seal
from connectors.segments.standing import NOTHING, Standing

log = logging.getLogger(__name__)

_RECORD_TYPE = "PatientStanding"


def open_standing(key: DataKey, recipient: str, sealed: bytes) -> bytes:
    """The plaintext of a sealed standing. Raises SealError."""
    return open_sealed(key, _RECORD_TYPE, recipient, sealed)


async def find(connection: psycopg.AsyncConnection, records: Records, recipients: Sequence[str]) -> dict[str, Standing]:
    """The standings of those that have one. Raises SealError."""
    return {recipient: found for recipient, (found, _) in (await _opened(connection, records, recipients)).items()}


async def change(
    connection: psycopg.AsyncConnection,
    records: Records,
    changes: Mapping[str, Callable[[Standing], Standing]],
    clinics: Mapping[str, str],
) -> int:
    """Change standings by recipient key, in the caller's transaction; how many rows were written.

    ``clinics``: by whose key somebody without a record is sealed. Whoever was erased is left out. Raises SealError, and
    LookupError where no policy is stored.
    """
    wanted = sorted(changes)
    cursor = await connection.execute(
        "SELECT recipient, erased_at IS NOT NULL FROM recipients WHERE recipient = ANY(%s) ORDER BY recipient FOR SHARE",
        (wanted,),
    )
    erased = {recipient for recipient, gone in await cursor.fetchall() if gone}
    here = [recipient for recipient in wanted if recipient not in erased]
    found = await _opened(connection, records, here)
    keys = await data_keys.find(connection, here)
    written: list[tuple[str, str, bytes]] = []
    for recipient in here:
        before, sealed_by = found.get(recipient, (NOTHING, ""))
        own = keys.get(recipient) or await strangers_key(connection, clinics[recipient])
        after = changes[recipient](before)
        if after == before and sealed_by == own.subject:
            continue
        key = records.keys.get(own.wrapped, own.subject, own.clinic_id)
        written.append((recipient, own.subject, seal(key, _RECORD_TYPE, recipient, after.encoded())))
    await _store(connection, written)
    return len(written)


async def _opened(
    connection: psycopg.AsyncConnection, records: Records, recipients: Sequence[str]
) -> dict[str, tuple[Standing, str]]:
    """The standings of those that have one, and whose key seals each. One whose key is gone is as if it never was.

    Raises SealError where a key cannot be unwrapped.
    """
    cursor = await connection.execute(
        """SELECT s.recipient, s.sealed, k.subject, k.clinic_id, k.wrapped
           FROM patient_standings s JOIN data_keys k ON k.subject = s.key_subject WHERE s.recipient = ANY(%s)""",
        (list(recipients),),
    )
    found = {}
    for recipient, sealed, subject, clinic_id, wrapped in await cursor.fetchall():
        key = records.keys.get(wrapped, subject, clinic_id)
        try:
            found[recipient] = Standing.decoded(open_standing(key, recipient, sealed)), subject
        except (SealError, ValueError) as error:
            # One damaged row must not keep all others from going on; that a key is missing is another matter, and raised.
            log.warning("a patient's standing cannot be opened (%s); it begins anew", type(error).__name__)
    return found


async def _store(connection: psycopg.AsyncConnection, written: Sequence[tuple[str, str, bytes]]) -> None:
    if written:
        await connection.execute(
            """INSERT INTO patient_standings (recipient, key_subject, sealed)
               SELECT * FROM unnest(%s::text[], %s::text[], %s::bytea[])
               ON CONFLICT (recipient) DO UPDATE SET key_subject = excluded.key_subject, sealed = excluded.sealed,
                   updated_at = now()""",
            tuple(map(list, zip(*written, strict=True))),
        )
