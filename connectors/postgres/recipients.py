"""Patients and staff. Every change goes through ``edit_many``: locked, compared, sealed, published, all in one transaction."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import psycopg

from connectors.postgres import data_keys, gates, outbox
from connectors.postgres.consent_history import ConsentChange, append, merged
from connectors.postgres.data_keys import WrappedKey
from connectors.postgres.gates import Suppression, consent_gate
from connectors.postgres.outbox import OutboxRow
from connectors.postgres.pool import Pool
from connectors.postgres.preference_gates import Turned, turned
from connectors.postgres.recipient_rows import ChangedRow, LockedRow, lock, read, store
from connectors.postgres.records import RECIPIENT_CONTENT, Records
from connectors.sealing import DataKey
from schemas.codec import CodecError
from schemas.topics import RECIPIENTS
from schemas.validation import violations

# Longer ids than any practice system's; a key is in every record and every index.
_KEY = re.compile(r"(patient|staff):[^\x00-\x1f]{1,200}")
_ROLE = re.compile(r"[a-z][a-z_]{0,39}")


class RecipientError(Exception):
    """A recipient cannot be written. Names the field, the value's shape and the mend."""

    def __init__(self, field_name: str, shape: str, mend: str) -> None:
        super().__init__(f"{field_name}: {shape}; {mend}")
        self.field = field_name
        self.shape = shape
        self.mend = mend


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient as stored. ``content`` is a RecipientContent; prints without it and without the id."""

    recipient: str
    clinic_id: str
    content: Mapping[str, Any]
    roles: tuple[str, ...] = ()
    active: bool = True
    version: int = 0

    def __repr__(self) -> str:
        return f"Recipient({self.kind} of {self.clinic_id!r}, version {self.version})"

    @property
    def kind(self) -> str:
        return self.recipient.partition(":")[0]


@dataclass(slots=True)
class Written:
    """What a batch of edits did. The lists hold recipient keys; ``record_ids``: of each one's own outbox row; ``stored``: all
    that there are now, as ``get_many`` would find them.
    """

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    erased: list[str] = field(default_factory=list)
    record_ids: dict[str, int] = field(default_factory=dict)
    gate_ids: list[int] = field(default_factory=list)
    stored: dict[str, Recipient] = field(default_factory=dict)

    @property
    def outbox_ids(self) -> list[int]:
        return [*self.record_ids.values(), *self.gate_ids]

    def __repr__(self) -> str:
        counts = ((name, len(getattr(self, name))) for name in ("created", "updated", "unchanged", "erased"))
        return f"Written({', '.join(f'{name}={count}' for name, count in counts)})"


# Called with the recipient as stored, or None where there is none; gives what shall be stored, or None to leave it.
Edit = Callable[[Recipient | None], Recipient | None]


async def upsert_many(
    connection: psycopg.AsyncConnection, records: Records, rows: Sequence[Recipient], updated_by: str = ""
) -> Written:
    """Store whole recipients; those that are stored like that already are left, and publish nothing."""
    return await edit_many(connection, records, {row.recipient: _replace_by(row) for row in rows}, updated_by)


def _replace_by(row: Recipient) -> Edit:
    return lambda _found: row


async def edit_many(
    connection: psycopg.AsyncConnection,
    records: Records,
    edits: Mapping[str, Edit],
    updated_by: str | Mapping[str, str] = "",
    source: str = "operator",
    consent_address_hash: str | None = None,
) -> Written:
    """Read, edit and store recipients by key, in the caller's transaction; their rows stay locked until its end.

    Consents are never removed, only changed; each change is appended to the history, and shuts or opens its gate. An erased
    recipient is left as she is. ``updated_by``: who says it, for all or by recipient key. ``source``: of a gate's reason
    (webhook, api, import, operator). ``consent_address_hash``: for which address the consents were said, for the history.

    Raises RecipientError, and SealError where what is stored cannot be opened.
    """
    written = Written()
    if not edits:
        return written
    for recipient in edits:
        if not _KEY.fullmatch(recipient):
            raise RecipientError("recipient_id", f"{len(recipient)} characters", "write patient:<id> or staff:<id>")
    now = datetime.now(UTC)
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as contents keep times
    changes: list[ChangedRow] = []
    new_keys: list[WrappedKey] = []
    moved_keys: list[WrappedKey] = []
    consents: list[ConsentChange] = []
    turns: list[Turned] = []
    for recipient, row in (await lock(connection, sorted(edits))).items():
        if row.erased:
            written.erased.append(recipient)
            continue
        key, plaintext = _open(records, recipient, row)
        found = _as_recipient(records, recipient, row, plaintext)
        if found is not None:
            written.stored[recipient] = found
        wanted = edits[recipient](found)
        if wanted is None:
            written.unchanged.append(recipient)
            continue
        if wanted.recipient != recipient:
            raise RecipientError(
                "recipient_id", f"{len(wanted.recipient)} characters", "an edit keeps the recipient's id"
            )
        normal = checked(records, wanted)
        by = updated_by if isinstance(updated_by, str) else updated_by[recipient]
        content, changed_consents = merged(recipient, found.content if found else {}, normal, by, now)
        new_plaintext = records.encode_content(content)
        # Encoded anew: what is stored may be of an older version of the schema, and say the same.
        same = found is not None and new_plaintext in (plaintext, records.encode_content(found.content))
        if same and _same_row(row, wanted):
            written.unchanged.append(recipient)
            continue
        if key is None or row.wrapped is None or row.key_clinic_id is None:
            wrapped, key = records.ring.new_data_key(recipient, wanted.clinic_id)
            new_keys.append(WrappedKey(recipient, wanted.clinic_id, wrapped))
        elif row.key_clinic_id != wanted.clinic_id:
            wrapped = records.ring.rewrap(row.wrapped, recipient, row.key_clinic_id, wanted.clinic_id)
            moved_keys.append(WrappedKey(recipient, wanted.clinic_id, wrapped))
        else:
            wrapped = row.wrapped
        changes.append(
            ChangedRow(
                recipient,
                wanted.clinic_id,
                row.version + 1,
                list(wanted.roles),
                wanted.active,
                now,
                records.seal_content(key, recipient, new_plaintext),
                wrapped,
                _addresses(records, content),
            )
        )
        written.stored[recipient] = replace(wanted, content=content, version=row.version + 1)
        consents += changed_consents
        if found:  # nothing was decided yet for somebody new
            turns.append(turned(recipient, found.content, content))
        (written.updated if found else written.created).append(recipient)
    await data_keys.insert(connection, new_keys)
    await data_keys.rewrap(connection, moved_keys)
    await store(connection, changes, sorted(edits))
    await append(connection, consents, consent_address_hash)
    ids = await _publish(connection, records, changes)
    written.record_ids = {change.recipient: id_ for change, id_ in zip(changes, ids, strict=True)}
    written.gate_ids = await _turn_gates(connection, records, consents, turns, source)
    return written


async def get_many(
    connection: psycopg.AsyncConnection, records: Records, recipients: Sequence[str]
) -> dict[str, Recipient]:
    """Those that exist and are not erased, opened. Raises SealError."""
    found: dict[str, Recipient] = {}
    for recipient, row in (await read(connection, recipients)).items():
        one = opened(records, recipient, row)
        if one is not None:
            found[recipient] = one
    return found


def opened(records: Records, recipient: str, row: LockedRow) -> Recipient | None:
    """A row as the recipient it holds; None of one who is erased. Raises SealError."""
    return _as_recipient(records, recipient, row, _open(records, recipient, row)[1])


async def find_by_address(
    connection: psycopg.AsyncConnection, records: Records, channel: str, address: str
) -> list[str]:
    """Keys of the recipients with this address. Raises ValueError for a number that is not E.164."""
    cursor = await connection.execute(
        "SELECT recipient FROM addresses WHERE channel = %s AND address_hash = %s ORDER BY recipient",
        (channel, records.ring.address_hash(channel, address)),
    )
    return [recipient for (recipient,) in await cursor.fetchall()]


async def wrapped_keys(pool: Pool, recipients: Sequence[str]) -> dict[str, tuple[bytes, str]]:
    """Recipient key → (wrapped data key, clinic id), of those that have one."""
    async with pool.connection() as connection:
        found = await data_keys.find(connection, recipients)
    return {recipient: (key.wrapped, key.clinic_id) for recipient, key in found.items()}


async def republish(
    connection: psycopg.AsyncConnection, records: Records, recipients: Sequence[str], wrapped: Mapping[str, bytes]
) -> list[int]:
    """Publish recipients anew because their keys are wrapped anew; the caller holds their rows' locks."""
    cursor = await connection.execute(
        """UPDATE recipients SET version = version + 1, updated_at = now() WHERE recipient = ANY(%s) AND sealed IS NOT NULL
           RETURNING recipient, clinic_id, version, roles, active, updated_at, sealed""",
        (list(recipients),),
    )
    changes = [ChangedRow._make((*row, wrapped[row[0]], frozenset())) for row in await cursor.fetchall()]
    return await _publish(connection, records, changes)


