"""Claims through the API and the page of the link, one by one and all at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from connectors.waitlist.keeping import Offer, SlotRows
from connectors.waitlist.saying import About
from streams.waitlist.coordinator import Coordinator
from tests.integration.api.conftest import Api, api_on
from tests.integration.outboxed import decoded
from tests.integration.waitlist.conftest import CLINIC, WINDOW, now_seconds, patients, said

pytestmark = pytest.mark.integration

EVERYBODY = ("a", "b", "c")
# What people answer, whatever the hour: the coordinator is told that it is a noon of theirs.
ZONES = {hour: "Etc/GMT" + (f"{hour - 12:+d}" if hour != 12 else "") for hour in range(24)}


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with api_on(settings) as opened:
        yield opened


class Clinic:
    """A slot of three, and whose turn it is."""

    def __init__(self, pool: Pool, records: Records, rows: SlotRows, coordinator: Coordinator) -> None:
        self.pool, self._records, self._rows, self._coordinator = pool, records, rows, coordinator

    async def opens(self, slot_id: str) -> datetime:
        now = now_seconds()
        await patients(self.pool, self._records, *EVERYBODY, zone=ZONES[now.hour])
        await self._coordinator.hear(
            said("waitlist.slot_available", slot_id, now, waitlist_patients=list(EVERYBODY)), now
        )
        await self._coordinator.turn(now)
        return now

    async def hears(self, event_type: str, slot_id: str, now: datetime, **given: Any) -> None:
        await self._coordinator.hear(said(event_type, slot_id, now, **given), now)

    async def turns(self, now: datetime) -> None:
        while await self._coordinator.turn(now):
            pass

    async def offers(self, slot_id: str) -> list[Offer]:
        async with self.pool.connection() as connection:
            return await self._rows.offers(connection, About(CLINIC, slot_id, None))

    async def told(self, event_type: str) -> list[dict[str, Any]]:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT topic, value, sealed FROM outbox WHERE topic = 'events.waitlist' ORDER BY id"
            )
            events = [decoded(self._records, *row) for row in await cursor.fetchall()]
        return [one for one in events if one["event_type"] == event_type]

    def path(self, offer: Offer) -> str:
        return self._rows.url(offer.offer_id).removeprefix("http://127.0.0.1:1/")


@pytest.fixture
def clinic(pool: Pool, records: Records, rows: SlotRows, coordinator: Coordinator) -> Clinic:
    return Clinic(pool, records, rows, coordinator)


async def test_a_patients_own_slot(api: Api, clinic: Clinic) -> None:
    await clinic.opens("s1")
    a, b, stranger = api.caller("patient", "a"), api.caller("patient", "b"), api.caller("patient", "z")
    (offer,) = await clinic.offers("s1")
    for name in ("s1", offer.offer_id):
        assert (await a("GET", f"/v1/waitlist/{name}")).json["stands"] == "offered"
    assert (await b("GET", "/v1/waitlist/s1")).json["stands"] == "waiting"
    assert (await stranger("GET", "/v1/waitlist/s1")).status == 404
    assert (await b("POST", "/v1/waitlist/s1/claim", {})).status == 409
    assert (await b("POST", "/v1/waitlist/s1/claim", {"patientId": "a"})).status == 404
    for _ in range(2):
        reply = await a("POST", f"/v1/waitlist/{offer.offer_id}/claim", {})
        assert (reply.status, reply.json["stands"], reply.json["slotId"]) == (200, "claimed", "s1")
    assert (await b("GET", "/v1/waitlist/s1")).json["stands"] == "taken"
    assert (await a("POST", "/v1/waitlist/s1/decline", {})).status == 409
    (claimed,) = await clinic.told("waitlist.slot_claimed")
    assert (claimed["patient_id"], claimed["correlation_id"], claimed["duration"]) == ("a", "c-s1", 45)
    assert [one["outcome"] for one in await clinic.told("waitlist.offer_ended")] == ["claimed"]


async def test_staff_answer_for_who_calls(api: Api, clinic: Clinic) -> None:
    now = await clinic.opens("s1")
    desk, elsewhere = api.caller("staff", "front-1", CLINIC), api.caller("staff", "front-2", "another")
    assert (await elsewhere("POST", "/v1/waitlist/s1/decline", {"patientId": "a"})).status == 404
    assert (await desk("POST", "/v1/waitlist/s1/decline", {})).fields == ["patientId"]
    said_no = await desk("POST", "/v1/waitlist/s1/decline", {"patientId": "a", "keepOnWaitlist": False})
    assert (said_no.status, said_no.json["stands"]) == (200, "declined")
    assert [one["keep_on_waitlist"] for one in await clinic.told("waitlist.slot_declined")] == [False]
    await clinic.turns(now + timedelta(minutes=1))
    assert (await desk("GET", "/v1/waitlist/s1?patient=b")).json["stands"] == "offered"


async def test_a_page_of_offers_is_one_look(clinic: Clinic, rows: SlotRows) -> None:
    """As one by one, each with its own slot; what names none, or no id at all, is not there."""
    for slot_id in ("s1", "s2"):
        await clinic.opens(slot_id)
    made = [*await clinic.offers("s1"), *await clinic.offers("s2")]
    assert len(made) == 2
    named = [one.offer_id for one in made]
    async with clinic.pool.connection() as connection:
        seen = await rows.offers_seen(connection, [*named, named[0].upper(), str(uuid4()), "no id"])
        alone = {one.offer_id: (one, await rows.seen(connection, one.clinic_id, one.slot_id)) for one in made}
    assert seen == alone | {named[0].upper(): alone[named[0]]}
    assert [row.about.slot_id for _, row in alone.values()] == ["s1", "s2"]


async def test_a_yes_to_an_offer_is_none_to_another_hour(api: Api, clinic: Clinic) -> None:
    now = await clinic.opens("s1")
    (offer,) = await clinic.offers("s1")
    await clinic.hears("waitlist.slot_available", "s1", now, version=9, waitlist_patients=["a"], time="16:00")
    await clinic.turns(now)
    a, desk = api.caller("patient", "a"), api.caller("staff", "front-1", CLINIC)
    assert (await a("GET", f"/v1/waitlist/{offer.offer_id}")).json["stands"] == "over"
    assert (await a("POST", f"/v1/waitlist/{offer.offer_id}/claim", {})).status == 409
    assert (await desk("POST", f"/v1/waitlist/{offer.offer_id}/claim", {"patientId": "a"})).status == 409
    assert await clinic.told("waitlist.slot_claimed") == []
    assert (await a("GET", "/v1/waitlist/s1")).json["stands"] == "offered"
    newer = (await clinic.offers("s1"))[-1]
    assert (await a("POST", f"/v1/waitlist/{newer.offer_id}/claim", {})).json["stands"] == "claimed"


async def test_a_link_that_is_opened_does_nothing(api: Api, clinic: Clinic) -> None:
    await clinic.opens("s1")
    (offer,) = await clinic.offers("s1")
    url = api.url + clinic.path(offer)
    async with aiohttp.ClientSession() as session:
        for method in ("GET", "HEAD"):
            async with session.request(method, url) as seen:
                text = await seen.text()
        async with session.get(url) as seen:
            text = await seen.text()
            assert seen.status == 200
            assert 'data-word="offered"' in text
            assert "Facial" not in text
            assert seen.headers["Referrer-Policy"] == "no-referrer"
        async with session.post(url, data={"word": "look"}) as nothing:
            assert 'data-word="offered"' in await nothing.text()
        assert (await clinic.offers("s1"))[0].outcome is None
        for _ in range(2):
            async with session.post(url, data={"word": "claim"}) as claimed:
                assert 'data-word="claimed"' in await claimed.text()
        async with session.get(url + "?lang=es") as spanish:
            assert "El hueco es suyo" in await spanish.text()
        async with session.get(api.url + "w/23456789ABC") as unknown:
            assert unknown.status == 404
    assert len(await clinic.told("waitlist.slot_claimed")) == 1


async def test_of_all_who_claim_at_once_one_has_it(api: Api, clinic: Clinic) -> None:
    """The holder and who held it before, by API and link, sixty at once, while two coordinators look whose turn it is."""
    now = await clinic.opens("s1")
    await clinic.turns(now + WINDOW)
    first, second = await clinic.offers("s1")
    assert (first.patient_id, first.outcome, second.outcome) == ("a", "expired", None)
    async with aiohttp.ClientSession() as session:

        async def tap(offer: Offer) -> str:
            async with session.post(api.url + clinic.path(offer), data={"word": "claim"}) as page:
                text = await page.text()
            return offer.patient_id + ":" + text.partition('data-word="')[2].partition('"')[0]

        async def ask(patient: str) -> str:
            reply = await api.caller("patient", patient)("POST", "/v1/waitlist/s1/claim", {})
            return f"{patient}:{'claimed' if reply.status == 200 else 'refused'}"

        tries = [tap(first), tap(second), ask("a"), ask("b"), ask("c")]
        for _ in range(11):
            tries += [tap(first), tap(second), ask("a"), ask("b"), ask("c")]
        answers, *_ = await asyncio.gather(
            asyncio.gather(*tries), clinic.turns(now + WINDOW), clinic.turns(now + WINDOW)
        )
    counted = Counter(answers)
    assert {answer.partition(":")[0] for answer in counted if answer.endswith(":claimed")} == {"b"}
    assert counted["b:claimed"] == 24
    assert counted["a:refused"] == counted["c:refused"] == 12
    assert [one["patient_id"] for one in await clinic.told("waitlist.slot_claimed")] == ["b"]
    assert len(await clinic.told("waitlist.offer_made")) == 2
