"""Consents: the latest of each type lies in the recipient's content, every one ever given or withdrawn in the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

# What makes two consents the same; version and change are the history's own.
_OWN = ("status", "consent_date", "method", "source", "expires_at", "text_version")


class ConsentChange(NamedTuple):
    """A consent as it now is. ``first``: there was none of its type before."""

    recipient: str
    consent: Mapping[str, Any]
    first: bool


def merged(
    recipient: str, before: Mapping[str, Any], after: Mapping[str, Any], updated_by: str, now: datetime
) -> tuple[dict[str, Any], list[ConsentChange]]:
    """``after`` with every consent of ``before`` that it lacks, changed ones one version on; and what changed.

    Both are whole RecipientContents as they were decoded; an empty ``before`` is that of somebody new.
    """
    latest = {consent["consent_type"]: consent for consent in before.get("consents", ())}
    changes = []
    for wanted in after["consents"]:
        consent_type = wanted["consent_type"]
        known = latest.get(consent_type)
        if known is not None and all(wanted[name] == known[name] for name in _OWN):
            continue
        version = (known["version"] if known else 0) + 1
        latest[consent_type] = {**wanted, "version": version, "updated_by": updated_by, "updated_at": now}
        changes.append(ConsentChange(recipient, latest[consent_type], known is None))
    return {**after, "consents": list(latest.values())}, changes


class Entry(NamedTuple):
    """One line of the history. ``address_hash``: for which address it was said, keyed; None for all."""

    id: int
    consent_type: str
    status: str
    consent_date: datetime
    method: str
    source: str
    expires_at: datetime | None
    text_version: str
    version: int
    updated_by: str
    recorded_at: datetime
    address_hash: str | None


async def history(
    connection: psycopg.AsyncConnection, recipient: str, *, before_id: int | None, limit: int
) -> list[Entry]:
    """The newest ``limit`` entries older than ``before_id``, newest first."""
    cursor = await connection.execute(
        """SELECT id, consent_type, status, consent_date, method, source, expires_at, text_version, version, updated_by,
                  recorded_at, address_hash
           FROM consents WHERE recipient = %s AND (%s::bigint IS NULL OR id < %s) ORDER BY id DESC LIMIT %s""",
        (recipient, before_id, before_id, limit),
    )
    return [Entry(*row) for row in await cursor.fetchall()]


async def append(
    connection: psycopg.AsyncConnection, changes: Sequence[ConsentChange], address_hash: str | None = None
) -> None:
    """Add changes to the history. ``address_hash``: of the address that they were said for."""
    if not changes:
        return
    consents = [change.consent for change in changes]
    await connection.execute(
        """INSERT INTO consents
               (recipient, consent_type, status, consent_date, method, source, expires_at, text_version, version, updated_by,
                address_hash)
           SELECT c.*, %s::text FROM unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::text[], %s::text[],
                                %s::timestamptz[], %s::text[], %s::int[], %s::text[]) AS c""",
        (
            address_hash,
            [change.recipient for change in changes],
            *(
                [consent[name] for consent in consents]
                for name in (
                    "consent_type",
                    "status",
                    "consent_date",
                    "method",
                    "source",
                    "expires_at",
                    "text_version",
                    "version",
                    "updated_by",
                )
            ),
        ),
    )
