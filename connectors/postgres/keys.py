"""Rotating key-encryption keys, and erasing a person by destroying her data key. See docs/runbooks/keys.md."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import psycopg

from connectors.postgres import data_keys, gates, outbox, policies, recipient_rows, recipients
from connectors.postgres.data_keys import WrappedKey
from connectors.postgres.gates import Suppression, recipient_gate
from connectors.postgres.records import Records
from connectors.sealing.sealed import CLINIC_SUBJECT_PREFIX
from connectors.waitlist import forgetting
from schemas.topics import EVENT_TOPICS, POLICIES, RECIPIENTS

# One transaction of a rotation: short, so that recipients are locked, and the outbox kept waiting, for milliseconds.
ROTATE_ROWS = 500
_PATIENT = "patient:"
_KEYS_LOCK = 7305808869232277


class KeysError(Exception):
    """What was asked of the keys cannot be done; the message says why and what to do."""


class KekStatus(NamedTuple):
    """A key-encryption key: where it is known, and how many data keys it wraps."""

    kek_id: str
    in_ring: bool
    active: bool
    retired: bool
    wrapped_keys: int


async def status(connection: psycopg.AsyncConnection, records: Records) -> list[KekStatus]:
    """Every key-encryption key that the ring or the database knows, oldest first."""
    cursor = await connection.execute(
        """SELECT k.kek_id, k.retired, count(d.subject) FROM key_encryption_keys k LEFT JOIN data_keys d USING (kek_id)
           GROUP BY k.kek_id, k.retired"""
    )
    known: dict[str, tuple[bool, int]] = {row[0]: (row[1], row[2]) for row in await cursor.fetchall()}
    ring = records.ring
    names = sorted({*known, *ring.kek_ids}, key=lambda name: (len(name), name))
    return [KekStatus(name, name in ring.kek_ids, name == ring.active, *known.get(name, (False, 0))) for name in names]


async def rotate(
    connection: psycopg.AsyncConnection,
    records: Records,
    actor: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> str:
    """Wrap every data key by a new key-encryption key, and publish recipients and policies anew; the new key's id.

    A rotation that was interrupted is finished instead of beginning another. ``connection`` is in autocommit mode.
    ``progress``: (data keys done, in all). Raises KeysError while another one works on the keys.
    """
    async with _alone(connection):
        total = await _count_others(connection, records.ring.active)
        if total == 0:
            records.ring.add_kek()
            total = await _count_others(connection, records.ring.active)
        active = records.ring.active
        await _audit(connection, "rotate", active, actor, f"{total} data keys to wrap")
        done = 0
        progress(done, total)
        while batch := await _rotate_batch(connection, records, active):
            done += batch
            progress(done, total)
    return active


async def retire(connection: psycopg.AsyncConnection, records: Records, actor: str) -> list[str]:
    """Destroy the key-encryption keys that wrap nothing any more; their ids. ``connection`` is in autocommit mode.

    Raises KeysError where one still wraps some, OutboxDelayed where the records wrapped by them are still the newest in Kafka.
    First the database refuses them for ever, then they leave the ring: a crash in between leaves a key too many, never too few.
    """
    async with _alone(connection):
        await outbox.drained(connection, [RECIPIENTS, POLICIES, *EVENT_TOPICS])
        old = [kek for kek in await status(connection, records) if kek.in_ring and not kek.active]
        for kek in old:
            if kek.wrapped_keys:
                raise KeysError(f"{kek.kek_id} still wraps {kek.wrapped_keys} data keys; run `luxe keys rotate` first")
            try:
                async with connection.transaction():
                    await connection.execute(
                        """INSERT INTO key_encryption_keys (kek_id, retired) VALUES (%s, true)
                           ON CONFLICT (kek_id) DO UPDATE SET retired = true""",
                        (kek.kek_id,),
                    )
                    await _audit(connection, "retire", kek.kek_id, actor)
            except psycopg.errors.ForeignKeyViolation:
                raise KeysError(f"{kek.kek_id} was used again just now; run `luxe keys rotate` first") from None
            records.ring.retire_kek(kek.kek_id)
    return [kek.kek_id for kek in old]


async def erase(connection: psycopg.AsyncConnection, records: Records, recipient: str, actor: str) -> list[int]:
    """Erase a person in the caller's transaction: key, content and addresses go, nothing is sent any more. Outbox ids.

    What was sealed with her key anywhere can never be opened again. The proof of her consents stays. Raises KeysError for
    somebody unknown; erasing twice is no error.
    """
    await connection.execute("SELECT FROM recipients WHERE recipient = %s FOR UPDATE", (recipient,))
    row = (await recipient_rows.read(connection, [recipient])).get(recipient)
    if row is None:
        raise KeysError(f"no recipient with this key of {len(recipient)} characters; write patient:<id> or staff:<id>")
    await connection.execute("DELETE FROM data_keys WHERE subject = %s", (recipient,))
    await connection.execute("DELETE FROM addresses WHERE recipient = %s", (recipient,))
    await connection.execute("DELETE FROM short_links WHERE recipient = %s", (recipient,))
    await connection.execute(
        "DELETE FROM text_answers a USING text_questions q WHERE q.delivery_id = a.delivery_id AND q.recipient = %s",
        (recipient,),
    )
    await connection.execute("DELETE FROM text_questions WHERE recipient = %s", (recipient,))
    if recipient.startswith(_PATIENT):
        await forgetting.forget(connection, records, recipient.removeprefix(_PATIENT))
    await connection.execute("DELETE FROM inbox_items WHERE recipient = %s", (recipient,))
    await connection.execute("DELETE FROM patient_standings WHERE recipient = %s", (recipient,))
    await connection.execute("DELETE FROM segment_emitted WHERE recipient = %s", (recipient,))
    await connection.execute(
        """UPDATE recipients SET sealed = NULL, roles = '{}', active = false, version = version + 1, updated_at = now(),
                  erased_at = coalesce(erased_at, now())
           WHERE recipient = %s""",
        (recipient,),
    )
    # Earlier rows hold the wrapped key; the tombstone below takes the place of those not published yet.
    await connection.execute("DELETE FROM outbox WHERE topic = %s AND key = %s", (RECIPIENTS, recipient.encode()))
    if row.wrapped is not None:
        records.keys.forget(row.wrapped)
    ids = [await outbox.add(connection, RECIPIENTS, recipient.encode(), None)]
    ids += await gates.put(connection, records, [Suppression(recipient_gate(recipient), "erased", "operator")])
    await _audit(connection, "erase", recipient, actor)
    return ids


async def _rotate_batch(connection: psycopg.AsyncConnection, records: Records, active: str) -> int:
    """Wrap the next few data keys anew; how many. Rows are locked in the order in which every writer locks them."""
    async with connection.transaction():
        cursor = await connection.execute(
            "SELECT subject FROM data_keys WHERE kek_id <> %s ORDER BY subject LIMIT %s", (active, ROTATE_ROWS)
        )
        subjects = [subject for (subject,) in await cursor.fetchall()]
        people = [subject for subject in subjects if not subject.startswith(CLINIC_SUBJECT_PREFIX)]
        clinics = [subject.removeprefix(CLINIC_SUBJECT_PREFIX) for subject in subjects if subject not in set(people)]
        await connection.execute(
            "SELECT FROM recipients WHERE recipient = ANY(%s) ORDER BY recipient FOR UPDATE", (people,)
        )
        found = await data_keys.find(connection, subjects)
        wrapped = {key.subject: records.ring.rewrap(key.wrapped, key.subject, key.clinic_id) for key in found.values()}
        await data_keys.rewrap(
            connection, [WrappedKey(key.subject, key.clinic_id, wrapped[key.subject]) for key in found.values()]
        )
        await recipients.republish(connection, records, [person for person in people if person in wrapped], wrapped)
        await policies.publish(connection, records, clinics)
    return len(subjects)


async def _count_others(connection: psycopg.AsyncConnection, active: str) -> int:
    cursor = await connection.execute("SELECT count(*) FROM data_keys WHERE kek_id <> %s", (active,))
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def _audit(connection: psycopg.AsyncConnection, action: str, subject: str, actor: str, detail: str = "") -> None:
    await connection.execute(
        "INSERT INTO key_audit (action, subject, actor, detail) VALUES (%s, %s, %s, %s)",
        (action, subject, actor, detail),
    )


@asynccontextmanager
async def _alone(connection: psycopg.AsyncConnection) -> AsyncIterator[None]:
    """No other rotation or retirement meanwhile. Raises KeysError."""
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (_KEYS_LOCK,))
    if await cursor.fetchone() != (True,):
        raise KeysError("another `luxe keys` command is at work; wait for it, or see pg_stat_activity")
    try:
        yield
    finally:
        await connection.execute("SELECT pg_advisory_unlock(%s)", (_KEYS_LOCK,))
