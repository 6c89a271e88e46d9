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
from connectors.settings import Settings
from schemas.ids import notification_id
from schemas.topics import GATES, POLICIES, RECIPIENTS, event_topic
from streams.catalog import Catalog
from streams.joins import Joins
from streams.requests import Requests
from streams.rules.decision import Defer, decide
from streams.tables import Clinics, Gates, Recipients
from streams.what_if import Question, what_if
from tests.integration.api.conftest import Api, api_on, clickhouse_with
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
                (foretold,) = await what_if(connection, records, CATALOG, found, Question(at, kind.name), [])
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
    # There is no ClickHouse here: the answer says what it lacks.
    assert found["counted"] is None
    assert any("ClickHouse" in line for line in answer.json["notConsidered"])
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


def sent_rows(recipient: str, at: datetime, *kinds: str, failed: int = 0) -> dict[str, list[dict[str, Any]]]:
    """As ingestion would have it: notifications of these types, sent one minute after the other; the first ``failed`` failed."""
    decisions, statuses, messages = [], [], []
    for number, kind in enumerate(kinds):
        id_, when = f"n-{number}", (at + timedelta(minutes=number)).isoformat()
        about = {"notification_id": id_, "notification_type": kind, "recipient": recipient, "clinic_id": CLINIC}
        steps = [
            {"step": n, "channel": channel, "delivery_id": f"{id_}-{n}", "success": "delivered", "timeout_seconds": 0}
            | {"parallel": n == 1, "template_version": 1}
            for n, channel in enumerate(("sms", "email", "in_app"))
        ]
        decisions.append(
            {**about, "aggregate_id": f"A-{number}", "sequence": 0, "outcome": "deliver", "reason": "deliver"}
            | {"decided_at": when, "occurred_at": when, "steps": steps}
        )
        for step in steps[:2]:
            message = {**about, "delivery_id": step["delivery_id"], "channel": step["channel"], "step": step["step"]}
            messages.append(message | {"created_at": when})
            status = "failed" if number < failed else "delivered"
            told = {"status_id": step["delivery_id"], "status": status, "status_at": when, "recorded_at": when}
            statuses.append(message | told | {"attempt": 1})
    return {"raw_decision": decisions, "raw_channel_message": messages, "raw_delivery_status": statuses}


async def test_what_was_sent_counts(settings: Settings, pool: Pool, records: Records) -> None:
    """Caps, rate limits, gaps between two, and what was told before; what failed gave its place back."""
    await set_up(pool, records)
    limited = {"daily_cap": 4, "messages_per_hour": 5, "category_caps": {"clinical": 2}, "time_zone": "UTC"}
    async with pool.connection() as connection:
        await policies.put(connection, records, POLICY | limited | {"quiet_hours": None}, "test")
    opted = preferring(
        sms_opt_in={"marketing": True}, email_opt_in={"marketing": True, "reviews": True}, frequency_marketing="weekly"
    )
    consents = [
        {"consent_type": name, "status": "opted_in", "consent_date": datetime(2026, 1, 1, tzinfo=UTC)}
        | {"method": "written", "source": "form"}
        for name in ("sms_marketing", "email_marketing")
    ]
    id_ = await patient(pool, records, **opted, consents=consents, time_zone="UTC")
    noon = (datetime.now(UTC) - timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)
    kinds = ("pre_care_24h", "pre_visit_instructions", "win_back", "pre_care_24h")
    with clickhouse_with(settings, sent_rows(f"patient:{id_}", noon, *kinds, failed=1)) as whole:
        async with api_on(whole) as api:

            async def ask(kind: str, at: datetime, **more: str) -> tuple[str, str, Any]:
                body = {"notificationType": kind, "at": at.isoformat(), **more}
                answer = await api.caller("patient", id_)("POST", "/v1/recipients/me/what-if", body)
                assert answer.status == 200, answer.json
                (one,) = answer.json["answers"]
                return one["decision"]["outcome"], one["decision"]["reason"], one["counted"]

            later = noon + timedelta(minutes=10)
            # Three of four arrived, six messages; two of them clinical.
            so_far = {"thatDay": 3, "ofCategory": 2, "messagesThatHour": 6, "lastOfClass": None}
            assert await ask("pre_care_24h", later) == ("defer", "category_cap", so_far)
            outcome, reason, counted = await ask("membership_credits_added", later)
            assert (outcome, reason) != ("deliver", "deliver")
            assert counted["ofCategory"] == 0
            # A day on, nothing of that counts any more, but the gap between two offers.
            outcome, reason, counted = await ask("pre_care_24h", later + timedelta(days=1))
            assert (reason, counted["thatDay"]) == ("deliver", 0)
            outcome, reason, counted = await ask("win_back", later + timedelta(days=1))
            assert (outcome, reason) == ("suppress", "frequency_gap")
            assert datetime.fromisoformat(counted["lastOfClass"]) == noon + timedelta(minutes=2)
            # The same of the same within the hour; of what failed it was not told, nor of anything else.
            assert (await ask("pre_care_24h", later, about="A-3"))[:2] == ("suppress", "duplicate")
            assert (await ask("pre_care_24h", later, about="A-0"))[1] == "category_cap"
            assert (await ask("pre_care_24h", noon - timedelta(minutes=1)))[1] == "deliver"


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
