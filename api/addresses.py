"""Numbers and emails: added unverified, verified by a code that our own pipeline delivers, removed.

An address is named in URLs by its keyed hash, never by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import orjson
import psycopg
from aiohttp import web
from pydantic import AwareDatetime, Field

from api import access
from api.bodies import JSON, read_model, recipient_of
from api.preference_model import Strict, milliseconds
from api.preferences import ID
from api.problems import Problem, not_found, unusable
from api.recipients import change, seen
from api.resources import CODE_SECRET, POOL, RECORDS, identity_of
from api.routes import Answer, Parameter, Route
from api.verification import ask_for_code
from connectors.postgres import address_codes
from connectors.postgres.address_codes import CODE_DIGITS, AddressId, TooManyCodes
from connectors.postgres.recipients import Recipient
from connectors.postgres.records import Records
from schemas.formats import FORMATS, MENDS
from schemas.shapes import Violation, shape_of

PATH = "/v1/recipients/{id}/addresses"
# Of one channel: more ways to reach one person no practice system keeps.
MAX_ADDRESSES = 5

Channel = Literal["sms", "email"]


class _Kind(NamedTuple):
    """Where a channel's addresses lie in a RecipientContent."""

    entries: str
    own: str
    format: str


_KINDS: Mapping[str, _Kind] = {"sms": _Kind("phones", "e164", "e164"), "email": _Kind("emails", "address", "email")}


class NewAddress(Strict):
    """An address to be added."""

    channel: Channel
    address: str = Field(max_length=320, description="E.164 for sms.")


class Address(Strict):
    """An address as it is stored."""

    id: str
    channel: Channel
    address: str
    verified: bool
    code_expires_at: AwareDatetime | None = Field(None, description="Until when the code that was just sent is good.")


class Addresses(Strict):
    """Best first, by channel."""

    addresses: list[Address]


class Code(Strict):
    """What the message said."""

    code: str = Field(pattern=rf"^[0-9]{{{CODE_DIGITS}}}$")


async def read(request: web.Request) -> web.Response:
    """All of them."""
    identity = identity_of(request)
    found = await seen(request, recipient_of(request, identity), identity)
    return _json({"addresses": _served(request.app[RECORDS], found)})


async def add(request: web.Request) -> web.Response:
    """Store it unverified, and send it a code. One that is stored already is sent a new code, unless it is verified."""
    wanted = await read_model(request, NewAddress)
    kind = _KINDS[wanted.channel]
    if not FORMATS[kind.format](wanted.address):
        raise unusable([Violation("address", shape_of(wanted.address), MENDS[kind.format])])
    hash_ = request.app[RECORDS].ring.address_hash(wanted.channel, wanted.address)

    def with_it(found: Recipient) -> Recipient:
        entries = list(found.content.get(kind.entries, ()))
        if hash_ in {_hash(request, wanted.channel, entry) for entry in entries}:
            return found
        if len(entries) >= MAX_ADDRESSES:
            raise unusable(
                [Violation("address", f"number {len(entries) + 1}", "remove another one of its channel first")]
            )
        entries.append({kind.own: wanted.address, "verified": False})
        return replace(found, content={**found.content, kind.entries: entries})

    return await _send_code(request, wanted.channel, hash_, with_it)


async def send_code(request: web.Request) -> web.Response:
    """Send a new code; the one before is good no more."""
    hash_ = request.match_info["address"]

    def with_it(found: Recipient) -> Recipient:
        _find(request, found, hash_)
        return found

    return await _send_code(request, None, hash_, with_it)


async def confirm(request: web.Request) -> web.Response:
    """Verify it by the code."""
    identity = identity_of(request)
    recipient = recipient_of(request, identity)
    code = (await read_model(request, Code)).code
    hash_ = request.match_info["address"]
    now = datetime.now(UTC)
    channel, entry = _find(request, await seen(request, recipient, identity), hash_)
    if not entry["verified"]:
        address = AddressId(recipient, channel, hash_)
        hashed = address_codes.code_hash(request.app[CODE_SECRET], address, code)
        async with request.app[POOL].connection() as connection:
            verdict = await address_codes.attempt(connection, address, hashed, now)
        if verdict != "right":
            mend = "send the digits of the newest message" if verdict == "wrong" else "ask for a new code"
            raise unusable([Violation("code", "not the code", mend)])

    def verified(found: Recipient) -> Recipient:
        in_channel, known = _find(request, found, hash_)
        entries = [
            {**one, "verified": True} if one == known else one for one in found.content[_KINDS[in_channel].entries]
        ]
        return replace(found, content={**found.content, _KINDS[in_channel].entries: entries})

    async def closed(connection: psycopg.AsyncConnection, _found: Recipient) -> list[int]:
        await address_codes.close_code(connection, AddressId(recipient, channel, hash_), now)
        return []

    changed = await change(request, recipient, identity, verified, also=closed)
    return _json(_one(request, changed.recipient, hash_))


