"""The inbox and the staff's alert board as pages: a list that is there without a script, forms that mark, and a script that keeps
both live. What they show and do is the API's own (api.inbox, api.inbox_marking, api.live); only who asks is told differently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import psycopg
from aiohttp import web

from api import access
from api.documents import as_json
from api.identity import EVERY_CLINIC, Identity
from api.inbox import item_of, viewer_of
from api.inbox_marking import acknowledge, mark_all, marking
from api.inbox_model import Openings, in_full
from api.inbox_offers import answering, read_offer, with_offers
from api.inbox_questions import pressing, read_question, with_questions
from api.inbox_session import (
    BOARD,
    ENTRANCE,
    HOME,
    enter,
    lang,
    leave,
    require_own_page,
    show_entrance,
    signed_out,
    wants_json,
)
from api.live.streams import over_sse
from api.page_rendering import INBOX, SCRIPT, SCRIPT_VERSION, moment, notice, outcomes, page, texts
from api.problems import Problem, not_found
from api.resources import POOL, RECORDS, identity_of
from api.routes import ANYBODY, Answer, Handler, Route
from connectors.postgres import data_keys, inbox
from connectors.postgres.inbox import Counts, Item
from schemas.formats import FORMATS

PAGE_ITEMS = 30
# More open alerts than anybody works through; the board says so when there are.
BOARD_ITEMS = 100
RETRY_AFTER_SECONDS = 5
MAX_NUMBER_DIGITS = 18
MARKS: Mapping[str, Handler] = {
    **{"read": marking("read"), "unread": marking("unread"), "acknowledge": acknowledge},
    **{"claim": answering("claim"), "decline": answering("decline")},
    **{"confirm": pressing("confirm"), "reschedule": pressing("reschedule")},
}
_PLACES = {"inbox": HOME, "board": BOARD}
_NOTICES = {404: "gone", 409: "gone", 403: "unusable", 400: "unusable", 422: "unusable"}


class _Shown(NamedTuple):
    items: Sequence[Mapping[str, Any]]
    counts: Counts
    zone: str
    more: bool


def _told(handler: Handler) -> Handler:
    """What goes wrong is said in a page, too; to the script as the API says it."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Problem as problem:
            if wants_json(request):
                raise
            return notice(_NOTICES.get(problem.status, "unusable"), lang(request), problem.status)
        except (psycopg.OperationalError, TimeoutError):
            if wants_json(request):
                raise
            return notice("not_now", lang(request), 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})

    return handle


async def show_inbox(request: web.Request) -> web.StreamResponse:
    """What is open, newest first. ``before``: the page after."""
    before = request.query.get("before", "")
    number = int(before) if _is_number(before) else None
    viewer = viewer_of(identity_of(request))
    async with request.app[POOL].connection() as connection:
        # The version first, as in the API: what comes in between is listed now and told again.
        (counts,) = await inbox.counts(connection, [viewer])
        items = await inbox.page(connection, viewer, before=number, limit=PAGE_ITEMS)
        shown = await _opened(request, connection, items, counts, PAGE_ITEMS)
    older = str(items[-1].number) if shown.more else None
    return _page(request, "inbox", shown, older=older, newest=number is None)


async def show_board(request: web.Request) -> web.StreamResponse:
    """Alerts that nobody took yet."""
    identity = identity_of(request)
    if identity.role not in access.ALERT_BOARD:
        return web.Response(status=303, headers={"Location": HOME})
    viewer = viewer_of(identity)
    async with request.app[POOL].connection() as connection:
        (counts,) = await inbox.counts(connection, [viewer])
        items = await inbox.open_alerts(connection, viewer, BOARD_ITEMS)
        shown = await _opened(request, connection, items, counts, BOARD_ITEMS)
    return _page(request, "board", shown, older=None, newest=True)


async def show_item(request: web.Request) -> web.StreamResponse:
    """All that an item says, also where that is for nobody's eyes but the reader's (Level 3). It is not read by being shown."""
    viewer = viewer_of(identity_of(request))
    async with request.app[POOL].connection() as connection:
        (counts,) = await inbox.counts(connection, [viewer])
        item = await inbox.find(connection, viewer, item_of(request))
        if item is None:
            raise not_found()
        key = (await data_keys.find(connection, [viewer.recipient])).get(viewer.recipient)
        zone = await _zone(connection, item.clinic_id)
        opened = [in_full(*one) for one in Openings(request.app[RECORDS]).contents([item], key)]
        items = await _with_choices(request, connection, opened)
    if not items:
        raise not_found()
    return _page(request, "item", _Shown(items, counts, zone, more=False), newest=False, back=_back(request))


async def mark(request: web.Request) -> web.StreamResponse:
    """A button of an item. The script is answered the item, or how its offer stands; a form its page again."""
    require_own_page(request)
    handler = MARKS.get(request.match_info["step"])
    if handler is None:
        raise not_found()
    place = await _place(request)
    marked = await handler(request)
    return marked if wants_json(request) else _see(request, place)


async def mark_all_read(request: web.Request) -> web.StreamResponse:
    """Everything that was on the screen (``upTo``), and nothing that came since."""
    require_own_page(request)
    said = (await request.post()).get("upTo", "")
    if not isinstance(said, str) or not _is_number(said):
        raise Problem(400, "upTo: send the number of the newest item shown.")
    counts, changed = await mark_all(request.app, viewer_of(identity_of(request)), "read", int(said))
    if wants_json(request):
        return web.Response(
            body=as_json({"unread": counts.unread, "changed": changed}), content_type="application/json"
        )
    return _see(request, HOME)


