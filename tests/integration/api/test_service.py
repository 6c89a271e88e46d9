"""The API as a service: whether it is well, who may ask, how it refuses, and what it tells a browser."""

from __future__ import annotations

import pytest

from tests.integration.api.conftest import Api

pytestmark = pytest.mark.integration


async def test_it_answers_and_is_ready(api: Api) -> None:
    assert (await api.stranger()("GET", "/healthz")).json == {"status": "ok"}
    reply = await api.stranger()("GET", "/readyz")
    assert (reply.status, reply.json) == (200, {"status": "ok", "away": []})
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert "aiohttp" not in reply.headers["Server"]
    assert "Access-Control-Allow-Origin" not in reply.headers


async def test_a_path_that_is_none_is_a_problem(api: Api) -> None:
    reply = await api.stranger()("GET", "/nowhere")
    assert reply.status == 404
    assert reply.headers["Content-Type"].startswith("application/problem+json")
    assert (await api.stranger()("POST", "/healthz")).headers["Allow"] == "GET"
