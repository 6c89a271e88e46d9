"""Preferences over HTTP: field for field, one version at a time, in Kafka before the answer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.preference_model import Preferences
from connectors.kafka import read_to_end
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from schemas.topics import RECIPIENTS
from tests.integration.api.conftest import Api, api_on
from tests.integration.api.people import CLINIC, EMAIL, PHONE, patient
from tests.integration.stores import relaying

pytestmark = pytest.mark.integration

MERGE = "application/merge-patch+json"


def of(id_: str) -> str:
    return f"/v1/recipients/{id_}/preferences"


def in_kafka(settings: Settings, records: Records, id_: str) -> dict[str, Any]:
    """The recipient's newest content in Kafka, opened as a stream would."""
    newest: dict[str, Any] | None = None
    for message in read_to_end(settings, [RECIPIENTS]):
        key, value = message.key(), message.value()
        if key == f"patient:{id_}".encode() and value is not None:
            newest = records.codec.decode(value).value
    assert newest is not None
    data_key = records.keys.get(newest["wrapped_key"], f"patient:{id_}", newest["clinic_id"])
    return records.decode_content(records.open_content(data_key, f"patient:{id_}", newest["sealed"]))


@pytest.mark.usefixtures("relay")
async def test_a_patient_reads_changes_and_finds_it_in_kafka(
    api: Api, pool: Pool, records: Records, settings: Settings
) -> None:
    id_ = await patient(pool, records)
    jane = api.caller("patient", id_)
    found = await jane("GET", of("me"))
    assert found.status == 200
    assert found.json["patientId"] == id_
    assert found.json["ours"]["asked"] is False
    assert found.json["channels"]["sms"]["phoneNumber"] == PHONE
    assert found.json["channels"]["email"] | {"optIn": None} == {
        "enabled": True,
        "emailAddress": EMAIL,
        "verified": True,
        "optIn": None,
    }
    quiet_until = datetime.now(UTC) + timedelta(days=30)
    changed = await jane(
        "PATCH",
        of(id_),
        {
            "channels": {"sms": {"optIn": {"marketing": True}}},
            "quietHours": {"enabled": True, "start": "21:00", "timezone": "America/Los_Angeles"},
            "language": "es-MX",
            "doNotDisturb": {"enabled": True, "until": f"{quiet_until + timedelta(hours=1):%FT%T}.123456+01:00"},
        },
        content_type=MERGE,
        If_Match=found.etag,
    )
    assert changed.status == 200, changed.json
    assert changed.json["updatedBy"] == f"patient:{id_}"
    assert changed.json["doNotDisturb"] == {"enabled": True, "until": f"{quiet_until:%FT%T}.123000Z"}
    content = in_kafka(settings, records, id_)
    assert content["locale"] == "es-MX"
    assert content["preferences"]["sms_opt_in"]["marketing"] is True
    assert content["preferences"]["quiet_hours"]["start"] == "21:00"
    assert content["preferences"]["quiet_hours"]["end"] == "08:00"
    again = await jane("GET", of(id_))
    assert (again.json, again.etag) == (changed.json, changed.etag)
    assert (await jane("GET", of(id_), If_None_Match=changed.etag)).status == 304
    back = await jane("PATCH", of(id_), {"doNotDisturb": None}, content_type=MERGE, If_Match=changed.etag)
    assert back.json["doNotDisturb"] == {"enabled": False, "until": None}


@pytest.mark.usefixtures("relay")
async def test_every_field_survives_a_round_trip(api: Api, pool: Pool, records: Records) -> None:
    """What is read may be sent back; and every field that may be changed is stored as it was sent."""
    id_ = await patient(pool, records)
    jane = api.caller("patient", id_)
    found = await jane("GET", of(id_))
    sent = _opposite(found.json)
    changed = await jane("PUT", of(id_), sent, If_Match=found.etag)
    assert changed.status == 200, changed.json
    served = {**changed.json, "updatedAt": None, "updatedBy": ""}
    assert served == {**sent, "ours": sent["ours"] | {"asked": True}}
    same = await jane("PUT", of(id_), changed.json, If_Match=changed.etag)
    assert (same.json, same.etag) == (changed.json, changed.etag)


