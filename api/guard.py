"""What stands before every handler: who asks, may this role ask at all, and not too often."""

from __future__ import annotations

import math
import time

from aiohttp import web

from api.identity import Unidentified
from api.inbox_session import signed_in
from api.problems import Problem, not_found
from api.resources import BUCKETS, IDENTITY, SETTINGS, VERIFIER
from api.routes import ANYBODY, Handler, Route

SCHEME = "Bearer"
# `Sec-WebSocket-Protocol: luxe.inbox.v1, luxe.bearer.<token>`
TOKEN_PROTOCOL = "luxe.bearer."  # noqa: S105 - what precedes a token


def guarded(route: Route) -> Handler:
    """The route's handler behind its guard."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if route.roles is not ANYBODY:
            if route.signed_out is None:
                _identify(request)
            elif not _identify_by_cookie(request):
                return await route.signed_out(request)
            _not_too_often(request)
            if request[IDENTITY].role not in route.roles:
                raise not_found()  # not even what there is to be refused
        else:
            _not_too_often(request)
        return await route.handler(request)

    return handle


def _identify(request: web.Request) -> None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if not scheme:
        scheme, token = SCHEME, _offered(request)
    if scheme.lower() != SCHEME.lower() or not token:
        # Guessing is bounded by the address it comes from.
        _not_too_often(request)
        raise Problem(401, "Send `Authorization: Bearer <token>`.", headers={"WWW-Authenticate": SCHEME})
    try:
        request[IDENTITY] = request.app[VERIFIER].identify(token.strip())
    except Unidentified as error:
        _not_too_often(request)
        raise Problem(401, f"{error}.", headers={"WWW-Authenticate": f'{SCHEME} error="invalid_token"'}) from None


def _identify_by_cookie(request: web.Request) -> bool:
    try:
        request[IDENTITY] = signed_in(request)
    except Unidentified:
        _not_too_often(request)
        return False
    return True


def _offered(request: web.Request) -> str:
    """A browser's WebSocket sends no header of its own but the protocols it offers: one of them may hold the token."""
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return ""
    offered = (one.strip() for one in request.headers.get("Sec-WebSocket-Protocol", "").split(","))
    return next((one.removeprefix(TOKEN_PROTOCOL) for one in offered if one.startswith(TOKEN_PROTOCOL)), "")


def _not_too_often(request: web.Request) -> None:
    settings = request.app[SETTINGS]
    identity = request.get(IDENTITY)
    caller = f"address:{request.remote}" if identity is None else identity.actor
    per_second = settings.api_requests_per_second
    if identity is not None and identity.role == "service":
        per_second = settings.api_service_requests_per_second
    wait = request.app[BUCKETS].take(caller, per_second, time.monotonic())
    if wait:
        raise Problem(429, f"At most {per_second:g} requests a second.", headers={"Retry-After": str(math.ceil(wait))})