def _open(records: Records, recipient: str, row: LockedRow) -> tuple[DataKey | None, bytes | None]:
    """The recipient's key and content, or neither for one just made."""
    if row.wrapped is None or row.key_clinic_id is None or row.sealed is None:
        return None, None
    key = records.keys.get(row.wrapped, recipient, row.key_clinic_id)
    return key, records.open_content(key, recipient, row.sealed)


def _as_recipient(records: Records, recipient: str, row: LockedRow, plaintext: bytes | None) -> Recipient | None:
    if plaintext is None:
        return None
    content = records.decode_content(plaintext)
    return Recipient(recipient, row.clinic_id, content, tuple(row.roles), row.active, row.version)


def checked(records: Records, wanted: Recipient) -> dict[str, Any]:
    """A recipient's content in the one form that is compared: defaults filled in, times cut to milliseconds.

    Raises RecipientError where the recipient cannot be stored.
    """
    if not wanted.clinic_id:
        raise RecipientError("clinic_id", "empty", "name the recipient's home clinic")
    if not all(_ROLE.fullmatch(role) for role in wanted.roles):
        raise RecipientError("roles", f"{len(wanted.roles)} roles", "a role is lower case letters and underscores")
    try:
        normal = records.decode_content(records.encode_content(wanted.content))
    except CodecError as error:
        raise RecipientError(error.field or "content", "a value that does not fit its schema", str(error)) from None
    for violation in violations(RECIPIENT_CONTENT, normal):
        raise RecipientError(*violation)
    return normal