def _opposite(document: dict[str, Any]) -> dict[str, Any]:
    """Every wish turned around; what is read only stays."""
    flipped = {
        **document,
        "globalOptOut": True,
        "channels": {
            name: {
                **channel,
                **{field: not value for field, value in channel.items() if field in ("enabled", "desktop", "sound")},
                **(
                    {"optIn": {f: f == "transactional" or not value for f, value in channel["optIn"].items()}}
                    if "optIn" in channel
                    else {}
                ),
            }
            for name, channel in document["channels"].items()
        },
        "quietHours": {
            **{"enabled": True, "start": "20:15", "end": "07:45", "timezone": "Europe/Madrid"},
            **{"applyToAllChannels": False, "exceptions": ["critical", "appointment_reminders"]},
        },
        "frequency": {"marketing": "monthly", "reviews": "never", "followUps": "important_only"},
        "categories": {name: not value for name, value in document["categories"].items()},
        "language": "es-ES",
        "doNotDisturb": {"enabled": True, "until": None},
        "ours": document["ours"]
        | {
            **{"channelOrder": ["email", "sms"], "quietWeekdays": [1, 5]},
            **{"digest": {"categories": ["treatments", "appointments"], "hour": 18}},
        },
    }
    assert set(flipped) == set(Preferences().model_dump(by_alias=True))
    return flipped


@pytest.mark.usefixtures("relay")
async def test_a_change_names_the_version_that_it_changes(api: Api, pool: Pool, records: Records) -> None:
    id_ = await patient(pool, records)
    jane = api.caller("patient", id_)
    first = await jane("GET", of(id_))
    out = {"globalOptOut": True}
    assert (await jane("PATCH", of(id_), out, content_type=MERGE)).status == 428
    second = await jane("PATCH", of(id_), out, content_type=MERGE, If_Match=first.etag)
    assert second.status == 200
    stale = await jane("PATCH", of(id_), {"language": "en-US"}, content_type=MERGE, If_Match=first.etag)
    assert (stale.status, stale.headers["ETag"]) == (412, second.etag)
    # A repeat of what was done already is done, though the version has moved on.
    assert (await jane("PATCH", of(id_), out, content_type=MERGE, If_Match=first.etag)).status == 200
    anyway = await jane("PATCH", of(id_), {"language": "en-US"}, content_type=MERGE, If_Match="*")
    assert anyway.status == 200


@pytest.mark.usefixtures("relay")
async def test_of_two_writers_at_once_one_wins_and_the_other_is_told(api: Api, pool: Pool, records: Records) -> None:
    id_ = await patient(pool, records)
    jane = api.caller("patient", id_)
    for number in range(5):
        etag = (await jane("GET", of(id_))).etag
        replies = await asyncio.gather(
            *(
                jane("PATCH", of(id_), {"language": f"e{letter}-{number:03}"}, content_type=MERGE, If_Match=etag)
                for letter in "abcdef"
            )
        )
        assert sorted(reply.status for reply in replies) == [200, 412, 412, 412, 412, 412]
        won = next(reply for reply in replies if reply.status == 200)
        assert (await jane("GET", of(id_))).json == won.json


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"quietHours": {"timezone": "Mars/Olympus"}}, "quietHours.timezone"),
        ({"quietHours": {"enabled": True, "start": "22:00", "end": "22:00"}}, "quietHours.end"),
        ({"quietHours": {"start": "25:00"}}, "quietHours.start"),
        ({"quietHours": {"exceptions": ["critical", "critical"]}}, "quietHours.exceptions"),
        ({"quietHours": {"exceptions": ["No Such"]}}, "quietHours.exceptions.0"),
        ({"quietHours": {"exceptions": ["critical", "apointment_reminders"]}}, "quietHours.exceptions.1"),
        ({"ours": {"digest": {"categories": ["marketing"]}}}, "ours.digest.categories.0"),
        ({"ours": {"digest": {"categories": ["financial", "financial"]}}}, "ours.digest.categories"),
        ({"ours": {"digest": {"hour": 24}}}, "ours.digest.hour"),
        ({"channels": {"sms": {"optIn": {"transactional": False}}}}, "channels.sms.optIn.transactional"),
        ({"channels": {"sms": {"phoneNumber": "+15550009999"}}}, "channels.sms.phoneNumber"),
        ({"channels": {"sms": {"verified": False}}}, "channels.sms.verified"),
        ({"channels": {"fax": {"enabled": True}}}, "channels.fax"),
        ({"doNotDisturb": {"until": "2030-01-01T00:00:00Z"}}, "doNotDisturb.until"),
        ({"doNotDisturb": {"enabled": True, "until": "2020-01-01T00:00:00Z"}}, "doNotDisturb.until"),
        ({"doNotDisturb": {"enabled": True, "until": "2999-01-01T00:00:00Z"}}, "doNotDisturb.until"),
        ({"doNotDisturb": {"enabled": True, "until": "tomorrow"}}, "doNotDisturb.until"),
        ({"frequency": {"marketing": "hourly"}}, "frequency.marketing"),
        ({"globalOptOut": "yes"}, "globalOptOut"),
        ({"language": "klingon!"}, "language"),
        ({"ours": {"channelOrder": ["sms", "sms"]}}, "ours.channelOrder"),
        ({"ours": {"quietWeekdays": [0]}}, "ours.quietWeekdays.0"),
        ({"consentRecorded": True}, "consentRecorded"),
        ({"updatedBy": "somebody"}, "updatedBy"),
        ({"patientId": "other"}, "patientId"),
        ({"secret": "Jane Roe"}, "secret"),
    ],
)
async def test_a_document_that_cannot_be_names_field_and_mend(
    api: Api, pool: Pool, records: Records, patch: dict[str, Any], field: str
) -> None:
    id_ = await patient(pool, records)
    jane = api.caller("patient", id_)
    before = await jane("GET", of(id_))
    reply = await jane("PATCH", of(id_), patch, content_type=MERGE, If_Match=before.etag)
    assert (reply.status, reply.fields) == (422, [field])
    assert reply.json["errors"][0]["mend"]
    assert "Roe" not in str(reply.json)
    assert (await jane("GET", of(id_))).json == before.json


