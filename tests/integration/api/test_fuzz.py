"""The API against its own description: whatever is sent, no fault of ours, and no answer that is not described.

Bounded in ``make test``; ``make fuzz`` (LUXE_FUZZ_CASES) sends as many cases to each operation as it is told.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jwt
import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

from api.app import all_routes, make_app
from api.openapi import openapi
from api.secret import jwt_secret
from connectors.postgres.pool import open_pool
from connectors.postgres.recipients import Recipient, upsert_many
from connectors.postgres.records import Records
from connectors.settings import Settings
from tests.integration.api.conftest import clickhouse_with
from tests.integration.stores import relaying

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600)]

CASES_AN_OPERATION = int(os.environ.get("LUXE_FUZZ_CASES", "12"))
PATIENT, CLINIC = "p-fuzz", "c-fuzz"


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """The API in a thread, with a relay; its URL."""
    started, stop = threading.Event(), threading.Event()
    url: list[str] = []

    async def serve() -> None:
        async with open_pool(settings, "fuzz", size=1) as pool, pool.connection() as connection:
            someone = Recipient(f"patient:{PATIENT}", CLINIC, {"phones": [{"e164": "+15551230001"}], "consents": []})
            await upsert_many(connection, Records.open(settings), [someone], "test")
        runner = web.AppRunner(make_app(settings), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        started.set()
        await asyncio.to_thread(stop.wait)
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    with relaying(settings):
        thread.start()
        try:
            assert started.wait(30), "the API did not start"
            yield url[0]
        finally:
            stop.set()
            thread.join(30)


def token(settings: Settings, role: str, subject: str) -> str:
    now = int(time.time())
    claims = {"sub": subject, "role": role, "clinics": [CLINIC], "aud": settings.api_jwt_audience, "iat": now}
    return jwt.encode(claims | {"exp": now + 3600}, jwt_secret(settings), "HS256")


class Fuzzer:
    """Sends what an operation's description allows, and what it does not, and notes what should not have come back."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self.faults: list[str] = []
        self.sent = 0

    def run(self, operation: APIOperation[Any, Any, Any, Any]) -> None:
        """Every case of one operation."""

        @given(case=operation.as_strategy())
        @hypothesis_settings(
            max_examples=CASES_AN_OPERATION,
            deadline=None,
            database=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        def check(case: schemathesis.Case[Any]) -> None:
            self._send(operation, case)

        check()

    def _send(self, operation: APIOperation[Any, Any, Any, Any], case: schemathesis.Case[Any]) -> None:
        self.sent += 1
        for name, ours in (("id", PATIENT), ("clinic", CLINIC)):
            if name in case.path_parameters and self.sent % 3:
                case.path_parameters[name] = ours  # else nearly all would be 404
        if isinstance(case.body, dict) and "recipient" in case.body and self.sent % 3:
            case.body["recipient"] = f"patient:{PATIENT}"
        authorization = f"Bearer {self._tokens[self.sent % len(self._tokens)]}"
        response = case.call(headers={"Authorization": authorization}, timeout=60)
        where = f"{operation.method.upper()} {operation.path}: {response.status_code}"
        if response.status_code >= 500:
            self.faults.append(where)
        elif str(response.status_code) not in operation.definition.raw["responses"]:
            self.faults.append(f"{where} is not described")
        else:
            operation.validate_response(response)


def test_nothing_that_is_sent_finds_a_fault(settings: Settings) -> None:
    open_to_many = settings.model_copy(update={"api_requests_per_second": 1e6, "api_service_requests_per_second": 1e6})
    fuzzer = Fuzzer([token(settings, "admin", str(uuid.uuid4())), token(settings, "patient", PATIENT)])
    with clickhouse_with(open_to_many, {}) as whole, serving(whole) as url:
        schema = schemathesis.openapi.from_dict(openapi(all_routes()))
        schema.config.update(base_url=url)
        for result in schema.get_all_operations():
            assert isinstance(result, Ok)
            operation = result.ok()
            if "live" not in operation.definition.raw["tags"]:  # what never ends has tests of its own
                fuzzer.run(operation)
    assert fuzzer.faults == []
    assert fuzzer.sent >= CASES_AN_OPERATION
