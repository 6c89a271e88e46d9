"""The API as a service: whether it is well, who may ask, how it refuses, and what it tells a browser."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import jwt
import pytest
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from prometheus_client import generate_latest

from api.app import make_app
from cli.api import COMMITTED
from connectors.metrics.counting import OTHER
from connectors.metrics.exporter import registry_of
from connectors.metrics.requests import SOURCES
from connectors.settings import Settings, SettingsError
from tests.integration.api.conftest import Api, Caller

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


async def test_tokens_of_an_identity_provider(settings: Settings, tmp_path: Path) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    jwk = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True) | {"kid": "k1", "alg": "RS256"}
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [jwk]}))
    told = settings.model_copy(update={"api_jwks": str(tmp_path / "jwks.json")})
    now = int(time.time())
    claims = {"sub": "p1", "role": "patient", "aud": "luxe-api", "iat": now, "exp": now + 60}
    async with TestClient(TestServer(make_app(told))) as client:
        by_provider = Caller(client, jwt.encode(claims, private, "RS256", headers={"kid": "k1"}))
        assert (await by_provider("GET", "/v1/recipients/me/preferences")).status == 404  # known, and nobody's
        by_nobody = Caller(client, jwt.encode(claims, private, "RS256", headers={"kid": "k2"}))
        reply = await by_nobody("GET", "/v1/recipients/me/preferences")
        assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"')


async def test_a_jwks_that_cannot_be_read_ends_the_start(settings: Settings, tmp_path: Path) -> None:
    for where in (str(tmp_path / "none.json"), "http://idp.example/jwks", "ftp://x"):
        server = TestServer(make_app(settings.model_copy(update={"api_jwks": where})))
        with pytest.raises(SettingsError, match="LUXE_API_JWKS"):
            await server.start_server()
        await server.close()


async def test_a_caller_who_asks_too_often_is_told_when_to_come_back(settings: Settings) -> None:
    slow = settings.model_copy(update={"api_requests_per_second": 0.02})  # one, and a second one in 50 s
    async with TestClient(TestServer(make_app(slow))) as client:
        api = Api(client, slow)
        replies = [await api.caller("patient", "p1")("GET", "/v1/recipients/me/preferences") for _ in range(8)]
        assert {reply.status for reply in replies} == {404, 429}
        assert int(replies[-1].headers["Retry-After"]) >= 1
        # Somebody else is not held by that, and who guesses at tokens is held by address.
        assert (await api.caller("patient", "p2")("GET", "/v1/recipients/me/preferences")).status == 404
        guesses = [await Caller(client, "x.y.z")("GET", "/v1/recipients/me/preferences") for _ in range(8)]
        assert {reply.status for reply in guesses} == {401, 429}


async def test_other_origins_are_allowed_only_by_name(settings: Settings) -> None:
    portal = settings.model_copy(update={"api_cors_origins": ("https://portal.example",)})
    async with TestClient(TestServer(make_app(portal))) as client:
        ask = Caller(client, None)
        path = "/v1/recipients/me/preferences"
        ours = await ask("OPTIONS", path, Origin="https://portal.example", Access_Control_Request_Method="GET")
        assert ours.status == 204
        assert ours.headers["Access-Control-Allow-Origin"] == "https://portal.example"
        theirs = await ask("OPTIONS", path, Origin="https://evil.example", Access_Control_Request_Method="GET")
        assert theirs.status == 404
        assert "Access-Control-Allow-Origin" not in theirs.headers
        refused = await ask("GET", path, Origin="https://portal.example")
        assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (401, "https://portal.example")


async def test_the_description_is_served(api: Api) -> None:
    served = (await api.stranger()("GET", "/openapi.json")).json
    assert served == json.loads(COMMITTED.read_text())


async def test_a_request_that_takes_too_long_is_answered(settings: Settings) -> None:
    """Somebody who sends a body and never ends it holds nothing for long."""
    hasty = settings.model_copy(update={"api_request_seconds": 0.5})
    async with TestClient(TestServer(make_app(hasty))) as client:
        token = Api(client, hasty).token("patient", "p1")
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        head = (
            f"PUT /v1/recipients/me/preferences HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nIf-Match: *\r\n"
        )
        writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
        answer = await asyncio.wait_for(reader.read(4096), 30)
        assert answer.startswith(b"HTTP/1.1 503")
        writer.close()


async def test_requests_are_counted_by_template_and_show_nobody(settings: Settings) -> None:
    app = make_app(settings)
    recipient = "patient:0190a1b2-0000-7000-8000-000000000001"
    async with TestClient(TestServer(app)) as client:
        for path in ("/healthz", "/healthz", f"/v1/recipients/{recipient}/preferences", "/nowhere/ana"):
            await client.get(path)
        await client.request("PROPFIND", "/healthz")
        await client.post("/healthz", data=b"a" * 1024)
        sources = app[SOURCES]
        registry = registry_of(sources)
        found = {
            (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
            for family in registry.collect()
            for sample in family.samples
            if sample.name == "luxe_http_requests_total"
        }
        assert found == {
            ("GET", "/healthz", "200"): 2,
            ("GET", "/v1/recipients/{id}/preferences", "401"): 1,
            (OTHER, OTHER, "404"): 1,
            (OTHER, OTHER, "405"): 2,
        }
        text = generate_latest(registry).decode()
        assert 'luxe_http_request_seconds_count{method="GET",route="/healthz"} 2.0' in text
        assert "luxe_http_requests_in_flight 0.0" in text
        assert "luxe_live_connections 0.0" in text
        assert "patient:" not in text
        assert "nowhere" not in text
        assert "PROPFIND" not in text