async def test_nobody_learns_what_is_not_theirs(api: Api, pool: Pool, records: Records) -> None:
    """The same answer for what does not exist, for another clinic's, and for a role without the right."""
    id_ = await patient(pool, records)
    assert (await api.stranger()("GET", of(id_))).status == 401
    refused = [
        await api.caller("patient", "other")("GET", of(id_)),
        await api.caller("patient", "other")("GET", of("nobody")),
        await api.caller("staff", "s1", "c2")("GET", of(id_)),
        await api.caller("staff", "s1", "c2")("GET", of("nobody")),
        await api.caller("staff", "s1", "c2")("PATCH", of(id_), {}, content_type=MERGE, If_Match="*"),
        await api.caller("staff", "s1", "c2")("PATCH", of("nobody"), {}, content_type=MERGE, If_Match="*"),
        await api.caller("inventory_manager", "i", CLINIC)("GET", of(id_)),
        await api.caller("marketing", "m", CLINIC)("GET", of(id_)),
        await api.caller("provider", "d", CLINIC)("PATCH", of(id_), {}, content_type=MERGE, If_Match="*"),
        await api.caller("staff", "s1", CLINIC)("GET", of("%00")),
        await api.caller("staff", "s1", CLINIC)("GET", of("a:b:c")),
    ]
    assert {reply.status for reply in refused} == {404}
    assert len({str(reply.json | {"requestId": ""}) for reply in refused}) == 1
    assert (await api.caller("staff", "s1", CLINIC)("GET", of(id_))).status == 200
    assert (await api.caller("service", "x", "*")("GET", of(id_))).status == 200
    assert (await api.caller("service", "x", "*")("GET", of("me"))).status == 404


async def test_without_a_relay_a_write_is_not_yet_in_force_and_its_repeat_waits_for_it(
    pool: Pool, records: Records, settings: Settings, api: Api
) -> None:
    id_ = await patient(pool, records)
    out = {"globalOptOut": True}
    async with api_on(settings.model_copy(update={"api_in_force_seconds": 2.0})) as hasty:
        jane = hasty.caller("patient", id_)
        etag = (await jane("GET", of(id_))).etag
        reply = await jane("PATCH", of(id_), out, content_type=MERGE, If_Match=etag)
        assert (reply.status, int(reply.headers["Retry-After"]) > 0) == (503, True)
        assert "safe to send it again" in reply.json["detail"]
        # Stored, and yet not answered as done.
        assert (await jane("PATCH", of(id_), out, content_type=MERGE, If_Match=etag)).status == 503
    jane = api.caller("patient", id_)
    with relaying(settings):
        assert (await jane("PATCH", of(id_), out, content_type=MERGE, If_Match=etag)).status == 200
        assert in_kafka(settings, records, id_)["preferences"]["global_opt_out"] is True


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{}", "text/plain", 415),
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 50 + b"]" * 50, "application/json", 422),
        (b"[]", "application/json", 422),
        (b"null", "application/json", 422),
        (b'{"language": "\\u0000"}', "application/json", 422),
        (b'"' + b"x" * 300_000 + b'"', "application/json", 413),
    ],
)
async def test_bodies_that_are_none(
    api: Api, pool: Pool, records: Records, body: bytes, content_type: str, status: int
) -> None:
    id_ = await patient(pool, records)
    reply = await api.caller("patient", id_)("PUT", of(id_), body, content_type=content_type, If_Match="*")
    assert reply.status == status
    assert reply.headers["Content-Type"].startswith("application/problem+json")
