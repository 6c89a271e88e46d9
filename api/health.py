"""Whether the process answers, and whether what it needs does."""

from __future__ import annotations

from typing import Literal

from aiohttp import web
from pydantic import BaseModel

from api.resources import POOL, SETTINGS
from api.routes import ANYBODY, Answer, Route
from connectors.serving import Store, alive, readiness


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Which of the stores does not answer."""

    status: Literal["ok", "away"]
    away: list[Store]


async def readyz(request: web.Request) -> web.Response:
    """Postgres and Kafka answer; else 503 with which one does not."""
    return await readiness(request.app[SETTINGS], request.app[POOL])


ROUTES = (
    Route("GET", "/healthz", alive, ANYBODY, "The process answers", (Answer(200, "It does", Health),)),
    Route(
        "GET",
        "/readyz",
        readyz,
        ANYBODY,
        "Postgres and Kafka answer",
        (Answer(200, "They do", Readiness), Answer(503, "One does not", Readiness)),
    ),
)
