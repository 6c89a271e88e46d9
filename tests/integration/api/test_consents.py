"""Consents over HTTP: the six, their history, and the gates that they shut."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.kafka import read_to_end
from connectors.postgres.pool import Pool
from connectors.postgres.recipient_columns import consent_types
from connectors.postgres.records import Records
from connectors.settings import Settings
from schemas.topics import GATES
from tests.integration.api.conftest import Api
from tests.integration.api.people import CLINIC, PHONE, patient

pytestmark = pytest.mark.integration


def of(id_: str, *steps: str) -> str:
    return "/".join(["/v1/recipients", id_, "consents", *steps])


def gate(settings: Settings, key: str) -> bool:
    """Whether a gate is shut, as sinks see it."""
    shut = False
    for message in read_to_end(settings, [GATES]):
        if message.key() == key.encode():
            shut = message.value() is not None
    return shut


@pytest.mark.usefixtures("relay")
async def test_granted_revoked_and_granted_again(api: Api, pool: Pool, records: Records, settings: Settings) -> None:
    id_ = await patient(pool, records)
    jane, desk = api.caller("patient", id_), api.caller("staff", "s1", CLINIC)
    found = await jane("GET", of("me"))
    assert [one["consentType"] for one in found.json["consents"]] == list(consent_types())
    assert {one["status"] for one in found.json["consents"]} == {None}
    key = f"consent:patient:{id_}:sms_marketing"

    pending = await desk("PUT", of(id_, "sms_marketing"), {"status": "pending", "method": "verbal"})
    assert (pending.status, pending.json["status"], pending.json["version"]) == (200, "pending", 1)
    wanted = {"status": "opted_in", "textVersion": "2026-1", "source": "portal", "address": PHONE}
    granted = await jane("PUT", of(id_, "sms_marketing"), wanted)
    assert (granted.status, granted.json["version"], granted.json["updatedBy"]) == (200, 2, f"patient:{id_}")
    assert not gate(settings, key)
    assert (await jane("DELETE", of(id_, "sms_marketing"))).json["status"] == "opted_out"
    assert gate(settings, key)
    again = await jane("DELETE", of(id_, "sms_marketing"))
    assert (again.status, again.json["version"]) == (200, 3)  # said already: nothing is appended
    await jane("PUT", of(id_, "sms_marketing"), wanted)
    assert not gate(settings, key)

    history = await desk("GET", of(id_, "history"))
    told = [(one["status"], one["textVersion"], one["updatedBy"]) for one in history.json["entries"]]
    assert told == [
        ("opted_in", "2026-1", f"patient:{id_}"),
        ("opted_out", "", f"patient:{id_}"),
        ("opted_in", "2026-1", f"patient:{id_}"),
        ("pending", "", "staff:s1"),
    ]
    assert history.json["entries"][0]["addressHash"] == records.ring.address_hash("sms", PHONE)
    assert PHONE not in str(history.json)
    first = await desk("GET", of(id_, "history") + "?limit=3")
    rest = await desk("GET", of(id_, "history") + f"?limit=3&before={first.json['next']}")
    assert [*first.json["entries"], *rest.json["entries"]] == history.json["entries"]
    assert rest.json["next"] is None


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize(
    ("consent_type", "body", "field"),
    [
        ("sms_marketing", {"status": "opted_in"}, "textVersion"),
        ("sms_marketing", {"status": "maybe"}, "status"),
        ("sms_marketing", {}, "status"),
        ("sms_marketing", {"status": "opted_out", "method": "written"}, "method"),
        ("sms_marketing", {"status": "opted_out", "consentDate": "2020-01-01T00:00:00Z"}, "consentDate"),
        ("sms_marketing", {"status": "opted_out", "expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
        ("sms_marketing", {"status": "opted_out", "expiresAt": "2020-01-01"}, "expiresAt"),
        ("sms_marketing", {"status": "opted_out", "address": "not a number"}, "address"),
        ("push_notifications", {"status": "opted_out", "address": PHONE}, "address"),
    ],
)
async def test_what_cannot_be_said(
    api: Api, pool: Pool, records: Records, consent_type: str, body: dict[str, Any], field: str
) -> None:
    id_ = await patient(pool, records)
    reply = await api.caller("patient", id_)("PUT", of(id_, consent_type), body)
    assert (reply.status, reply.fields) == (422, [field])


async def test_others_and_other_types_are_not_found(api: Api, pool: Pool, records: Records) -> None:
    id_ = await patient(pool, records)
    jane = api.caller("patient", id_)
    replies = [
        await jane("PUT", of(id_, "fax"), {"status": "opted_out"}),
        await jane("DELETE", of("other", "sms_marketing")),
        await api.caller("staff", "s1", "c2")("GET", of(id_, "history")),
        await api.caller("provider", "d1", CLINIC)("DELETE", of(id_, "sms_marketing")),
    ]
    assert {reply.status for reply in replies} == {404}
    assert (await jane("GET", of(id_, "history") + "?limit=0")).fields == ["limit"]
