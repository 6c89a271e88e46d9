"""How the API reads and changes a recipient: whose she is, which version, and no answer before the change is in force."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import psycopg
from aiohttp import web

from api.bodies import changed_since, entity_tag
from api.identity import Identity
from api.problems import not_found, unusable
from api.resources import IN_FORCE, POOL, RECORDS, SETTINGS
from connectors.postgres import recipient_rows, recipients
from connectors.postgres.gates import consent_gate
from connectors.postgres.in_force import unpublished
from connectors.postgres.recipient_columns import consent_types
from connectors.postgres.recipients import Recipient, RecipientError
from schemas.shapes import Violation
from schemas.topics import GATES, RECIPIENTS

# Gives the recipient as she shall be. Raises Problem.
Change = Callable[[Recipient], Recipient]

# What else is done in the same transaction, to the recipient as stored; ids of its outbox rows.
Also = Callable[[psycopg.AsyncConnection, Recipient], Awaitable[list[int]]]


class Changed(NamedTuple):
    """The recipient as stored now; in force."""

    recipient: Recipient

    @property
    def etag(self) -> str:
        return entity_tag(self.recipient.version)


async def seen(request: web.Request, recipient: str, identity: Identity) -> Recipient:
    """A recipient that the caller may see. Raises Problem 404."""
    async with request.app[POOL].connection() as connection:
        found = (await recipients.get_many(connection, request.app[RECORDS], [recipient])).get(recipient)
    if found is None or not identity.may_see(recipient, found.clinic_id):
        raise not_found()
    return found


async def may_change(connection: psycopg.AsyncConnection, recipient: str, identity: Identity) -> None:
    """Raises Problem 404 unless there is such a recipient, and it is the caller's to change. Opens nothing."""
    row = (await recipient_rows.read(connection, [recipient])).get(recipient)
    if row is None or row.erased or not identity.may_see(recipient, row.clinic_id):
        raise not_found()


async def change(
    request: web.Request,
    recipient: str,
    identity: Identity,
    to: Change,
    *,
    versions: frozenset[str] | None = None,
    consent_address_hash: str | None = None,
    also: Also | None = None,
) -> Changed:
    """Change a recipient and return once it is in force.

    ``versions``: what she may be at, None for any. A change that was made already is in force or waited for, whatever the
    version: so a request that was answered 503 may be sent again as it was. Raises Problem 404 and 412, OutboxDelayed.
    """

    def edit(found: Recipient | None) -> Recipient | None:
        if found is None or not identity.may_see(recipient, found.clinic_id):
            raise not_found()
        wanted = to(found)
        if wanted == found:
            return None
        if versions is not None and str(found.version) not in versions:
            raise changed_since(found.version)
        return wanted

    app = request.app
    try:
        async with app[POOL].connection() as connection:
            written = await recipients.edit_many(
                connection,
                app[RECORDS],
                {recipient: edit},
                identity.actor,
                source="api",
                consent_address_hash=consent_address_hash,
            )
            if written.erased:
                raise not_found()
            stored = (await recipients.get_many(connection, app[RECORDS], [recipient]))[recipient]
            ids = written.outbox_ids or await _on_their_way(connection, recipient)
            if also is not None:
                ids = [*ids, *await also(connection, stored)]
    except RecipientError as error:
        raise unusable([Violation(error.field, error.shape, error.mend)]) from None
    await app[IN_FORCE].wait(ids, app[SETTINGS].api_in_force_seconds)
    return Changed(stored)


async def _on_their_way(connection: psycopg.AsyncConnection, recipient: str) -> list[int]:
    """Earlier changes that are stored, and may not be in force yet."""
    keys = [consent_gate(recipient, consent_type) for consent_type in consent_types()]
    return await unpublished(connection, [(RECIPIENTS, recipient.encode()), *((GATES, key.encode()) for key in keys)])
