"""Whether the process answers, and whether what it needs does."""

from __future__ import annotations

import asyncio
from typing import Literal

import psycopg
from aiohttp import web
from confluent_kafka import KafkaException
from pydantic import BaseModel

from api.resources import POOL, SETTINGS
from api.routes import ANYBODY, Answer, Route
from connectors.kafka import make_admin

PROBE_SECONDS = 2.0


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Which of the stores does not answer."""

    status: Literal["ok", "away"]
    away: list[Literal["postgres", "kafka"]]


async def healthz(_: web.Request) -> web.Response:
    """The process answers."""
    return web.json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Postgres and Kafka answer; else 503 with which one does not."""
    away = []
    try:
        async with asyncio.timeout(PROBE_SECONDS), request.app[POOL].connection() as connection:
            await connection.execute("SELECT 1")
    except (psycopg.OperationalError, TimeoutError):
        away.append("postgres")
    try:
        await asyncio.to_thread(make_admin(request.app[SETTINGS]).list_topics, timeout=PROBE_SECONDS)
    except KafkaException:
        away.append("kafka")
    return web.json_response({"status": "away" if away else "ok", "away": away}, status=503 if away else 200)


ROUTES = (
    Route("GET", "/healthz", healthz, ANYBODY, "The process answers", (Answer(200, "It does", Health),)),
    Route(
        "GET",
        "/readyz",
        readyz,
        ANYBODY,
        "Postgres and Kafka answer",
        (Answer(200, "They do", Readiness), Answer(503, "One does not", Readiness)),
    ),
)
