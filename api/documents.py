"""A document that is read, replaced and patched by its version: what preferences and policies have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from api.bodies import JSON, MERGE_PATCH, entity_tag, merged, read_json, versions_named
from api.routes import Parameter

# What a request makes of the document as it is served; yet to be checked.
BodyOf = Callable[[Any], Any]

IF_MATCH = Parameter(
    "If-Match", "header", "The ETag of what you read, or `*`; without it the answer is 428.", {"type": "string"}, False
)
IF_NONE_MATCH = Parameter("If-None-Match", "header", "ETags that are known already.")


async def replacement(request: web.Request) -> BodyOf:
    """The body as it was sent (JSON). Raises Problem."""
    body = await read_json(request, (JSON,))
    return lambda _served: body


async def merge_patch(request: web.Request) -> BodyOf:
    """The document that is served, with the body merged into it (RFC 7396). Raises Problem."""
    body = await read_json(request, (MERGE_PATCH, JSON))
    return lambda served: merged(served, body)


def as_json(served: Any) -> bytes:
    """A document as it is sent."""
    return orjson.dumps(served, option=orjson.OPT_UTC_Z)


def answered(served: Any, version: int) -> web.Response:
    """A document, with its version as ETag."""
    return web.Response(body=as_json(served), content_type=JSON, headers={"ETag": entity_tag(version)})


def known_already(request: web.Request, version: int) -> web.Response | None:
    """304 where If-None-Match names this version."""
    header = request.headers.get("If-None-Match")
    if header is None:
        return None
    versions = versions_named(header)
    if versions is not None and str(version) not in versions:
        return None
    return web.Response(status=304, headers={"ETag": entity_tag(version)})
