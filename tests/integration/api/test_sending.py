"""Sending and cancelling over HTTP: once for each key, nothing before Kafka has it, nothing of anybody else's."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

import psycopg
import pytest

from connectors.kafka import read_to_end
from connectors.postgres import deliveries, templates
from connectors.postgres.deliveries import Attempt, Finish
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from schemas.ids import delivery_id, notification_id
from schemas.topics import AGGREGATE_GATES
from streams.render.sources import load_templates
from tests.integration.api.conftest import Api, Caller, Reply, api_on, clickhouse_with
from tests.integration.api.people import CLINIC, patient
from tests.integration.api.test_explanations import Recorded
from tests.integration.stores import relaying

pytestmark = pytest.mark.integration

PATH = "/v1/notifications"
CONFIRMATION = {
    "appointment_date": "2026-12-24",
    "appointment_time": "14:00",
    "provider": "Dr. Smith",
    "service": "Botox",
}
CONFIRMATION |= {"duration": "30"}


async def post(caller: Caller, body: Mapping[str, Any], key: str | None = None) -> Reply:
    return await caller("POST", PATH, dict(body), Idempotency_Key=key or str(uuid.uuid4()))


def free(id_: str, **changes: Any) -> dict[str, Any]:
    return {"recipient": f"patient:{id_}", "message": "Please call us about Thursday."} | changes


def events(settings: Settings, records: Records, recipient: str) -> list[dict[str, Any]]:
    """What was asked of the pipeline for somebody, by time: each lies on its own request's partition."""
    decoded = [records.codec.decode(one.value()).value for one in read_to_end(settings, ["events.notification"])]
    theirs = [event for event in decoded if event["recipient"] == f"patient:{recipient}"]
    return sorted(theirs, key=itemgetter("occurred_at"))


async def with_templates(pool: Pool, records: Records) -> None:
    async with pool.connection() as connection:
        await templates.publish(connection, records, load_templates(), "luxe")


@pytest.mark.usefixtures("relay")
async def test_sent_once_for_each_key(api: Api, pool: Pool, records: Records, settings: Settings) -> None:
    id_ = await patient(pool, records)
    desk = api.caller("staff", "s", CLINIC)
    first = await post(desk, free(id_), "k-1")
    assert first.status == 202, first.json
    again = await post(desk, free(id_), '"k-1"')  # as the draft writes it: the same key
    assert (again.status, again.json) == (202, first.json)
    other = await post(desk, free(id_, message="Something else"), "k-1")
    assert (other.status, other.fields) == (422, ["Idempotency-Key"])
    assert (await post(desk, free(id_), "k-2")).json["notificationId"] != first.json["notificationId"]
    theirs = await post(api.caller("provider", "d", CLINIC), free(id_), "k-1")  # their key, not the desk's
    assert theirs.json["notificationId"] != first.json["notificationId"]

    (event, *others) = events(settings, records, id_)
    assert len(others) == 2
    assert first.headers["Location"] == f"{PATH}/{first.json['notificationId']}"
    assert first.json["notificationId"] == notification_id(event["event_id"], "requested_message", f"patient:{id_}", 0)
    assert (event["message_level"], event["requested_by"], event["clinic_id"]) == (3, "staff:s", CLINIC)


@pytest.mark.usefixtures("relay")
async def test_a_key_whose_memory_is_lost_makes_the_same_event(
    api: Api, pool: Pool, records: Records, settings: Settings
) -> None:
    """The pipeline knows it again by the event's id, and its aggregate's."""
    id_ = await patient(pool, records)
    desk = api.caller("staff", "s", CLINIC)
    first = await post(desk, free(id_), "k-1")
    with psycopg.connect(settings.postgres_dsn.get_secret_value()) as connection:
        connection.execute("DELETE FROM asked_notifications")
    again = await post(desk, free(id_), "k-1")
    assert again.json["notificationId"] == first.json["notificationId"]
    one, two = events(settings, records, id_)
    assert (one["event_id"], one["aggregate_id"]) == (two["event_id"], two["aggregate_id"])


