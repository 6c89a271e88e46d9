"""How the API reads and changes a recipient: whose she is, which version, and no answer before the change is in force."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import psycopg
from aiohttp import web

from api.bodies import changed_since, entity_tag
from api.identity import Identity
from api.problems import not_found, unusable
from api.resources import IN_FORCE, POOL, RECIPIENT_REQUESTS, RECORDS, SETTINGS
from connectors.postgres import recipient_rows, recipients
from connectors.postgres.recipient_requests import Edited, on_their_way
from connectors.postgres.recipients import Recipient, RecipientError
from schemas.shapes import Violation

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
    found = await request.app[RECIPIENT_REQUESTS].read(recipient)
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
        if also is None and consent_address_hash is None:
            made = await app[RECIPIENT_REQUESTS].edit(recipient, edit, identity.actor)
        else:
            made = await _edit_and_more(app, recipient, edit, identity.actor, consent_address_hash, also)
    except RecipientError as error:
        raise unusable([Violation(error.field, error.shape, error.mend)]) from None
    if made.recipient is None:
        raise not_found()
    await app[IN_FORCE].wait(made.outbox_ids, app[SETTINGS].api_in_force_seconds)
    return Changed(made.recipient)


async def _edit_and_more(
    app: web.Application,
    recipient: str,
    edit: recipients.Edit,
    actor: str,
    consent_address_hash: str | None,
    also: Also | None,
) -> Edited:
    """In a transaction of its own."""
    async with app[POOL].connection() as connection:
        written = await recipients.edit_many(
            connection, app[RECORDS], {recipient: edit}, actor, "api", consent_address_hash
        )
        if written.erased:
            raise not_found()
        stored = written.stored[recipient]
        ids = written.outbox_ids or await on_their_way(connection, [recipient])
        if also is not None:
            ids += await also(connection, stored)
    return Edited(stored, ids)
