"""The API's aiohttp application: tables of routes, each behind its guard, and what lives as long as the application.

To add routes, write a module with a table ``ROUTES`` and name it in TABLES.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import jwt
import orjson
from aiohttp import web

from api import (
    addresses,
    consents,
    description,
    devices,
    explanations,
    following,
    health,
    inbox,
    inbox_marking,
    inbox_pages,
    inbox_questions,
    notifications,
    pages,
    policies,
    preferences,
    registry,
    sending,
    suppressions,
    waitlist,
    waitlist_pages,
    what_if,
)
from api.answering import OUTAGE, answering, preflight
from api.counting import Counting
from api.guard import guarded
from api.identity import Verifier, rs256_keys
from api.limits import Buckets
from api.live import streams
from api.live.hub import GOING_AWAY
from api.live.opening import live
from api.openapi import openapi
from api.problems import Problem
from api.resources import (
    ASKING,
    BUCKETS,
    CODE_SECRET,
    COUNTING,
    DESCRIPTION,
    HUB,
    IN_FORCE,
    NAMES,
    POOL,
    RECIPIENT_REQUESTS,
    RECORDS,
    SETTINGS,
    STREAMS,
    VERIFIER,
    WITHDRAWALS,
)
from api.routes import Route
from api.secret import jwt_secret
from connectors.answering.withdrawals import Withdrawals, age_source
from connectors.clickhouse.asking import Asking
from connectors.metrics.requests import SOURCES, Requests
from connectors.postgres.in_force import open_in_force
from connectors.postgres.pool import open_pool
from connectors.postgres.recipient_requests import RecipientRequests
from connectors.postgres.records import Records
from connectors.serving import Outage
from connectors.settings import Settings, SettingsError

log = logging.getLogger(__name__)

TABLES: tuple[tuple[Route, ...], ...] = (
    health.ROUTES,
    preferences.ROUTES,
    consents.ROUTES,
    addresses.ROUTES,
    devices.ROUTES,
    inbox.ROUTES,
    inbox_marking.ROUTES,
    inbox_questions.ROUTES,
    streams.ROUTES,
    suppressions.ROUTES,
    policies.ROUTES,
    sending.ROUTES,
    notifications.ROUTES,
    explanations.ROUTES,
    what_if.ROUTES,
    waitlist.ROUTES,
    pages.ROUTES,
    waitlist_pages.ROUTES,
    following.ROUTES,
    inbox_pages.ROUTES,
    registry.ROUTES,
    description.ROUTES,
)

# A preference document is 2 KB, a policy 10; nothing that we take is larger.
MAX_BODY_BYTES = 256 * 1024
POOL_CONNECTIONS = 8
# A caller waits for us; better 503 soon than an answer late.
POSTGRES_TIMEOUT_SECONDS = 3.0
# Identity providers rotate their keys ahead of use.
JWKS_REFRESH_SECONDS = 300.0
JWKS_TIMEOUT_SECONDS = 5.0
MAX_JWKS_BYTES = 256 * 1024


def make_app(settings: Settings) -> web.Application:
    """The application. Raises SettingsError for a secret that is none."""
    requests = Requests()
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[requests.middleware, answering])
    app[SOURCES] = [*requests.sources, age_source(lambda: app[WITHDRAWALS])]
    app[SETTINGS] = settings
    app[OUTAGE] = Outage()
    app[BUCKETS] = Buckets()
    app[CODE_SECRET] = secret = jwt_secret(settings)
    app[VERIFIER] = Verifier.of(settings, secret)
    app[STREAMS] = frozenset(route.path for route in all_routes() if route.streams)
    app.cleanup_ctx.append(_identity_provider)
    app.cleanup_ctx.append(_stores)
    app.cleanup_ctx.append(live)
    app.on_shutdown.append(_close_streams)
    app[DESCRIPTION] = orjson.dumps(openapi(all_routes()))
    for route in all_routes():
        app.router.add_route(route.method, route.path, guarded(route))
    if settings.api_cors_origins:
        app.router.add_route("OPTIONS", "/{path:.*}", preflight)
    return app


def all_routes() -> tuple[Route, ...]:
    """Every route, in the order of its table."""
    return tuple(route for table in TABLES for route in table)


async def _stores(app: web.Application) -> AsyncIterator[None]:
    settings = app[SETTINGS]
    app[RECORDS] = Records.open(settings)
    app[NAMES] = await asyncio.to_thread(what_if.names)
    async with (
        open_pool(
            settings, "api", size=POOL_CONNECTIONS, timeout_seconds=POSTGRES_TIMEOUT_SECONDS, urgent=True
        ) as pool,
        open_in_force(settings, "api") as in_force,
    ):
        app[POOL], app[IN_FORCE], app[ASKING] = pool, in_force, Asking(settings)
        app[RECIPIENT_REQUESTS] = RecipientRequests(
            pool, app[RECORDS], refusal=Problem, batch_seconds=settings.api_request_seconds
        )
        app[COUNTING] = Counting(settings, app[RECORDS].codec)
        # With a codec of its own: it reads in a thread.
        withdrawals = app[WITHDRAWALS] = Withdrawals(settings, Records.open(settings).codec)
        withdrawals.start()
        yield
        withdrawals.stop()
        await app[COUNTING].close()
        await app[ASKING].close()


async def _close_streams(app: web.Application) -> None:
    """Before anything is taken away from under them."""
    app[HUB].close_all(GOING_AWAY)


async def _identity_provider(app: web.Application) -> AsyncIterator[None]:
    """The JWKS, read before the first request and again and again."""
    where = app[SETTINGS].api_jwks
    if where is None:
        yield
        return
    app[VERIFIER].replace_keys(await _read_jwks(where))
    refreshing = asyncio.create_task(_refresh(app[VERIFIER], where))
    yield
    refreshing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await refreshing


async def _refresh(verifier: Verifier, where: str) -> None:
    while True:
        await asyncio.sleep(JWKS_REFRESH_SECONDS)
        try:
            verifier.replace_keys(await _read_jwks(where))
        except SettingsError as error:
            log.warning("%s; the keys read before are used on", error)


async def _read_jwks(where: str) -> dict[str, jwt.PyJWK]:
    """Raises SettingsError."""
    try:
        if where.startswith(("https://", "http://127.0.0.1:")):
            timeout = aiohttp.ClientTimeout(total=JWKS_TIMEOUT_SECONDS)
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(where) as response:
                response.raise_for_status()
                document = await response.content.read(MAX_JWKS_BYTES)
        elif "://" in where:
            raise SettingsError("LUXE_API_JWKS: must be https, or the path of a file")
        else:
            document = await asyncio.to_thread(Path(where).read_bytes)
        return rs256_keys(orjson.loads(document))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise SettingsError(
            f"LUXE_API_JWKS: cannot be read ({type(error).__name__}); see that it names a JWKS with RSA keys"
        ) from error
