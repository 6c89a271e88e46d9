"""What-if over HTTP, and that it says what the pipeline would decide."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from connectors.postgres import gates, policies
from connectors.postgres.gates import Suppression, address_gate
from connectors.postgres.pool import Pool
from connectors.postgres.recipients import get_many
from connectors.postgres.records import Records
from connectors.sealing import KeyCache, seal
from schemas.ids import notification_id
from schemas.topics import GATES, POLICIES, RECIPIENTS, event_topic
from streams.catalog import Catalog
from streams.joins import Joins
from streams.requests import Requests
from streams.rules.decision import Defer, decide
from streams.tables import Clinics, Gates, Recipients
from streams.what_if import Question, what_if
from tests.integration.api.conftest import Api
from tests.integration.api.people import CLINIC, PHONE, patient

pytestmark = pytest.mark.integration

CATALOG = Catalog.load()
POLICY = {
    "clinic_id": CLINIC,
    "name": "Luxe",
    "time_zone": "America/New_York",
    "quiet_hours": {"start": "20:00", "end": "09:00", "exceptions": ["critical"]},
    "disabled_types": ["review_request"],
    "disabled_channels": ["push"],
}
QUIET = {
    **{"enabled": True, "start": "21:30", "end": "07:00", "time_zone": "America/Chicago"},
    **{"apply_to_all_channels": False, "exceptions": []},
}


def preferring(**changes: Any) -> dict[str, Any]:
    """Preferences of somebody who was never asked, but for these."""
    return {"preferences": {"sms_opt_in": {}, "email_opt_in": {}, "push_opt_in": {}, **changes}}


WISHES: list[dict[str, Any]] = [
    {},
    preferring(quiet_hours=QUIET),
    preferring(global_opt_out=True),
    preferring(sms_enabled=False, channel_order=["email", "sms"]),
    {"phones": [{"e164": PHONE, "verified": False}]},
    {
        "consents": [
            {
                **{"consent_type": name, "status": status, "consent_date": datetime(2026, 1, 1, tzinfo=UTC)},
                **{"method": "written", "source": "form"},
            }
            for name, status in (("sms_transactional", "opted_out"), ("email_marketing", "opted_in"))
        ]
    },
]


EVENT: dict[str, Any] = {
    "event_id": "00000000-0000-4000-8000-000000000001",
    "event_type": "appointment.checked_in",
    "occurred_at": datetime(2026, 1, 1, tzinfo=UTC),
    "source": "test",
    "clinic_id": CLINIC,
    "aggregate_id": "A-1",
    "aggregate_version": 1,
    "appointment_id": "A-1",
    "patient_id": "1",
    "patient_name": "Jane Doe",
    "appointment_date": date(2026, 1, 2),
    "appointment_time": "09:00",
    "service": "Peel",
    "provider": "Dr. Chen",
    "provider_id": "d-1",
    "checked_in_at": datetime(2026, 1, 1, tzinfo=UTC),
}


async def set_up(pool: Pool, records: Records) -> None:
    async with pool.connection() as connection:
        await policies.put(connection, records, {**POLICY, "clinic_id": "*", "disabled_types": []}, "test")
        await policies.put(connection, records, POLICY, "test")


async def published(pool: Pool, topic: str) -> dict[bytes, bytes]:
    """What the relay publishes: the newest record of each key, as the pipeline's views hold it."""
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT key, value FROM outbox WHERE topic = %s ORDER BY id", (topic,))
        rows: Mapping[bytes, bytes | None] = dict(await cursor.fetchall())
    return {key: value for key, value in rows.items() if value is not None}


async def test_it_says_what_the_pipeline_would_decide(pool: Pool, records: Records) -> None:
    """Over every type for patients, wishes of many kinds, and the hours of two days: the same verdicts, versions and times."""
    await set_up(pool, records)
    ids = [await patient(pool, records, **content) for content in WISHES]
    stop = address_gate("sms", "marketing", records.ring.address_hash("sms", PHONE))
    async with pool.connection() as connection:
        await gates.put(connection, records, [Suppression(stop, "opted_out", "webhook")])
    keys = KeyCache(records.ring)
    clinics = Clinics(await published(pool, POLICIES), records.codec, keys)
    people = Recipients(await published(pool, RECIPIENTS), records.codec, keys, records.ring)
    joins = Joins(
        Requests(CATALOG, records.codec, clinics),
        people,
        clinics,
        Gates(await published(pool, GATES), records.codec),
        {name: kind.sender_class for name, kind in CATALOG.types.items()},
        records.ring,
    )
    types = [kind for kind in CATALOG.types.values() if kind.recipient_kind == "patient" and not kind.answers]
    midnight = datetime.now(UTC).replace(hour=0, minute=10, second=0, microsecond=0) + timedelta(days=3)
    outcomes = set()
    for number, id_ in enumerate(ids):
        key = f"patient:{id_}"
        async with pool.connection() as connection:
            (found,) = (await get_many(connection, records, [key])).values()
            for place, kind in enumerate(types):
                at = midnight + timedelta(hours=(place * 7 + number) % 48)
                (foretold,) = await what_if(connection, records, CATALOG, found, Question(at, kind.name))
                request = a_request(records, people, key, kind.name)
                now_ms = round(at.timestamp() * 1000)
                decided = decide(joins.of(request, None, now_ms).given)
                outcomes.add(type(decided).__name__)
                until = foretold.decision.until
                assert [tuple(rule) for rule in foretold.decision.rules] == [tuple(rule) for rule in decided.verdicts]
                assert (until is not None) == isinstance(decided, Defer)
                if isinstance(decided, Defer) and until is not None:
                    assert round(until.timestamp() * 1000) == decided.until_ms
                assert foretold.decision.recipient_version == found.version
    assert outcomes == {"Deliver", "Defer", "Suppress"}


