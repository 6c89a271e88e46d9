"""Devices over HTTP: registered by the app, one person's at a time, removed at sign-out."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from api.devices import MAX_DEVICES
from connectors.postgres.pool import Pool
from connectors.postgres.recipients import get_many
from connectors.postgres.records import Records
from tests.integration.api.conftest import Api
from tests.integration.api.people import CLINIC, patient

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("relay")]

TOKEN = "cInst4llation-Id_22chr:APA91bH-secret"


def of(id_: str, *steps: str) -> str:
    return "/".join(["/v1/recipients", id_, "devices", *steps])


async def tokens(pool: Pool, records: Records, id_: str) -> list[str]:
    async with pool.connection() as connection:
        stored = (await get_many(connection, records, [f"patient:{id_}"]))[f"patient:{id_}"]
    return [device["token"] for device in stored.content["devices"]]


async def test_registered_read_and_removed_and_the_token_is_never_served(
    api: Api, pool: Pool, records: Records
) -> None:
    id_ = await patient(pool, records)
    jane = api.caller("patient", id_)
    made = await jane("POST", of("me"), {"token": TOKEN, "platform": "ios"})
    assert (made.status, made.json["platform"]) == (200, "ios")
    assert await tokens(pool, records, id_) == [TOKEN]
    read = await jane("GET", of("me"))
    assert read.json == {"devices": [made.json]}
    assert "APA91" not in str(read.json)
    assert (await jane("DELETE", of("me", made.json["id"]))).status == 204
    assert (await jane("DELETE", of("me", made.json["id"]))).status == 204
    assert (await jane("GET", of("me"))).json == {"devices": []}


async def test_an_app_that_registers_at_each_start_makes_no_version_of_it(
    api: Api, pool: Pool, records: Records
) -> None:
    jane = api.caller("patient", await patient(pool, records))
    first = await jane("POST", of("me"), {"token": TOKEN + "1", "platform": "web"})
    again = await jane("POST", of("me"), {"token": TOKEN + "1", "platform": "web"})
    assert (again.status, again.json) == (200, first.json)


async def test_a_device_shows_the_messages_of_whoever_signed_in_last(api: Api, pool: Pool, records: Records) -> None:
    mother, daughter = await patient(pool, records), await patient(pool, records)
    shared = {"token": TOKEN + "shared", "platform": "android"}
    assert (await api.caller("patient", mother)("POST", of("me"), shared)).status == 200
    assert (await api.caller("patient", daughter)("POST", of("me"), shared)).status == 200
    assert await tokens(pool, records, mother) == []
    assert await tokens(pool, records, daughter) == [shared["token"]]


async def test_the_device_registered_longest_ago_makes_room(api: Api, pool: Pool, records: Records) -> None:
    old = [
        {"token": f"old-{n}:secret", "platform": "ios", "registered_at": datetime.now(UTC) - timedelta(days=30 - n)}
        for n in range(MAX_DEVICES)
    ]
    id_ = await patient(pool, records, devices=old)
    await api.caller("patient", id_)("POST", of("me"), {"token": TOKEN, "platform": "ios"})
    kept = await tokens(pool, records, id_)
    assert (len(kept), kept[-1], "old-0:secret" in kept) == (MAX_DEVICES, TOKEN, False)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"token": "has a space in it", "platform": "ios"}, "token"),
        ({"token": TOKEN, "platform": "fax"}, "platform"),
        ({"token": TOKEN}, "platform"),
    ],
)
async def test_what_is_no_device_is_refused_by_name(
    api: Api, pool: Pool, records: Records, body: dict[str, str], field: str
) -> None:
    reply = await api.caller("patient", await patient(pool, records))("POST", of("me"), body)
    assert (reply.status, reply.fields) == (422, [field])
    assert "space in it" not in str(reply.json)


async def test_nobody_else_sees_or_changes_them(api: Api, pool: Pool, records: Records) -> None:
    id_, other = await patient(pool, records), await patient(pool, records)
    body = {"token": TOKEN, "platform": "ios"}
    stranger = api.caller("patient", other)
    desk = api.caller("staff", "desk", CLINIC)
    assert (await desk("POST", of(id_), body)).status == 404  # not even staff has somebody's messages sent to a device
    assert (await desk("GET", of(id_))).status == 200
    assert (await stranger("GET", of(id_))).status == 404
    assert (await stranger("POST", of(id_), body)).status == 404
    assert await tokens(pool, records, id_) == []


async def test_of_two_who_register_a_device_at_once_only_one_has_it(api: Api, pool: Pool, records: Records) -> None:
    people = [await patient(pool, records) for _ in range(4)]
    shared = {"token": TOKEN + "raced", "platform": "ios"}
    for _ in range(5):
        replies = await asyncio.gather(*(api.caller("patient", one)("POST", of("me"), shared) for one in people))
        assert {reply.status for reply in replies} == {200}
        assert sorted([len(await tokens(pool, records, one)) for one in people]) == [0, 0, 0, 1]
