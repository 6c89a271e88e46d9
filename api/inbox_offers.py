"""Waitlist offers on the inbox's page: how each stands, and the buttons that claim it or pass it on.

They do what the offer's link and the API do, under the same lock; only who asks is told by the page's cookie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import psycopg
from aiohttp import web

from api.documents import as_json
from api.identity import Identity
from api.inbox import item_of, viewer_of
from api.inbox_marking import marking
from api.problems import not_found
from api.resources import POOL, identity_of
from api.routes import Handler
from api.waitlist import rows_of, stands
from connectors.postgres import inbox
from connectors.waitlist.answering import Word, answer
from connectors.waitlist.keeping import Offer, Row
from connectors.waitlist.saying import About

# The button by which an item says that it is an offer (streams/catalog.yaml).
CLAIM = "claim"
# ``offered``: it is hers to claim; everything else is an outcome. Empty: the item is no offer.
Standing = Literal["", "offered", "claimed", "declined", "taken", "over"]
_mark_read = marking("read")


async def with_offers(
    app: web.Application, connection: psycopg.AsyncConnection, identity: Identity, items: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Items as served, each with how its offer stands (``offer``, a Standing)."""
    standings: dict[str, Standing] = {}
    if identity.role == "patient":
        about = {
            item["id"]: item["about"]["id"]
            for item in items
            if any(action["name"] == CLAIM for action in item["actions"])
        }
        seen = await rows_of(app).offers_seen(connection, list(about.values())) if about else {}
        standings = {item: _standing(identity, seen.get(offer)) for item, offer in about.items()}
    return [{**item, "offer": standings.get(item["id"], "")} for item in items]


async def read_offer(request: web.Request) -> web.StreamResponse:
    """How an item's offer stands; nothing is changed."""
    identity = identity_of(request)
    async with request.app[POOL].connection() as connection:
        offer = await _offer(request, connection, identity)
        standing = await _standing_now(request.app, connection, identity, offer)
    return _told(standing)


def answering(word: Word) -> Handler:
    """A handler of the button that claims, or of the one that passes it on."""

    async def handle(request: web.Request) -> web.StreamResponse:
        """How it stands then, whoever was faster. It is marked as read, too: by that her other windows hear of it."""
        identity = identity_of(request)
        app = request.app
        async with app[POOL].connection() as connection:
            offer = await _offer(request, connection, identity)
            about = About(offer.clinic_id, offer.slot_id, None)
            await answer(connection, rows_of(app), about, identity.subject, word, number=offer.number)
            standing = await _standing_now(app, connection, identity, offer)
        await _mark_read(request)
        return _told(standing)

    return handle


async def _offer(request: web.Request, connection: psycopg.AsyncConnection, identity: Identity) -> Offer:
    """The offer that an item of hers is about. Raises Problem 404: it is none, or expired, as an item does with its offer."""
    item = await inbox.find(connection, viewer_of(identity), item_of(request))
    if item is None or identity.role != "patient":
        raise not_found()
    offer = await rows_of(request.app).offer(connection, item.group_key.partition(":")[2])
    if offer is None or offer.patient_id != identity.subject:
        raise not_found()
    return offer


def _standing(identity: Identity, seen: tuple[Offer, Row] | None) -> Standing:
    if seen is None or seen[0].patient_id != identity.subject:
        return "over"  # forgotten: its hour is long past
    offer, row = seen
    word = stands(row.slot, offer.patient_id, offer.number)
    return "over" if word == "waiting" else word


async def _standing_now(
    app: web.Application, connection: psycopg.AsyncConnection, identity: Identity, offer: Offer
) -> Standing:
    return _standing(identity, (offer, await rows_of(app).seen(connection, offer.clinic_id, offer.slot_id)))


def _told(standing: Standing) -> web.Response:
    return web.Response(body=as_json({"offer": standing}), content_type="application/json")
