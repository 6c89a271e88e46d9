"""``/openapi.json``: the API, described by the routes and models that it is made of."""

from __future__ import annotations

from aiohttp import web

from api.resources import DESCRIPTION
from api.routes import ANYBODY, Answer, Route


async def read(request: web.Request) -> web.Response:
    """OpenAPI 3.1."""
    return web.Response(body=request.app[DESCRIPTION], content_type="application/json")


ROUTES = (
    Route("GET", "/openapi.json", read, ANYBODY, "This description", (Answer(200, "OpenAPI 3.1"),), described=False),
)