async def remove(request: web.Request) -> web.Response:
    """Forget it. What is suppressed for it stays."""
    identity = identity_of(request)
    recipient = recipient_of(request, identity)
    hash_ = request.match_info["address"]

    def without(found: Recipient) -> Recipient:
        content = dict(found.content)
        for channel, kind in _KINDS.items():
            content[kind.entries] = [e for e in content.get(kind.entries, ()) if _hash(request, channel, e) != hash_]
        return replace(found, content=content)

    await change(request, recipient, identity, without)
    return web.Response(status=204)


async def _send_code(request: web.Request, channel: Channel | None, hash_: str, with_it: Any) -> web.Response:
    identity = identity_of(request)
    recipient = recipient_of(request, identity)
    now = milliseconds(datetime.now(UTC))
    until: list[datetime] = []

    async def ask(connection: psycopg.AsyncConnection, found: Recipient) -> list[int]:
        in_channel, entry = _find(request, found, hash_)
        if entry["verified"]:
            return []
        code = address_codes.new_code()
        address = AddressId(recipient, in_channel, hash_)
        hashed = address_codes.code_hash(request.app[CODE_SECRET], address, code)
        until.append(await address_codes.open_code(connection, address, hashed, now))
        return await ask_for_code(
            connection,
            request.app[RECORDS],
            found,
            channel=in_channel,
            address=entry[_KINDS[in_channel].own],
            code=code,
            expires_at=until[0],
            now=now,
            requested_by=identity.actor,
        )

    try:
        changed = await change(request, recipient, identity, with_it, also=ask)
    except TooManyCodes as error:
        wait = str(math.ceil(error.wait_seconds))
        raise Problem(429, "A code was sent already; wait for it.", headers={"Retry-After": wait}) from None
    served = _one(request, changed.recipient, hash_) | {"codeExpiresAt": until[0] if until else None}
    return _json(served, 201 if channel is not None and until else 200)


def _find(request: web.Request, found: Recipient, hash_: str) -> tuple[str, Mapping[str, Any]]:
    for channel, kind in _KINDS.items():
        for entry in found.content.get(kind.entries, ()):
            if _hash(request, channel, entry) == hash_:
                return channel, entry
    raise not_found()


def _hash(request: web.Request, channel: str, entry: Mapping[str, Any]) -> str:
    return request.app[RECORDS].ring.address_hash(channel, entry[_KINDS[channel].own])


def _one(request: web.Request, found: Recipient, hash_: str) -> dict[str, Any]:
    return next(one for one in _served(request.app[RECORDS], found) if one["id"] == hash_)


def _served(records: Records, found: Recipient) -> list[dict[str, Any]]:
    return [
        {
            "id": records.ring.address_hash(channel, entry[kind.own]),
            "channel": channel,
            "address": entry[kind.own],
            "verified": entry["verified"],
            "codeExpiresAt": None,
        }
        for channel, kind in _KINDS.items()
        for entry in found.content.get(kind.entries, ())
    ]


def _json(served: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(served, option=orjson.OPT_UTC_Z), status=status, content_type=JSON)


_ADDRESS = Parameter("address", "path", "The address's `id`.", {"type": "string", "pattern": "^[0-9a-f]{32}$"}, True)

ROUTES = (
    Route(
        "GET",
        PATH,
        read,
        access.READ_ADDRESSES,
        "Read numbers and emails",
        (Answer(200, "All of them", Addresses),),
        parameters=(ID,),
        problems=(404,),
        tag="addresses",
    ),
    Route(
        "POST",
        PATH,
        add,
        access.CHANGE_ADDRESSES,
        "Add a number or an email, and send it a code",
        (
            Answer(201, "Stored, and in force; a code is on its way", Address),
            Answer(200, "It is there already, and verified", Address),
        ),
        takes=NewAddress,
        parameters=(ID,),
        problems=(404,),
        tag="addresses",
    ),
    Route(
        "POST",
        PATH + "/{address}/code",
        send_code,
        access.CHANGE_ADDRESSES,
        "Send a new code",
        (Answer(200, "It is on its way", Address),),
        parameters=(ID, _ADDRESS),
        problems=(404,),
        tag="addresses",
    ),
    Route(
        "POST",
        PATH + "/{address}/confirm",
        confirm,
        access.CHANGE_ADDRESSES,
        "Verify an address by its code",
        (Answer(200, "Verified, and in force", Address),),
        takes=Code,
        parameters=(ID, _ADDRESS),
        problems=(404,),
        tag="addresses",
    ),
    Route(
        "DELETE",
        PATH + "/{address}",
        remove,
        access.CHANGE_ADDRESSES,
        "Remove an address",
        (Answer(204, "Removed, and in force"),),
        parameters=(ID, _ADDRESS),
        problems=(404,),
        tag="addresses",
    ),
)
