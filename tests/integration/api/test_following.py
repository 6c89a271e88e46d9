"""A short link leads where we said and nowhere else; people are counted, machines apart, and Kafka is not waited for."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from aiohttp.test_utils import TestClient, TestServer

from api.app import make_app
from api.following import PICTURE
from connectors.kafka import read_to_end
from connectors.postgres import deliveries, short_links
from connectors.postgres.deliveries import Attempt, Finish
from connectors.postgres.housekeeping import EXPIRED_LINK_DAYS, keep_house
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.postgres.short_links import ShortLink
from connectors.settings import Settings
from connectors.short_links.codes import ShortLinks
from schemas.topics import STATUS
from tests.integration.api.test_outage import behind_a_line

pytestmark = pytest.mark.integration

TARGET = "https://pay.luxe.example/i/1?a=b&c=%20d"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 Version/17.4 Mobile/15E148 Safari/604.1"
WAIT_SECONDS = 90.0


class Reader:
    """Somebody, or something, that follows links."""

    def __init__(self, client: TestClient[Any, Any], settings: Settings, records: Records) -> None:
        self._client = client
        self._settings = settings
        self._codec = records.codec

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Any:
        sent = {"User-Agent": PHONE} | {name.replace("_", "-"): said for name, said in headers.items()}
        return await self._client.request(method, path, headers=sent, allow_redirects=False)

    def counted(self, delivery: str) -> list[tuple[str, str]]:
        read = (self._codec.decode(one.value()).value for one in read_to_end(self._settings, [STATUS]))
        return [(one["status"], one["provider_status"]) for one in read if one["delivery_id"] == delivery]

    async def until(self, delivery: str, wanted: set[tuple[str, str]]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while set(self.counted(delivery)) != wanted:  # noqa: ASYNC110 - it waits for another system
                await asyncio.sleep(0.1)


@pytest.fixture
async def reader(settings: Settings, records: Records) -> AsyncIterator[Reader]:
    async with TestClient(TestServer(make_app(settings))) as client:
        yield Reader(client, settings, records)


@pytest.fixture
def short(settings: Settings, records: Records) -> ShortLinks:
    return ShortLinks(records.ring, settings.pages_url)


async def sent(pool: Pool, channel: str = "sms") -> str:
    """A delivery in the ledger; its id."""
    id_ = str(uuid.uuid4())
    attempt = Attempt(
        delivery_id=id_,
        notification_id=str(uuid.uuid4()),
        recipient="patient:p-1",
        clinic_id="c-1",
        notification_type="promotional_offer",
        category="marketing",
        lane="low",
        channel=channel,
        step=0,
        attempt=1,
        provider="twilio",
        template_id="t",
        template_version=1,
        occurred_at=datetime.now(UTC),
    )
    await deliveries.begin(pool, [attempt])
    await deliveries.finish(pool, [Finish(id_, 1, "accepted", f"SM{id_}")])
    return id_


async def stored(
    pool: Pool, short: ShortLinks, delivery: str, url: str | None = TARGET, *, counted: bool = True, days: int = 30
) -> str:
    """A link in its table; its path."""
    code = short.code(delivery, url or "")
    target = None if url is None else short.seal(code, delivery, url)
    await short_links.keep(pool, [ShortLink(code, delivery, "patient:p-1", target, counted)], days)
    return f"/l/{code}" if url is not None else f"/o/{code}.gif"


async def test_it_leads_where_it_was_made_to_and_is_counted_once(reader: Reader, pool: Pool, short: ShortLinks) -> None:
    delivery = await sent(pool)
    path = await stored(pool, short, delivery)
    for _ in range(3):
        answer = await reader.ask(path)
        assert (answer.status, answer.headers["Location"]) == (302, TARGET)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert await answer.read() == b""
    await reader.until(delivery, {("clicked", "click")})
    assert len(reader.counted(delivery)) == 1


async def test_machines_see_the_same_and_are_counted_apart(reader: Reader, pool: Pool, short: ShortLinks) -> None:
    delivery = await sent(pool)
    path = await stored(pool, short, delivery)
    looks = [
        await reader.ask(path, User_Agent="WhatsApp/2.23.20.0"),
        await reader.ask(path, "HEAD"),
        await reader.ask(path, Sec_Purpose="prefetch"),
    ]
    assert {(answer.status, answer.headers["Location"]) for answer in looks} == {(302, TARGET)}
    await reader.until(delivery, {("sent", "machine_click")})


async def test_an_email_just_sent_is_opened_by_machines(reader: Reader, pool: Pool, short: ShortLinks) -> None:
    delivery = await sent(pool, "email")
    picture = await stored(pool, short, delivery, None)
    answer = await reader.ask(picture)
    assert (answer.status, answer.content_type, await answer.read()) == (200, "image/gif", PICTURE)
    await reader.until(delivery, {("sent", "machine_open")})
    async with pool.connection() as connection:
        await connection.execute("UPDATE short_links SET created_at = now() - interval '1 hour'")
    await reader.ask(picture)
    await reader.until(delivery, {("sent", "machine_open"), ("read", "open")})


async def test_what_is_not_counted_leaves_nothing(reader: Reader, pool: Pool, short: ShortLinks) -> None:
    quiet, loud = await sent(pool), await sent(pool)
    assert (await reader.ask(await stored(pool, short, quiet, counted=False))).status == 302
    forgotten = await stored(pool, short, str(uuid.uuid4()))  # the ledger's row is gone; the link is not
    assert (await reader.ask(forgotten)).headers["Location"] == TARGET
    await reader.ask(await stored(pool, short, loud))
    await reader.until(loud, {("clicked", "click")})
    assert reader.counted(quiet) == []


async def test_what_is_no_link_of_ours_leads_nowhere(reader: Reader, pool: Pool, short: ShortLinks) -> None:
    delivery = await sent(pool)
    path = await stored(pool, short, delivery)
    picture = await stored(pool, short, delivery, None)
    code = path.removeprefix("/l/")
    for wrong in ("/l/11111111111", "/l/x", "/l/" + "a" * 3_000, picture.replace("/o/", "/l/").removesuffix(".gif")):
        answer = await reader.ask(f"{wrong}?url=https://evil.example")
        assert answer.status == 404
        assert "Location" not in answer.headers
        assert "evil" not in await answer.text()
    assert (await (await reader.ask("/o/11111111111.gif")).read()) == PICTURE
    other = short.seal(code, str(uuid.uuid4()), "https://evil.example")
    async with pool.connection() as connection:
        for forged in (b"https://evil.example", other):
            await connection.execute("UPDATE short_links SET target = %s WHERE code = %s", (forged, code))
            await connection.commit()
            answer = await reader.ask(path)
            assert (answer.status, answer.headers.get("Location")) == (404, None)


async def test_it_ends_says_so_and_is_forgotten(
    reader: Reader, pool: Pool, short: ShortLinks, settings: Settings
) -> None:
    delivery = await sent(pool)
    path = await stored(pool, short, delivery)
    async with pool.connection() as connection:
        await connection.execute("UPDATE short_links SET expires_at = now()")
    assert (await reader.ask(path)).status == 410
    async with pool.connection() as connection:
        await connection.execute(
            "UPDATE short_links SET expires_at = now() - make_interval(days => %s)", (EXPIRED_LINK_DAYS + 1,)
        )
    with psycopg.connect(settings.postgres_dsn.get_secret_value()) as connection:
        keep_house(connection)
    assert (await reader.ask(path)).status == 404


async def test_a_link_works_while_kafka_is_away(pool: Pool, short: ShortLinks, settings: Settings) -> None:
    delivery = await sent(pool)
    path, picture = await stored(pool, short, delivery), await stored(pool, short, delivery, None)
    away = settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
    async with TestClient(TestServer(make_app(away))) as client:
        answer = await client.get(path, headers={"User-Agent": PHONE}, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (302, TARGET)
        assert (await client.get(picture)).status == 200


async def test_postgres_away_a_link_says_so_and_no_picture_breaks(
    pool: Pool, short: ShortLinks, settings: Settings
) -> None:
    delivery = await sent(pool)
    path, picture = await stored(pool, short, delivery), await stored(pool, short, delivery, None)
    async with behind_a_line(settings) as (api, line):
        stranger = api.stranger()
        assert (await stranger("GET", picture)).status == 200
        line.cut()
        away = await stranger("GET", path)
        assert (away.status, away.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
        assert int(away.headers["Retry-After"]) > 0
        shown = await stranger("GET", picture)
        assert (shown.status, shown.json) == (200, PICTURE)
