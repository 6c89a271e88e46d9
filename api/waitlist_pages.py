"""The page of an offer (`/w/<code>`): the link in its message. GET shows it, POST claims or declines; scanners open links only.

The code is who she is, as a token is on the other pages: whoever has it may answer, while the offer stands. It is never logged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from aiohttp import web

from api.page_rendering import accepted_language, language_of, moment, notice, page
from api.resources import POOL, RECORDS
from api.routes import ANYBODY, Answer, Handler, Route
from api.waitlist import rows_of, stands
from connectors.postgres import recipients
from connectors.waitlist.answering import Word, answer
from connectors.waitlist.keeping import PAGE_PATH, Offer
from connectors.waitlist.saying import About
from schemas.formats import FORMATS

RETRY_AFTER_SECONDS = 5
WORDS: Mapping[str, Word] = {"claim": "claim", "decline": "decline"}

Page = Callable[[web.Request, psycopg.AsyncConnection, Offer], Awaitable[None]]


async def _nothing(_: web.Request, __: psycopg.AsyncConnection, ___: Offer) -> None:
    """Whoever only looks changes nothing."""


async def _said(request: web.Request, connection: psycopg.AsyncConnection, offer: Offer) -> None:
    """What the form says; anything else changes nothing, and the page is shown again."""
    try:
        posted = (await request.post()).get("word")
    except (ValueError, LookupError, UnicodeError):
        return
    word = WORDS.get(str(posted))
    if word is not None:
        about = About(offer.clinic_id, offer.slot_id, None)
        await answer(connection, rows_of(request.app), about, offer.patient_id, word, number=offer.number)


def _of_offer(does: Page) -> Handler:
    """The page of the offer that the code names, after what is done first."""

    async def handle(request: web.Request) -> web.StreamResponse:
        asked = request.query.get("lang")
        language = language_of(accepted_language(request), asked)
        try:
            async with request.app[POOL].connection() as connection:
                offer = await rows_of(request.app).offer_of(connection, request.match_info["code"])
                if offer is None:
                    return notice("unreadable", language, 404)
                await does(request, connection, offer)
                return await _shown(request, connection, offer, asked)
        except (psycopg.OperationalError, TimeoutError):
            return notice("not_now", language, 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})

    return handle


async def _shown(
    request: web.Request, connection: psycopg.AsyncConnection, offer: Offer, asked: str | None
) -> web.Response:
    """How it stands now. When and where are Level 1: what the text that brought the link said, and no more."""
    recipient = f"patient:{offer.patient_id}"
    found = (await recipients.get_many(connection, request.app[RECORDS], [recipient])).get(recipient)
    content = {} if found is None else found.content
    language = language_of(content.get("locale") or accepted_language(request), asked)
    rows = rows_of(request.app)
    row = await rows.seen(connection, offer.clinic_id, offer.slot_id)
    details = await rows.details(connection, row)
    cursor = await connection.execute(
        """SELECT content->>'name', content->>'time_zone', content->>'phone' FROM policies
           WHERE clinic_id = %s OR clinic_id = '*' ORDER BY clinic_id = '*' LIMIT 1""",
        (offer.clinic_id,),
    )
    clinic, clinic_zone, phone = await cursor.fetchone() or ("", None, None)
    there = _zone(None if details is None else details.time_zone, clinic_zone)
    word = stands(
        row.slot, offer.patient_id, offer.number
    )  # of an hour that was changed, the newer message's link leads to it
    starts_at, ends_at = row.slot.starts_at, row.slot.offer_ends_at
    return page(
        "offer",
        language,
        clinic=clinic,
        phone=phone or "",
        word="over" if word == "waiting" else word,
        starts_at="" if starts_at is None else moment(starts_at, there, language),
        ends_at="" if ends_at is None else moment(ends_at, _zone(content.get("time_zone"), clinic_zone), language),
    )


def _zone(*names: str | None) -> ZoneInfo:
    """The first that is known; else UTC."""
    return next((ZoneInfo(name) for name in names if name and FORMATS["iana-zone"](name)), ZoneInfo("UTC"))


def _route(method: Any, handler: Handler, summary: str) -> Route:
    answers = (Answer(200, "A page", media_type="text/html"),)
    return Route(method, PAGE_PATH + "{code}", handler, ANYBODY, summary, answers, described=False)


ROUTES = (
    _route("GET", _of_offer(_nothing), "An offer: the page"),
    _route("POST", _of_offer(_said), "An offer: claim or decline"),
)
