"""Addresses over HTTP: added, verified by a code that goes through our own pipeline, removed."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import psycopg
import pytest

from connectors.kafka import read_to_end
from connectors.postgres.address_codes import MAX_ATTEMPTS, MAX_SENT_A_DAY
from connectors.postgres.pool import Pool
from connectors.postgres.recipients import get_many
from connectors.postgres.records import Records
from connectors.settings import Settings
from schemas.events import EVENT_TYPES
from tests.integration.api.conftest import Api, Caller
from tests.integration.api.people import EMAIL, PHONE, patient

pytestmark = pytest.mark.integration

NEW = "+15551239876"


def of(id_: str, *steps: str) -> str:
    return "/".join(["/v1/recipients", id_, "addresses", *steps])


def events(settings: Settings, records: Records, id_: str) -> list[dict[str, Any]]:
    """What was asked of the pipeline for somebody, by time: each lies on its own request's partition."""
    decoded = [
        records.codec.decode(message.value()).value
        for message in read_to_end(settings, [EVENT_TYPES["notification.requested"].topic])
    ]
    theirs = [event for event in decoded if event.get("recipient") == f"patient:{id_}"]
    return sorted(theirs, key=itemgetter("occurred_at"))


def a_minute_later(settings: Settings) -> None:
    with psycopg.connect(settings.postgres_dsn.get_secret_value()) as connection:
        connection.execute("UPDATE address_codes SET sent_at = sent_at - interval '61 seconds'")


async def added(caller: Caller, id_: str, address: str = NEW) -> str:
    reply = await caller("POST", of(id_), {"channel": "sms", "address": address})
    assert reply.status == 201, reply.json
    assert (reply.json["verified"], bool(reply.json["codeExpiresAt"])) == (False, True)
    return str(reply.json["id"])


@pytest.mark.usefixtures("relay")
async def test_added_verified_and_removed(api: Api, pool: Pool, records: Records, settings: Settings) -> None:
    id_ = await patient(pool, records)
    jane = api.caller("patient", id_)
    assert [one["address"] for one in (await jane("GET", of("me"))).json["addresses"]] == [PHONE, EMAIL]
    hash_ = await added(jane, id_)
    assert NEW not in hash_
    event = events(settings, records, id_)[-1]
    assert (event["notification_type"], event["data"]["channel"], event["data"]["address"]) == (
        "address_verification",
        "sms",
        NEW,
    )
    wrong = await jane(
        "POST", of(id_, hash_, "confirm"), {"code": "000000" if event["data"]["code"] != "000000" else "1"}
    )
    assert (wrong.status, wrong.fields) == (422, ["code"])
    right = await jane("POST", of(id_, hash_, "confirm"), {"code": event["data"]["code"]})
    assert (right.status, right.json["verified"]) == (200, True)
    async with pool.connection() as connection:
        stored = (await get_many(connection, records, [f"patient:{id_}"]))[f"patient:{id_}"]
    assert [(phone["e164"], phone["verified"]) for phone in stored.content["phones"]] == [(PHONE, True), (NEW, True)]
    # There already: nothing is sent, and a code is needed no more.
    again = await jane("POST", of(id_), {"channel": "sms", "address": NEW})
    assert (again.status, again.json["codeExpiresAt"]) == (200, None)
    assert len(events(settings, records, id_)) == 1
    assert (await jane("DELETE", of(id_, hash_))).status == 204
    assert (await jane("DELETE", of(id_, hash_))).status == 204
    assert (await jane("POST", of(id_, hash_, "confirm"), {"code": event["data"]["code"]})).status == 404


@pytest.mark.usefixtures("relay")
async def test_codes_are_bounded_in_tries_number_and_time(
    api: Api, pool: Pool, records: Records, settings: Settings
) -> None:
    id_ = await patient(pool, records)
    jane = api.caller("patient", id_)
    hash_ = await added(jane, id_)
    code = events(settings, records, id_)[-1]["data"]["code"]
    not_it = f"{(int(code) + 1) % 1_000_000:06}"
    for _ in range(MAX_ATTEMPTS):
        assert (await jane("POST", of(id_, hash_, "confirm"), {"code": not_it})).status == 422
    spent = await jane("POST", of(id_, hash_, "confirm"), {"code": code})
    assert (spent.status, spent.json["errors"][0]["mend"]) == (422, "ask for a new code")

    early = await jane("POST", of(id_, hash_, "code"))
    assert (early.status, 0 < int(early.headers["Retry-After"]) <= 60) == (429, True)
    a_minute_later(settings)
    assert (await jane("POST", of(id_, hash_, "code"))).status == 200
    first, second = events(settings, records, id_)
    assert (first["data"]["code"], first["occurred_at"] < second["occurred_at"]) == (code, True)
    newest = second["data"]["code"]
    with psycopg.connect(settings.postgres_dsn.get_secret_value()) as connection:
        row = connection.execute("SELECT code_hash FROM address_codes").fetchone()
        assert row is not None
        assert newest.encode() not in bytes(row[0])
        connection.execute("UPDATE address_codes SET expires_at = now()")
    assert (await jane("POST", of(id_, hash_, "confirm"), {"code": newest})).status == 422
    for _ in range(MAX_SENT_A_DAY - 2):
        a_minute_later(settings)
        assert (await jane("POST", of(id_, hash_, "code"))).status == 200
    a_minute_later(settings)
    assert (await jane("POST", of(id_, hash_, "code"))).status == 429


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"channel": "sms", "address": "5551234"}, "address"),
        ({"channel": "email", "address": "a@b"}, "address"),
        ({"channel": "fax", "address": NEW}, "channel"),
        ({"channel": "sms"}, "address"),
        ({"channel": "sms", "address": NEW, "verified": True}, "verified"),
    ],
)
async def test_what_is_no_address(api: Api, pool: Pool, records: Records, body: dict[str, Any], field: str) -> None:
    id_ = await patient(pool, records)
    reply = await api.caller("patient", id_)("POST", of(id_), body)
    assert (reply.status, reply.fields) == (422, [field])


@pytest.mark.usefixtures("relay")
async def test_nobody_adds_to_or_verifies_anothers(api: Api, pool: Pool, records: Records, settings: Settings) -> None:
    id_, other = await patient(pool, records), await patient(pool, records)
    hash_ = await added(api.caller("patient", id_), id_)
    code = events(settings, records, id_)[-1]["data"]["code"]
    mallory = api.caller("patient", other)
    assert (await mallory("POST", of(id_), {"channel": "sms", "address": NEW})).status == 404
    assert (await mallory("POST", of(id_, hash_, "confirm"), {"code": code})).status == 404
    assert (await mallory("POST", of(other, hash_, "confirm"), {"code": code})).status == 404
    # Nor does a code for one person verify the same number for another.
    await added(mallory, other)
    assert (await mallory("POST", of(other, hash_, "confirm"), {"code": code})).status == 422