async def check(request: web.Request) -> web.StreamResponse:
    """Whether one is still signed in: 204, else 401."""
    del request
    return web.Response(status=204)


async def script(request: web.Request) -> web.StreamResponse:
    """The pages' script; its version is in its address."""
    current = request.query.get("v") == SCRIPT_VERSION
    keep = {"Cache-Control": "public, max-age=31536000, immutable"} if current else {}
    return web.Response(text=SCRIPT, content_type="text/javascript", charset="utf-8", headers=keep)


def _page(request: web.Request, name: str, shown: _Shown, **values: Any) -> web.Response:
    language, identity = lang(request), identity_of(request)
    zone = ZoneInfo(shown.zone or "UTC")

    def written(at: datetime) -> str:
        return moment(at, zone, language) + ("" if shown.zone else " UTC")

    return page(
        name,
        language,
        look=INBOX,
        view=name,
        items=shown.items,
        unread=shown.counts.unread,
        version=shown.counts.version,
        more=shown.more,
        zone=shown.zone,
        written=written,
        staff=identity.role in access.ALERT_BOARD,
        words=as_json(dict(texts(language)["inbox"]["live"]) | {"offer": outcomes(language)}).decode(),
        outcomes=outcomes(language),
        **values,
    )


async def _opened(
    request: web.Request, connection: psycopg.AsyncConnection, items: Sequence[Item], counts: Counts, most: int
) -> _Shown:
    identity = identity_of(request)
    viewer = viewer_of(identity)
    key = (await data_keys.find(connection, [viewer.recipient])).get(viewer.recipient)
    clinic = items[0].clinic_id if items else _own_clinic(identity)
    zone = await _zone(connection, clinic)
    listed = Openings(request.app[RECORDS]).listed(items, key)
    return _Shown(await _with_choices(request, connection, listed), counts, zone, len(items) == most)


async def _with_choices(
    request: web.Request, connection: psycopg.AsyncConnection, items: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Items with how their offers and questions stand."""
    identity = identity_of(request)
    offers = await with_offers(request.app, connection, identity, items)
    return await with_questions(request.app, connection, identity, offers)


def _own_clinic(identity: Identity) -> str:
    return min(identity.clinics, default=EVERY_CLINIC)


async def _zone(connection: psycopg.AsyncConnection, clinic_id: str) -> str:
    """The clinic's zone; empty where it has none, and the page says that it is UTC."""
    cursor = await connection.execute("SELECT content->>'time_zone' FROM policies WHERE clinic_id = %s", (clinic_id,))
    row = await cursor.fetchone()
    name = row[0] if row else None
    return name if name and FORMATS["iana-zone"](name) else ""


async def _place(request: web.Request) -> str:
    """Where a form wants to be after it: one of ours by its name, never an address."""
    said = (await request.post()).get("place", "")
    if said == "item":
        return f"{HOME}/items/{item_of(request)}"
    return _PLACES.get(said if isinstance(said, str) else "", HOME)


def _back(request: web.Request) -> str:
    return _PLACES.get(request.query.get("from", ""), HOME)


def _see(request: web.Request, place: str) -> web.Response:
    return web.Response(status=303, headers={"Location": f"{place}?lang={lang(request)}"})


def _is_number(said: str) -> bool:
    return said.isascii() and said.isdecimal() and len(said) <= MAX_NUMBER_DIGITS


def _open(method: Any, path: str, handler: Handler, summary: str) -> Route:
    answers = (Answer(200, "A page", media_type="text/html"),)
    return Route(method, path, _told(handler), ANYBODY, summary, answers, described=False)


def _own(method: Any, path: str, handler: Handler, summary: str, *, streams: bool = False) -> Route:
    return Route(
        method,
        path,
        handler if streams else _told(handler),
        access.OWN_INBOX,
        summary,
        (Answer(200, "A page", media_type="text/html"),),
        streams=streams,
        described=False,
        signed_out=signed_out,
    )


ROUTES = (
    _open("GET", ENTRANCE, show_entrance, "Sign in to the inbox: by a link"),
    _open("POST", ENTRANCE, enter, "Sign in to the inbox: from the portal"),
    _open("POST", HOME + "/leave", leave, "Sign out of the inbox"),
    _open("GET", HOME + "/inbox.js", script, "The inbox's script"),
    _own("GET", HOME, show_inbox, "The inbox: the page"),
    _own("GET", BOARD, show_board, "The alert board: the page"),
    _own("GET", HOME + "/session", check, "Whether one is signed in"),
    _own("GET", HOME + "/events", over_sse, "Follow the inbox from its page", streams=True),
    _own("GET", HOME + "/items/{item}", show_item, "One item: the page"),
    _own("GET", HOME + "/items/{item}/offer", read_offer, "How an item's offer stands, for the page's script"),
    _own("GET", HOME + "/items/{item}/question", read_question, "How an item's question stands, for the page's script"),
    _own("POST", HOME + "/items/{item}/{step}", mark, "Mark an item from its page"),
    _own("POST", HOME + "/read", mark_all_read, "Mark everything as read from the page"),
)