def a_request(records: Records, people: Recipients, key: str, kind: str) -> dict[str, Any]:
    """What intake would make of an event for them; its id ends so that nothing is spread over the minutes after a window."""
    known = people.get(key)
    assert known is not None
    id_ = notification_id(EVENT["event_id"], kind, key, 0)[:-4] + "0000"
    wire = records.codec.encode(event_topic(EVENT["event_type"]), "luxe.events.AppointmentCheckedIn", EVENT)
    return {
        **{
            "notification_id": id_,
            "notification_type": kind,
            "recipient": key,
            "clinic_id": CLINIC,
            "expires_at": None,
        },
        **{"aggregate_type": "appointment", "aggregate_id": "A-1", "aggregate_version": 1, "occurrence": 0},
        "sealed": seal(known.key, "NotificationRequest", id_, wire),
    }


@pytest.mark.usefixtures("relay")
async def test_over_http(api: Api, pool: Pool, records: Records) -> None:
    await set_up(pool, records)
    id_ = await patient(pool, records, time_zone="America/Chicago", **preferring(quiet_hours=QUIET))
    saturday = datetime.now(UTC).date() + timedelta(days=(5 - datetime.now(UTC).weekday()) % 7 or 7)
    asked = {"notificationType": "appointment_reminder_24h", "at": f"{saturday}T22:10:00"}
    own = api.caller("patient", id_)
    answer = await own("POST", "/v1/recipients/me/what-if", asked)
    assert answer.status == 200, answer.json
    (found,) = answer.json["answers"]
    assert found["timeZone"] == "America/Chicago"
    in_chicago = datetime.fromisoformat(asked["at"]).replace(tzinfo=ZoneInfo("America/Chicago"))
    assert datetime.fromisoformat(found["at"]) == in_chicago
    assert found["sentence"].endswith(".")
    assert any("caps" in line for line in answer.json["notConsidered"])
    with_zone = await own("POST", "/v1/recipients/me/what-if", asked | {"at": found["at"]})
    assert with_zone.json["answers"] == answer.json["answers"]
    by_event = {"eventType": "appointment.created", "at": asked["at"]}
    desk = api.caller("staff", "s", CLINIC)
    many = await desk("POST", f"/v1/recipients/{id_}/what-if", by_event)
    assert {one["notificationType"] for one in many.json["answers"]} >= {asked["notificationType"]}
    for stranger in (
        api.caller("patient", "other"),
        api.caller("staff", "s", "c2"),
        api.caller("marketing", "m", CLINIC),
    ):
        assert (await stranger("POST", f"/v1/recipients/{id_}/what-if", asked)).status == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"at": "2026-11-28T22:10:00"}, "(body)"),
        ({"notificationType": "appointment_reminder_24h"}, "at"),
        ({"notificationType": "appointment_reminder_24h", "at": "2006-01-01T00:00:00Z"}, "at"),
        ({"notificationType": "no_such_type", "at": None}, "notificationType"),
        ({"notificationType": "address_verification", "at": None}, "notificationType"),
        ({"eventType": "no.such", "at": None}, "eventType"),
    ],
)
async def test_what_cannot_be_answered(
    api: Api, pool: Pool, records: Records, body: dict[str, Any], field: str
) -> None:
    await set_up(pool, records)
    id_ = await patient(pool, records)
    if "at" in body and body["at"] is None:
        body = body | {"at": datetime.now(UTC).isoformat()}
    refused = await api.caller("patient", id_)("POST", "/v1/recipients/me/what-if", body)
    assert (refused.status, refused.fields) == (422, [field]), refused.json
