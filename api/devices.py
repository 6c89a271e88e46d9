"""Devices that push messages go to: registered by the app at each start, removed when somebody signs out.

A device is named in URLs by its token's keyed hash, and its token is never served: who has it could write to the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import orjson
from aiohttp import web
from pydantic import AwareDatetime, Field

from api import access
from api.bodies import JSON, read_model, recipient_of
from api.preference_model import Strict, milliseconds
from api.preferences import ID
from api.problems import not_found
from api.recipients import change, seen
from api.resources import IN_FORCE, POOL, RECORDS, SETTINGS, identity_of
from api.routes import Answer, Parameter, Route
from connectors.postgres import devices
from connectors.postgres.recipient_requests import on_their_way
from connectors.postgres.recipients import Recipient, edit_many, find_by_address

PATH = "/v1/recipients/{id}/devices"
# Of one person. Who registers more loses the one that was registered longest ago: apps are installed anew, and tokens change.
MAX_DEVICES = 10
# Apps register at each start: what is known is written anew no more often than this, for each time is a version of the person.
FRESH_FOR = timedelta(days=1)


class NewDevice(Strict):
    """What the app was given by Firebase."""

    token: str = Field(
        pattern=r"^[A-Za-z0-9_:\-]{10,4096}$", description="Registration token, or Firebase installation id."
    )
    platform: Literal["android", "ios", "web"]


class Device(Strict):
    """A device as it is stored."""

    id: str
    platform: Literal["android", "ios", "web"]
    registered_at: AwareDatetime = Field(description="When its app last registered it.")


class Devices(Strict):
    """The last registered first."""

    devices: list[Device]


async def read(request: web.Request) -> web.Response:
    """All of them."""
    identity = identity_of(request)
    found = await seen(request, recipient_of(request, identity), identity)
    return _json({"devices": _served(request, found)})


async def register(request: web.Request) -> web.Response:
    """Store it, or say that it is still in use. Whoever had it before has it no more: a device shows one person's messages."""
    identity = identity_of(request)
    recipient = recipient_of(request, identity)
    wanted = await read_model(request, NewDevice)
    fresh = {
        "token": wanted.token,
        "platform": wanted.platform,
        "registered_at": milliseconds(datetime.now(UTC)),
    }

    def with_it(found: Recipient) -> Recipient:
        if any(_is_fresh(one, fresh) for one in found.content.get("devices", ())):
            return found
        others = [one for one in found.content.get("devices", ()) if one["token"] != wanted.token]
        kept = sorted(others, key=lambda one: one["registered_at"])[-(MAX_DEVICES - 1) :]
        return replace(found, content={**found.content, "devices": [*kept, fresh]})

    def edit(found: Recipient | None) -> Recipient | None:
        if found is None or not identity.may_see(recipient, found.clinic_id):
            raise not_found()
        after = with_it(found)
        return None if after == found else after

    app, records, hash_ = request.app, request.app[RECORDS], _hash(request, fresh)
    async with app[POOL].connection() as connection:
        await devices.claim(connection, hash_)
        holders = await find_by_address(connection, records, "push", wanted.token)
        # All in one, so that their rows are locked in the one order that everybody keeps.
        edits = {**dict.fromkeys(holders, devices.without([wanted.token])), recipient: edit}
        written = await edit_many(connection, records, edits, identity.actor, "api")
        if recipient in written.erased:
            raise not_found()
        waiting = written.outbox_ids or await on_their_way(connection, list(edits))
    await app[IN_FORCE].wait(waiting, app[SETTINGS].api_in_force_seconds)
    return _json(next(one for one in _served(request, written.stored[recipient]) if one["id"] == hash_))


async def remove(request: web.Request) -> web.Response:
    """Forget it. One that is not there is no error."""
    identity = identity_of(request)
    recipient = recipient_of(request, identity)
    hash_ = request.match_info["device"]

    def without(found: Recipient) -> Recipient:
        kept = [one for one in found.content.get("devices", ()) if _hash(request, one) != hash_]
        return replace(found, content={**found.content, "devices": kept})

    await change(request, recipient, identity, without)
    return web.Response(status=204)


def _is_fresh(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    if (known["token"], known["platform"]) != (wanted["token"], wanted["platform"]):
        return False
    age: timedelta = wanted["registered_at"] - known["registered_at"]
    return age < FRESH_FOR


def _hash(request: web.Request, device: Mapping[str, Any]) -> str:
    return request.app[RECORDS].ring.address_hash("push", device["token"])


def _served(request: web.Request, found: Recipient) -> list[dict[str, Any]]:
    stored = sorted(found.content.get("devices", ()), key=lambda one: one["registered_at"], reverse=True)
    return [
        {"id": _hash(request, one), "platform": one["platform"], "registeredAt": one["registered_at"]} for one in stored
    ]


def _json(served: Any) -> web.Response:
    return web.Response(body=orjson.dumps(served, option=orjson.OPT_UTC_Z), content_type=JSON)


_DEVICE = Parameter("device", "path", "The device's `id`.", {"type": "string", "pattern": "^[0-9a-f]{32}$"}, True)

ROUTES = (
    Route(
        "GET",
        PATH,
        read,
        access.READ_DEVICES,
        "Read devices",
        (Answer(200, "All of them", Devices),),
        parameters=(ID,),
        problems=(404,),
        tag="devices",
    ),
    Route(
        "POST",
        PATH,
        register,
        access.REGISTER_DEVICES,
        "Register a device for push messages",
        (Answer(200, "Stored, and in force", Device),),
        takes=NewDevice,
        parameters=(ID,),
        problems=(404,),
        tag="devices",
    ),
    Route(
        "DELETE",
        PATH + "/{device}",
        remove,
        access.REMOVE_DEVICES,
        "Remove a device",
        (Answer(204, "Removed, and in force"),),
        parameters=(ID, _DEVICE),
        problems=(404,),
        tag="devices",
    ),
)