def _same_row(row: LockedRow, wanted: Recipient) -> bool:
    return (row.clinic_id, tuple(row.roles), row.active) == (wanted.clinic_id, wanted.roles, wanted.active)


def _addresses(records: Records, content: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """(channel, hash) of every way to reach her."""
    pairs = [
        *(("sms", phone["e164"]) for phone in content.get("phones", ())),
        *(("email", email["address"]) for email in content.get("emails", ())),
        *(("push", device["token"]) for device in content.get("devices", ())),
    ]
    try:
        return frozenset((channel, records.ring.address_hash(channel, address)) for channel, address in pairs)
    except ValueError as error:
        raise RecipientError("phones", "not E.164", str(error)) from None


async def _publish(connection: psycopg.AsyncConnection, records: Records, changes: Sequence[ChangedRow]) -> list[int]:
    return await outbox.add_many(
        connection,
        [
            OutboxRow(
                RECIPIENTS,
                change.recipient.encode(),
                records.encode_recipient(
                    {
                        "recipient": change.recipient,
                        "kind": change.recipient.partition(":")[0],
                        "clinic_id": change.clinic_id,
                        "version": change.version,
                        "roles": change.roles,
                        "active": change.active,
                        "wrapped_key": change.wrapped,
                        "updated_at": change.updated_at,
                        "sealed": change.sealed,
                    }
                ),
            )
            for change in changes
        ],
    )


async def _turn_gates(
    connection: psycopg.AsyncConnection,
    records: Records,
    consents: Sequence[ConsentChange],
    turns: Sequence[Turned],
    source: str,
) -> list[int]:
    """A withdrawn consent or preference shuts its gate, one given again opens it."""
    shut = [_gate(change) for change in consents if change.consent["status"] == "opted_out"]
    shut += [key for turn in turns for key in turn.shut]
    opened = [_gate(one) for one in consents if one.consent["status"] == "opted_in" and not one.first]
    opened += [key for turn in turns for key in turn.opened]
    ids = await gates.put(connection, records, [Suppression(key, "opted_out", source) for key in shut])
    return ids + (await gates.lift(connection, records, opened, "opted_out") if opened else [])


def _gate(change: ConsentChange) -> str:
    return consent_gate(change.recipient, change.consent["consent_type"])
