"""Around every request: a name for our log, a bound on its time, problems instead of exceptions, headers, CORS."""

from __future__ import annotations

import logging
import uuid

import psycopg
from aiohttp import web
from confluent_kafka import KafkaException

from api.problems import TITLES, Problem, answer
from api.resources import REQUEST_ID, SETTINGS, STREAMS
from api.routes import Handler
from connectors.clickhouse.asking import ClickHouseAway
from connectors.postgres.outbox import OutboxDelayed
from connectors.serving import Outage
from connectors.time_limit import within

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 5
CORS_MAX_AGE_SECONDS = 600

# A JSON API needs nothing of a browser's powers; pages set what they need themselves.
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
HSTS = "max-age=63072000; includeSubDomains"


OUTAGE = web.AppKey("outage", Outage)


@web.middleware
async def answering(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost: whatever happens within, the caller gets an answer with our headers."""
    request[REQUEST_ID] = str(uuid.uuid4())
    try:
        if request.path in request.app[STREAMS]:
            response = await handler(request)
        else:
            response = await within(request.app[SETTINGS].api_request_seconds, handler(request))
    except Problem as problem:
        response = answer(problem, request[REQUEST_ID])
    except web.HTTPException as error:
        response = answer(_http_problem(error), request[REQUEST_ID])
    except (psycopg.OperationalError, KafkaException, ClickHouseAway, TimeoutError) as error:
        request.app[OUTAGE].note(error)
        response = answer(_away(error), request[REQUEST_ID])
    except Exception:  # the last stop: a fault of ours is told to the log, and to nobody else
        log.exception("request %s: a fault of ours", request[REQUEST_ID])
        response = answer(Problem(500, "It is in our log under this requestId."), request[REQUEST_ID])
    add_headers(request, response)
    return response


def _http_problem(error: web.HTTPException) -> Problem:
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return Problem(error.status if error.status in TITLES else 400, headers=headers)


def _away(error: Exception) -> Problem:
    detail = (
        "What you sent is perhaps stored, but not yet in force. It is safe to send it again."
        if isinstance(error, OutboxDelayed)
        else "A store that this needs does not answer. A change is perhaps stored; it is safe to send it again."
    )
    return Problem(503, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """What every answer carries. A stream adds them before it begins."""
    if response.prepared:
        return  # a stream that sent its own
    headers = response.headers
    for name, text in SECURITY_HEADERS.items():
        headers.setdefault(name, text)
    headers["Server"] = "luxe"
    headers["X-Request-Id"] = request[REQUEST_ID]
    settings = request.app[SETTINGS]
    if settings.public_base_url.startswith("https://"):
        headers.setdefault("Strict-Transport-Security", HSTS)
    origin = request.headers.get("Origin")
    if origin is not None and origin in settings.api_cors_origins:
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Expose-Headers"] = "ETag, Location, Retry-After, X-Request-Id"
        headers["Vary"] = "Origin"
        headers["Cross-Origin-Resource-Policy"] = "cross-origin"


async def preflight(request: web.Request) -> web.Response:
    """What a browser asks before it calls from another origin's page; refused unless that origin is in the settings."""
    if request.headers.get("Origin") not in request.app[SETTINGS].api_cors_origins:
        raise Problem(404)
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
            "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match",
            "Access-Control-Max-Age": str(CORS_MAX_AGE_SECONDS),
        },
    )
