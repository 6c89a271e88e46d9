"""Who is signed in on the inbox's pages: the caller's own token, in a cookie that no script reads and no other site's page sends.

The cookie goes to these pages alone: the API never takes one. See docs/adr/0022-inbox-page.md.
"""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from aiohttp import web

from api.identity import Identity, Unidentified
from api.page_rendering import INBOX, accepted_language, language_of, notice, page
from api.problems import Problem
from api.resources import SETTINGS, VERIFIER

HOME = "/inbox"
ENTRANCE = HOME + "/enter"
BOARD = HOME + "/board"
COOKIE = "luxe_inbox"
ACCESS_TOKEN = "access_token"  # noqa: S105 - a field's name
# Browsers keep cookies of 4,096 bytes, name and attributes included; a longer one they drop without a word.
MAX_COOKIE_CHARACTERS = 3_800


def signed_in(request: web.Request) -> Identity:
    """Who the cookie says. Raises Unidentified."""
    return request.app[VERIFIER].identify(request.cookies.get(COOKIE, ""))


def lang(request: web.Request) -> str:
    """The language of the pages: as asked for, else the browser's."""
    return language_of(accepted_language(request), request.query.get("lang"))


def wants_json(request: web.Request) -> bool:
    """Whether the page's script asks, and not the browser for a page."""
    return "application/json" in request.headers.get("Accept", "")


async def signed_out(request: web.Request) -> web.StreamResponse:
    """What whoever is not signed in is answered; a script and a stream get the bare 401."""
    if wants_json(request) or request.headers.get("Sec-Fetch-Dest", "document") != "document":
        raise Problem(401, "Sign in again: the page's cookie is missing or has expired.")
    return page("sign_in", lang(request), look=INBOX, status=401, ended=COOKIE in request.cookies)


async def show_entrance(request: web.Request) -> web.StreamResponse:
    """Where a link with a token in its fragment leads: the script posts it, the address forgets it."""
    return page("sign_in", lang(request), look=INBOX, ended=False)


async def enter(request: web.Request) -> web.StreamResponse:
    """A token, posted by the portal or by our own form, becomes the cookie.

    The answer is a page that goes on by itself: after a redirect the browser would count the portal as who asks, and send no
    cookie that is SameSite=Strict.
    """
    language = lang(request)
    try:
        posted = (await request.post()).get(ACCESS_TOKEN, "")
        token = posted.strip() if isinstance(posted, str) else ""
        identity = request.app[VERIFIER].identify(token)
    except (ValueError, LookupError, UnicodeError, Unidentified):
        return page("sign_in", language, look=INBOX, status=401, ended=True)
    if identity.role == "service":
        return page("sign_in", language, look=INBOX, status=401, ended=True)
    if len(token) > MAX_COOKIE_CHARACTERS:
        return notice("unusable", language, 413)
    response = page("entered", language, look=INBOX, onward=HOME if identity.role == "patient" else BOARD)
    response.set_cookie(
        COOKIE,
        token,
        max_age=max(1, int(identity.until - time.time())),
        path=HOME,
        httponly=True,
        secure=request.app[SETTINGS].pages_url.startswith("https://"),
        samesite="Strict",
    )
    return response


async def leave(request: web.Request) -> web.StreamResponse:
    """Sign out: the cookie is forgotten; the token itself is good until it expires, as everywhere."""
    require_own_page(request)
    response = page("sign_in", lang(request), look=INBOX, ended=False)
    response.del_cookie(COOKIE, path=HOME, httponly=True, samesite="Strict")
    return response


def require_own_page(request: web.Request) -> None:
    """A form of ours sent it. Raises Problem 403: another origin of the same site gets by SameSite, not by this."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        ours = site == "same-origin"
    else:
        hosts = {urlsplit(request.app[SETTINGS].pages_url).netloc, request.host}
        ours = urlsplit(request.headers.get("Origin", "")).netloc in hosts
    if not ours:
        raise Problem(403, "Send it from the page itself.")
