"""The suppression list: bounces, complaints, carrier blocks, and what staff put on it; listed, added to, lifted."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import orjson
import psycopg
from aiohttp import web
from pydantic import AwareDatetime, Field

from api import access
from api.bodies import JSON, read_model, recipient_of, whole_number
from api.identity import Identity
from api.preference_model import Instant, Strict
from api.preferences import ID
from api.problems import Problem, not_found, unusable
from api.recipients import may_change
from api.resources import IN_FORCE, POOL, RECORDS, SETTINGS, identity_of
from api.routes import Answer, Parameter, Route
from connectors.postgres import gates, recipients, suppressions
from connectors.postgres.gates import Suppression, address_gate, recipient_gate
from connectors.postgres.in_force import unpublished
from connectors.postgres.records import Records
from connectors.postgres.suppressions import Listed
from connectors.unsubscribing import history, wishes
from connectors.unsubscribing.history import OptOut
from schemas.shapes import Violation
from schemas.topics import GATES

PATH = "/v1/recipients/{id}/suppressions"
CLINIC_PATH = "/v1/clinics/{clinic}/suppressions"
MAX_PAGE = 200

Reason = Literal["manual", "hard_bounce", "complaint", "carrier_block"]
# What staff may lift. A no that somebody said is lifted by that person's yes (a consent, START), never by staff.
_LIFTABLE: frozenset[str] = frozenset(get_args(Reason))
_ALL_EMAIL = "address:email:*:"


class NewSuppression(Strict):
    """What shall not be sent to any more."""

    reason: Reason
    channel: Literal["sms", "email", "push"] | None = Field(None, description="Null: everything to this person.")
    address_id: str | None = Field(
        None, pattern="^[0-9a-f]{32}$", description="Of one address; null: all of the channel's."
    )
    sender_class: Literal["care", "marketing", "*"] = "*"
    expires_at: Instant | None = Field(None, description="Open again from then on; null: never.")


class SuppressionEntry(Strict):
    """One reason of one gate."""

    gate_key: str
    kind: Literal["address", "consent", "recipient"]
    channel: str | None
    sender_class: str | None
    consent_type: str | None
    reason: str
    source: str
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    recipients: list[str]


class SuppressionList(Strict):
    """``next``: of the next page's `after`; null on the last."""

    suppressions: list[SuppressionEntry]
    next: str | None = None


async def read(request: web.Request) -> web.Response:
    """Of one person."""
    identity = identity_of(request)
    recipient = recipient_of(request, identity)
    async with request.app[POOL].connection() as connection:
        await may_change(connection, recipient, identity)
        return _json({"suppressions": await _listed(connection, recipient), "next": None})


async def read_clinic(request: web.Request) -> web.Response:
    """Of a clinic's people, page by page."""
    clinic_id = clinic_of(request)
    limit = whole_number(request, "limit", 50, 1, MAX_PAGE)
    after = _place(request.query.get("after", ""))
    async with request.app[POOL].connection() as connection:
        found = await suppressions.of_clinic(connection, clinic_id, after=after, limit=limit + 1)
    page = found[:limit]
    more = page[-1] if len(found) > limit else None
    return _json(
        {
            "suppressions": [_entry(one) for one in page],
            "next": None if more is None else _token(more.gate_key, more.reason),
        }
    )


async def add(request: web.Request) -> web.Response:
    """Shut gates; in force when this answers."""
    wanted = await read_model(request, NewSuppression)
    if wanted.expires_at is not None and wanted.expires_at <= datetime.now(UTC):
        raise unusable([Violation("expiresAt", "a time in the past", "send a time to come, or leave it out")])
    if wanted.channel is None and (wanted.address_id is not None or wanted.sender_class != "*"):
        raise unusable([Violation("channel", "missing", "name the channel too")])
    identity = identity_of(request)
    recipient = recipient_of(request, identity)
    app = request.app
    async with app[POOL].connection() as connection:
        await may_change(connection, recipient, identity)
        keys = await _gates_of(connection, recipient, wanted)
        rows = [Suppression(key, wanted.reason, f"api:{identity.actor}", wanted.expires_at) for key in keys]
        ids = await gates.put(connection, app[RECORDS], rows)
        listed = await _listed(connection, recipient)
    await app[IN_FORCE].wait(ids, app[SETTINGS].api_in_force_seconds)
    return _json({"suppressions": listed, "next": None}, 201)


async def lift(request: web.Request) -> web.Response:
    """Take one reason from a gate; it stays shut while another is left."""
    identity = identity_of(request)
    recipient = recipient_of(request, identity)
    gate_key, reason = request.match_info["gate"], request.match_info["reason"]
    app = request.app
    async with app[POOL].connection() as connection:
        await may_change(connection, recipient, identity)
        if gate_key not in await suppressions.keys_of(connection, recipient):
            raise not_found()
        if reason == "opted_out" and gate_key.startswith(_ALL_EMAIL):
            ids = await _taken_off_the_providers_list(connection, app[RECORDS], recipient, gate_key, identity)
        elif reason in _LIFTABLE:
            ids = await gates.lift(connection, app[RECORDS], [gate_key], reason_of(reason))
        else:
            raise Problem(409, "Only this person's own yes lifts it: a consent granted anew, or START from the number.")
        ids += await unpublished(connection, [(GATES, gate_key.encode())])
    await app[IN_FORCE].wait(ids, app[SETTINGS].api_in_force_seconds)
    return web.Response(status=204)


