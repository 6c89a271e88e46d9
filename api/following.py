"""Short links (`/l/…`) and the picture that counts openings (`/o/….gif`). Both answer at once, whatever becomes of the count.

A link leads where a message of ours said, and nowhere else: its target is sealed in its row. Nothing is changed by following one;
previews, scanners and people get the same answer.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any, Literal

import psycopg
from aiohttp import web

from api.page_rendering import HEADERS, accepted_language, language_of, notice
from api.pages import RETRY_AFTER_SECONDS, links_of
from api.resources import COUNTING, POOL
from api.routes import ANYBODY, Answer, Handler, Route
from connectors.postgres import short_links
from connectors.postgres.short_links import Followed
from connectors.short_links.codes import FOLLOW_PATH, OPENED_PATH, OPENED_SUFFIX, TargetError, is_code
from connectors.short_links.machines import is_machine

# One transparent pixel; as short as a GIF can be.
PICTURE = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


async def follow(request: web.Request) -> web.StreamResponse:
    """302 to the link's target; a page for one that is none, is over, or cannot be looked up now."""
    language = language_of(accepted_language(request))
    code = request.match_info["code"]
    try:
        found = await short_links.find(request.app[POOL], code) if is_code(code) else None
    except (psycopg.OperationalError, TimeoutError):
        return notice("not_now", language, 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})
    if found is None or found.link.target is None:
        return notice("unreadable", language, 404)
    now = datetime.now(UTC)
    if found.expires_at <= now:
        return notice("expired", language, 410)
    try:
        target = links_of(request.app).short.open(code, found.link.delivery_id, found.link.target)
    except TargetError:
        return notice("unreadable", language, 404)
    _count(request, found, "clicked", now)
    return web.Response(status=302, headers={**HEADERS, "Location": target})


async def opened(request: web.Request) -> web.StreamResponse:
    """The picture, always: a mail must not show a broken one because of us."""
    code = request.match_info["code"]
    try:
        found = await short_links.find(request.app[POOL], code) if is_code(code) else None
    except (psycopg.OperationalError, TimeoutError):
        found = None
    now = datetime.now(UTC)
    if found is not None and found.link.target is None and found.expires_at > now:
        _count(request, found, "read", now)
    headers = {**HEADERS, "Cross-Origin-Resource-Policy": "cross-origin"}
    return web.Response(body=PICTURE, content_type="image/gif", headers=headers)


def _count(request: web.Request, found: Followed, status: Literal["clicked", "read"], now: datetime) -> None:
    if not found.link.counted or found.delivery is None:
        return
    age_seconds = (now - found.created_at).total_seconds()
    machine = is_machine(request.method, request.headers, found.delivery.channel, age_seconds)
    request.app[COUNTING].count(found.link.code, found.delivery, status, machine=machine, now=now)


def _route(method: Any, path: str, handler: Handler, summary: str, answer: Answer) -> Route:
    return Route(method, path, handler, ANYBODY, summary, (answer,), described=False)


_LED = Answer(302, "Where the link leads", media_type="text/html")
_SHOWN = Answer(200, "A picture", media_type="image/gif")

ROUTES = (
    _route("GET", FOLLOW_PATH + "{code}", follow, "Follow a short link", _LED),
    _route("HEAD", FOLLOW_PATH + "{code}", follow, "Look at a short link", _LED),
    _route("GET", OPENED_PATH + "{code}" + OPENED_SUFFIX, opened, "The picture that counts openings", _SHOWN),
    _route("HEAD", OPENED_PATH + "{code}" + OPENED_SUFFIX, opened, "Look at the picture", _SHOWN),
)
