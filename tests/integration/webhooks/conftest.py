"""Webhooks with a database of their own, a relay, and phones that text them."""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp.test_utils import TestClient, TestServer
from confluent_kafka import TopicPartition

from connectors.kafka import make_consumer
from connectors.loopback.signing import twilio_signature
from connectors.postgres import policies, recipients
from connectors.postgres.pool import Pool
from connectors.postgres.recipients import Recipient
from connectors.postgres.records import Records
from connectors.settings import Settings
from connectors.webhooks.app import make_app
from connectors.webhooks.inbound import INBOUND_PATH
from schemas.codec import CodecError
from tests.conftest import Stack
from tests.integration.stores import own_stores

GIVEN_AT = datetime(2026, 3, 1, tzinfo=UTC)
# Whatever other tests wrote into the session's topics is read first; a busy machine takes its time.
READY_SECONDS = 90.0


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> Settings:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    return own_stores(stack, tmp_path / "state", webhook_port=port, public_base_url=f"http://127.0.0.1:{port}")


@dataclass(frozen=True)
class Phone:
    """Texts our webhooks, and is signed for as Twilio does."""

    settings: Settings
    client: TestClient[Any, Any]

    async def ready(self, is_ready: bool = True) -> None:
        """Return once /readyz says so: at the start, what was withdrawn is read still."""
        deadline = time.monotonic() + READY_SECONDS
        while ((await self.client.get("/readyz")).status == 200) is not is_ready:
            assert time.monotonic() < deadline, f"readiness is not {is_ready} within {READY_SECONDS} s"
            await asyncio.sleep(0.05)

    async def text(
        self, number: str, to: str, body: str, *, sid: str | None = None, signed: bool = True, **fields: str
    ) -> tuple[int, str]:
        """Status and body of what we answer."""
        sid = sid or f"SM{uuid.uuid4().hex}"
        form = {"MessageSid": sid, "From": number, "To": to, "Body": body, "NumMedia": "0"} | fields
        token = self.settings.twilio_auth_token.get_secret_value() if signed else "another account's"
        url = self.settings.public_base_url + INBOUND_PATH
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Twilio-Signature": twilio_signature(token, url, list(form.items())),
        }
        answer = await self.client.post(INBOUND_PATH, data=urlencode(form), headers=headers)
        return answer.status, await answer.text()


@pytest.fixture
async def phone(settings: Settings) -> AsyncIterator[Phone]:
    async with serving(settings) as made:
        await made.ready()
        yield made


class serving:  # noqa: N801 - a context manager, named like one
    """The webhooks, on their port."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: TestClient[Any, Any] = TestClient(TestServer(make_app(settings), port=settings.webhook_port))

    async def __aenter__(self) -> Phone:
        await self._client.start_server()
        return Phone(self._settings, self._client)

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()


Register = Callable[..., Awaitable[str]]


@pytest.fixture
def register(pool: Pool, records: Records) -> Register:
    """Makes a patient with this number, who agreed to marketing texts if ``agreed``; her key."""

    async def made(number: str, *, agreed: bool = True, clinic_id: str = "c1", **content: Any) -> str:
        recipient = f"patient:{uuid.uuid4()}"
        on = dict.fromkeys(("transactional", "clinical", "marketing", "membership", "reviews"), True)
        whole: dict[str, Any] = {"phones": [{"e164": number, "verified": True}], **content}
        if agreed:
            whole["preferences"] = {"sms_opt_in": on, "email_opt_in": on, "push_opt_in": {}}
            given = {"status": "opted_in", "consent_date": GIVEN_AT, "method": "written", "source": "form"}
            whole["consents"] = [{"consent_type": f"sms_{kind}", **given} for kind in ("marketing", "transactional")]
        async with pool.connection() as connection:
            await recipients.upsert_many(connection, records, [Recipient(recipient, clinic_id, whole)], "tester")
        return recipient

    return made


@dataclass(frozen=True)
class World:
    """What the database and Kafka say after."""

    settings: Settings
    pool: Pool
    records: Records

    async def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        async with self.pool.connection() as connection:
            return await (await connection.execute(query.encode(), values)).fetchall()

    async def shut(self, number: str) -> set[str]:
        """The classes of sender that may not text this number."""
        address_hash = self.records.ring.address_hash("sms", number)
        rows = await self.rows(
            "SELECT gate_key FROM suppressions WHERE gate_key LIKE %s", f"address:sms:%:{address_hash}"
        )
        return {key.split(":")[2] for (key,) in rows}

    async def content(self, recipient: str) -> dict[str, Any]:
        async with self.pool.connection() as connection:
            return dict((await recipients.get_many(connection, self.records, [recipient]))[recipient].content)

    async def consent(self, recipient: str, consent_type: str = "sms_marketing") -> str | None:
        found = await self.content(recipient)
        return next((c["status"] for c in found["consents"] if c["consent_type"] == consent_type), None)

    async def history(self, recipient: str) -> list[tuple[str, str, str]]:
        """Every change of the marketing consent: status, source, by whom."""
        rows = await self.rows(
            "SELECT status, source, updated_by FROM consents WHERE recipient = %s AND consent_type = 'sms_marketing' "
            "ORDER BY id",
            recipient,
        )
        return [(status, source, by.partition(":")[0]) for status, source, by in rows]

    async def policy(self, clinic_id: str, **fields: Any) -> None:
        async with self.pool.connection() as connection:
            await policies.put(
                connection,
                self.records,
                {"clinic_id": clinic_id, "name": "Luxe", "phone": "(555) 010-0100", "time_zone": "America/New_York"}
                | fields,
                "tester",
            )

    def events(self, sid: str) -> list[dict[str, Any]]:
        """message.received events of one text, in Kafka by now."""
        return [event for event in self._log("events.message") if event["message_id"] == sid]

    def replies(self, sid: str) -> list[dict[str, Any]]:
        """Events of appointments that one text was, in Kafka by now."""
        return [event for event in self._log("events.appointment") if event["metadata"].get("message_id") == sid]

    def _log(self, topic: str) -> list[dict[str, Any]]:
        consumer = make_consumer(self.settings, "tests-inbound", enable_partition_eof=True)
        try:
            partitions = consumer.list_topics(topic, timeout=60).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
            unread, found = set(partitions), []
            while unread:
                message = consumer.poll(60)
                assert message is not None
                if message.error() is not None:
                    unread.discard(message.partition() or 0)
                    continue
                with suppress(CodecError):  # the broker is the session's: other tests write what nobody can read
                    found.append(self.records.codec.decode(message.value()).value)
            return found
        finally:
            consumer.close()


@pytest.fixture
def world(settings: Settings, pool: Pool, records: Records) -> World:
    return World(settings, pool, records)