async def _taken_off_the_providers_list(
    connection: psycopg.AsyncConnection, records: Records, recipient: str, gate_key: str, identity: Identity
) -> list[int]:
    """Nothing of SendGrid's says that a general unsubscribe is over: staff do, for whoever has agreed to email since."""
    address_hash = gate_key.removeprefix(_ALL_EMAIL)
    await history.in_turn(connection, address_hash)  # before it is looked at: a newer no may be on its way in
    shut_at = await suppressions.shut_at(connection, gate_key, "opted_out")
    if shut_at is None:
        return []
    found = (await recipients.get_many(connection, records, [recipient])).get(recipient)
    if found is None or not wishes.agreed_by_email_since(found.content, shut_at):
        raise Problem(
            409,
            "Only this person's own yes lifts it: store a consent to email granted since it was shut, take the address off the "
            "provider's list of unsubscribes, then lift it.",
        )
    entry = OptOut("in", "provider", identity.actor, [recipient], "email", "sender:*", address_hash)
    await history.append(connection, entry)
    return await gates.lift(connection, records, [gate_key], "opted_out")


def reason_of(text: str) -> Reason:
    """A liftable reason by its name."""
    return next(reason for reason in get_args(Reason) if reason == text)


def clinic_of(request: web.Request) -> str:
    """The clinic in the path, if the caller works for it. Raises Problem 404."""
    identity: Identity = identity_of(request)
    clinic_id = request.match_info["clinic"]
    if "\x00" in clinic_id or not identity.works_for(clinic_id):
        raise not_found()
    return clinic_id


async def _gates_of(connection: psycopg.AsyncConnection, recipient: str, wanted: NewSuppression) -> list[str]:
    if wanted.channel is None:
        return [recipient_gate(recipient)]
    cursor = await connection.execute(
        "SELECT address_hash FROM addresses WHERE recipient = %s AND channel = %s ORDER BY address_hash",
        (recipient, wanted.channel),
    )
    hashes = [hash_ for (hash_,) in await cursor.fetchall()]
    if wanted.address_id is not None:
        hashes = [hash_ for hash_ in hashes if hash_ == wanted.address_id]
    if not hashes:
        name = "channel" if wanted.address_id is None else "addressId"
        raise unusable([Violation(name, "without an address", "name one that this person has; see the addresses")])
    return [address_gate(wanted.channel, wanted.sender_class, hash_) for hash_ in hashes]


async def _listed(connection: psycopg.AsyncConnection, recipient: str) -> list[dict[str, Any]]:
    return [_entry(one) for one in await suppressions.of_recipient(connection, recipient)]


def _entry(one: Listed) -> dict[str, Any]:
    kind, *rest = one.gate_key.split(":")
    return {
        "gateKey": one.gate_key,
        "kind": kind,
        "channel": rest[0] if kind == "address" else None,
        "senderClass": rest[1] if kind == "address" else None,
        "consentType": rest[-1] if kind == "consent" else None,
        "reason": one.reason,
        "source": one.source,
        "createdAt": one.created_at,
        "expiresAt": one.expires_at,
        "recipients": one.recipients,
    }


def _token(gate_key: str, reason: str) -> str:
    return base64.urlsafe_b64encode(f"{reason} {gate_key}".encode()).decode()


def _place(token: str) -> tuple[str, str]:
    if not token:
        return "", ""
    try:
        reason, space, gate_key = base64.b64decode(token, altchars=b"-_", validate=True).decode().partition(" ")
    except (binascii.Error, UnicodeError, ValueError):
        space, reason, gate_key = "", "", ""
    if not space or "\x00" in gate_key + reason:
        raise unusable([Violation("after", f"string of {len(token)} characters", "send `next` of the page before")])
    return gate_key, reason


def _json(served: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(served, option=orjson.OPT_UTC_Z), status=status, content_type=JSON)


CLINIC = Parameter("clinic", "path", "The clinic's id; `*`: what stands in for unknown ones.", required=True)
_LIMIT = Parameter("limit", "query", "Entries a page.", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE})

ROUTES = (
    Route(
        "GET",
        PATH,
        read,
        access.READ_SUPPRESSIONS,
        "What is suppressed of one person",
        (Answer(200, "All of it", SuppressionList),),
        parameters=(ID,),
        problems=(404,),
        tag="suppressions",
    ),
    Route(
        "POST",
        PATH,
        add,
        access.CHANGE_SUPPRESSIONS,
        "Suppress an address, a channel, or everything",
        (Answer(201, "Stored, and in force: all that is suppressed of this person", SuppressionList),),
        takes=NewSuppression,
        parameters=(ID,),
        problems=(404,),
        tag="suppressions",
    ),
    Route(
        "DELETE",
        PATH + "/{gate}/{reason}",
        lift,
        access.CHANGE_SUPPRESSIONS,
        "Lift one reason",
        (Answer(204, "Lifted, and in force"),),
        parameters=(
            ID,
            Parameter("gate", "path", "The entry's `gateKey`.", required=True),
            Parameter("reason", "path", "The entry's `reason`.", required=True),
        ),
        problems=(404, 409),
        tag="suppressions",
    ),
    Route(
        "GET",
        CLINIC_PATH,
        read_clinic,
        access.READ_SUPPRESSIONS,
        "What is suppressed of a clinic's people",
        (Answer(200, "A page of it", SuppressionList),),
        parameters=(CLINIC, _LIMIT, Parameter("after", "query", "`next` of the page before.")),
        problems=(404, 422),
        tag="suppressions",
    ),
)
