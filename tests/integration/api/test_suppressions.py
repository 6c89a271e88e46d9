"""The suppression list over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.postgres.gates import Suppression, address_gate, put
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from tests.integration.api.conftest import Api
from tests.integration.api.people import CLINIC, EMAIL, PHONE, patient
from tests.integration.api.test_consents import gate

pytestmark = pytest.mark.integration


def of(id_: str, *steps: str) -> str:
    return "/".join(["/v1/recipients", id_, "suppressions", *steps])


@pytest.mark.usefixtures("relay")
async def test_added_listed_and_lifted(api: Api, pool: Pool, records: Records, settings: Settings) -> None:
    id_ = await patient(pool, records)
    desk = api.caller("staff", "s1", CLINIC)
    added = await desk("POST", of(id_), {"reason": "manual", "channel": "sms", "expiresAt": "2099-01-01T00:00:00Z"})
    assert added.status == 201, added.json
    (entry,) = added.json["suppressions"]
    assert (entry["reason"], entry["source"], entry["channel"], entry["senderClass"]) == (
        "manual",
        "api:staff:s1",
        "sms",
        "*",
    )
    assert entry["expiresAt"].startswith("2099-01-01")
    assert PHONE not in str(added.json)
    assert gate(settings, entry["gateKey"])
    assert (await desk("GET", of(id_))).json == added.json
    assert (await desk("DELETE", of(id_, entry["gateKey"], "manual"))).status == 204
    assert not gate(settings, entry["gateKey"])
    assert (await desk("DELETE", of(id_, entry["gateKey"], "manual"))).status == 204

    everything = await desk("POST", of(id_), {"reason": "complaint"})
    assert everything.json["suppressions"][0]["gateKey"] == f"recipient:patient:{id_}"


@pytest.mark.usefixtures("relay")
async def test_a_no_is_not_staffs_to_lift(api: Api, pool: Pool, records: Records) -> None:
    id_ = await patient(pool, records)
    key = address_gate("sms", "marketing", records.ring.address_hash("sms", PHONE))
    async with pool.connection() as connection:
        await put(connection, records, [Suppression(key, "opted_out", "webhook")])
    desk = api.caller("admin", "a", CLINIC)
    assert (await desk("GET", of(id_))).json["suppressions"][0]["reason"] == "opted_out"
    assert (await desk("DELETE", of(id_, key, "opted_out"))).status == 409
    elsewhere = address_gate("sms", "marketing", "0" * 32)
    assert (await desk("DELETE", of(id_, elsewhere, "manual"))).status == 404


@pytest.mark.usefixtures("relay")
async def test_who_unsubscribed_from_all_at_sendgrid_and_agrees_again_is_taken_off_by_staff(
    api: Api, pool: Pool, records: Records, settings: Settings
) -> None:
    id_ = await patient(pool, records)
    key = address_gate("email", "*", records.ring.address_hash("email", EMAIL))
    async with pool.connection() as connection:
        await put(connection, records, [Suppression(key, "opted_out", "webhook")])
    desk = api.caller("admin", "a", CLINIC)
    refused = await desk("DELETE", of(id_, key, "opted_out"))
    assert (refused.status, "granted since" in refused.json["detail"]) == (409, True)
    granted = {"status": "opted_in", "textVersion": "2026-1", "source": "portal"}
    jane = api.caller("patient", id_)
    assert (await jane("PUT", f"/v1/recipients/{id_}/consents/email_transactional", granted)).status == 200
    assert gate(settings, key), "her yes to us is not the provider's list"
    assert (await desk("DELETE", of(id_, key, "opted_out"))).status == 204
    assert not gate(settings, key)
    assert (await desk("DELETE", of(id_, key, "opted_out"))).status == 204
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT action, path, actor, scope FROM opt_outs")
        assert await cursor.fetchall() == [("in", "provider", "admin:a", "sender:*")]


@pytest.mark.usefixtures("relay")
async def test_a_clinics_list_is_its_own_page_by_page(api: Api, pool: Pool, records: Records) -> None:
    ours = [await patient(pool, records, phones=[{"e164": f"+1555000100{n}"}], emails=[]) for n in range(5)]
    theirs = await patient(pool, records, "c2", phones=[{"e164": "+15550002000"}], emails=[])
    service = api.caller("service", "x", "*")
    for id_ in (*ours, theirs):
        assert (await service("POST", of(id_), {"reason": "manual", "channel": "sms"})).status == 201
    await service("DELETE", f"/v1/recipients/{ours[0]}/consents/sms_marketing")
    desk, path, seen = api.caller("staff", "s1", CLINIC), f"/v1/clinics/{CLINIC}/suppressions?limit=2", []
    after = ""
    while True:
        page = (await desk("GET", path + after)).json
        seen += page["suppressions"]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert sorted({id_ for entry in seen for id_ in entry["recipients"]}) == sorted(f"patient:{id_}" for id_ in ours)
    assert len(seen) == 6
    assert {entry["kind"] for entry in seen} == {"address", "consent"}
    assert (await desk("GET", "/v1/clinics/c2/suppressions")).status == 404
    assert (await desk("GET", path + "&after=rubbish")).fields == ["after"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"reason": "opted_out"}, "reason"),
        ({"reason": "manual", "channel": "push"}, "channel"),
        ({"reason": "manual", "channel": "sms", "addressId": "0" * 32}, "addressId"),
        ({"reason": "manual", "addressId": "0" * 32}, "channel"),
        ({"reason": "manual", "expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
    ],
)
async def test_what_cannot_be_suppressed(
    api: Api, pool: Pool, records: Records, body: dict[str, Any], field: str
) -> None:
    id_ = await patient(pool, records)
    reply = await api.caller("staff", "s1", CLINIC)("POST", of(id_), body)
    assert (reply.status, reply.fields) == (422, [field])
    assert (await api.caller("patient", id_)("POST", of(id_), body)).status == 404