async def test_in_flight_is_said_and_kafka_away_is_not_hidden(
    api: Api, pool: Pool, records: Records, settings: Settings
) -> None:
    id_ = await patient(pool, records)
    hasty = settings.model_copy(update={"api_in_force_seconds": 20.0})
    async with api_on(hasty) as there:
        desk = there.caller("staff", "s", CLINIC)
        first = asyncio.create_task(post(desk, free(id_), "k-1"))
        await _stored(settings)
        while_it_waits = await post(desk, free(id_), "k-1")
        assert (while_it_waits.status, while_it_waits.headers["Retry-After"]) == (409, "1")
        assert (await post(desk, free(id_, message="Other"), "k-1")).status == 422
        turned_away = await first
        assert turned_away.status == 503  # nobody relays
        assert int(turned_away.headers["Retry-After"]) > 0
        with relaying(settings):
            async with asyncio.timeout(60):
                while (again := await post(desk, free(id_), "k-1")).status != 202:
                    assert again.status == 503, again.json  # a busy machine's relay
    assert len(events(settings, records, id_)) == 1


async def _stored(settings: Settings) -> None:
    async with await psycopg.AsyncConnection.connect(
        settings.postgres_dsn.get_secret_value(), autocommit=True
    ) as connection:
        while True:
            cursor = await connection.execute("SELECT count(*) FROM asked_notifications")
            row = await cursor.fetchone()
            if row and row[0]:
                return
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("relay")
async def test_many_at_once_with_one_key_are_one(api: Api, pool: Pool, records: Records, settings: Settings) -> None:
    id_ = await patient(pool, records)
    desk = api.caller("service", "s", "*")
    replies = await asyncio.gather(*(post(desk, free(id_), "k-1") for _ in range(12)))
    assert {reply.status for reply in replies} <= {202, 409}
    assert len({reply.json["notificationId"] for reply in replies if reply.status == 202}) == 1
    assert len(events(settings, records, id_)) == 1


@pytest.mark.usefixtures("relay")
async def test_a_type_with_its_data(api: Api, pool: Pool, records: Records, settings: Settings) -> None:
    await with_templates(pool, records)
    id_ = await patient(pool, records)
    desk = api.caller("staff", "s", CLINIC)
    typed = {"recipient": f"patient:{id_}", "notificationType": "appointment_confirmation", "data": CONFIRMATION}
    made = await post(desk, typed)
    assert made.status == 202, made.json
    assert made.json["notificationType"] == "appointment_confirmation"
    assert events(settings, records, id_)[-1]["data"] == CONFIRMATION
    for changes, field in (
        ({"data": CONFIRMATION | {"appointment_date": "24.12."}}, "data.appointment_date"),
        ({"data": {name: text for name, text in CONFIRMATION.items() if name != "provider"}}, "data.provider"),
        ({"data": CONFIRMATION | {"address": "+15550001111"}}, "data"),
        ({"notificationType": "no_such_type"}, "notificationType"),
        ({"notificationType": "address_verification", "data": {}}, "notificationType"),
        ({"notificationType": "low_stock_alert"}, "notificationType"),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
        ({"sendAt": (datetime.now(UTC) + timedelta(days=500)).isoformat()}, "sendAt"),
        ({"recipient": "patient:nobody"}, "recipient"),
    ):
        refused = await post(desk, typed | changes)
        assert (refused.status, refused.fields) == (422, [field])
    admin = api.caller("admin", "a", "*")
    assert (await post(admin, typed | {"notificationType": "clinic_emergency", "data": {}})).fields == [
        "notificationType"
    ]


@pytest.mark.usefixtures("relay")
async def test_who_may_send_what_to_whom(api: Api, pool: Pool, records: Records) -> None:
    await with_templates(pool, records)
    id_ = await patient(pool, records)
    offer = {"recipient": f"patient:{id_}", "notificationType": "birthday_offer"}
    critical = {
        **{"recipient": f"patient:{id_}", "notificationType": "appointment_cancelled"},
        "data": {"appointment_date": "2026-12-24", "appointment_time": "14:00", "refund_issued": "false"},
    }
    for role, clinic, body, status in (
        ("staff", CLINIC, free(id_), 202),
        ("provider", CLINIC, free(id_), 202),
        ("service", "*", free(id_, urgent=True), 202),
        ("staff", "c-other", free(id_), 422),
        ("marketing", CLINIC, free(id_), 403),
        ("marketing", CLINIC, offer, 202),
        ("staff", CLINIC, offer, 403),
        ("staff", CLINIC, critical, 403),
        ("admin", CLINIC, critical, 202),
        ("inventory_manager", CLINIC, free(id_), 404),
        ("patient", CLINIC, free(id_), 404),
    ):
        reply = await post(api.caller(role, "x", clinic), body)
        assert reply.status == status, (role, reply.json)


@pytest.mark.parametrize(
    "key", [None, "", '""', "two words", "k" * 201, '"open', "\u00fcml\u00e4ut"], ids=lambda key: repr(key)[:12]
)
async def test_no_key_no_sending(api: Api, key: str | None) -> None:
    headers = {} if key is None else {"Idempotency_Key": key}
    reply = await api.caller("service", "s", "*")("POST", PATH, free("x"), **headers)
    assert (reply.status, "Idempotency-Key" in reply.json["detail"]) == (400, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"notificationType": "appointment_confirmation"},
        {"message": None},
        {"message": " \n"},
        {"message": "x" * 2001},
        {"data": {"a": "b"}},
        {"recipient": "jane@example.com"},
        {"sendAt": "2026-12-24T10:00:00Z", "expiresAt": "2026-12-24T09:00:00Z"},
        {"messageLevel": 1},
    ],
    ids=lambda changes: ",".join(changes),
)
async def test_a_body_that_cannot_be_meant(api: Api, changes: dict[str, Any]) -> None:
    reply = await post(api.caller("service", "s", "*"), free("x", **changes))
    assert reply.status == 422, reply.json
    assert "jane@" not in str(reply.json)


@pytest.mark.usefixtures("relay")
async def test_cancelled_before_anything_left(api: Api, pool: Pool, records: Records, settings: Settings) -> None:
    id_ = await patient(pool, records)
    desk = api.caller("staff", "s", CLINIC)
    made = (await post(desk, free(id_, sendAt=(datetime.now(UTC) + timedelta(days=2)).isoformat()))).json
    path = f"{PATH}/{made['notificationId']}/cancel"
    for stranger in (api.caller("staff", "s", "c-other"), api.caller("patient", id_)):
        assert (await stranger("POST", path)).status == 404
    assert (await api.caller("marketing", "m", CLINIC)("POST", path)).status == 403  # it is no offer
    for _ in range(2):  # safe to repeat
        told = await desk("POST", path)
        assert told.status == 200, told.json
        assert (told.json["outcome"], told.json["messages"]) == ("cancelled", [])
        assert told.json["sentence"] == "Nothing of it had gone out; nothing will be sent."
    asked, cancelled, repeated = events(settings, records, id_)
    assert (cancelled["notification_id"], cancelled["aggregate_id"]) == (made["notificationId"], asked["aggregate_id"])
    assert cancelled["event_id"] != repeated["event_id"]  # the same again would be a dead letter
    gates = [(one.key() or b"").decode() for one in read_to_end(settings, [AGGREGATE_GATES])]
    assert gates.count(f"notification:{made['notificationId']}") == 2


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize(
    ("state", "outcome", "says"),
    [
        ("accepted", "sent", "It had gone out by text before"),
        (None, "perhaps_sent", "It was being handed over as a text"),
        ("failed", "cancelled", "Nothing of it had gone out"),
    ],
)
async def test_what_had_left_is_said(
    api: Api, pool: Pool, records: Records, state: Any, outcome: str, says: str
) -> None:
    id_ = await patient(pool, records)
    desk = api.caller("staff", "s", CLINIC)
    made = (await post(desk, free(id_))).json
    attempt = Attempt(
        delivery_id=delivery_id(made["notificationId"], "sms", 1),
        notification_id=made["notificationId"],
        recipient=f"patient:{id_}",
        clinic_id=CLINIC,
        notification_type=made["notificationType"],
        category="administrative",
        lane="normal",
        channel="sms",
        step=1,
        attempt=1,
        provider="twilio",
        template_id="t",
        template_version=1,
        occurred_at=datetime.now(UTC),
    )
    await deliveries.begin(pool, [attempt])
    if state is not None:
        await deliveries.finish(pool, [Finish(attempt.delivery_id, 1, state, "SM1")])
    told = (await desk("POST", f"{PATH}/{made['notificationId']}/cancel")).json
    assert told["outcome"] == outcome
    assert told["sentence"].startswith(says)


@pytest.mark.usefixtures("relay")
async def test_what_an_event_asked_for_is_cancelled_alone(settings: Settings, pool: Pool, records: Records) -> None:
    id_ = await patient(pool, records)
    recorded = Recorded()
    of_an_event = recorded.notification(f"patient:{id_}")
    with clickhouse_with(settings, recorded.rows) as whole:
        async with api_on(whole) as api:
            desk = api.caller("staff", "s", CLINIC)
            assert (await desk("POST", f"{PATH}/{of_an_event}/cancel")).status == 200
            for unknown in (str(uuid.uuid4()), "x"):
                assert (await desk("POST", f"{PATH}/{unknown}/cancel")).status == 404
    (event,) = events(settings, records, id_)
    assert (event["notification_id"], event["aggregate_id"]) == (of_an_event, of_an_event)
