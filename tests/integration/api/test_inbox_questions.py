"""An appointment confirmed, or another time asked for, by the buttons of a message in one's inbox."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from connectors.postgres import inbox_arrivals, text_questions
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from schemas.events import EVENT_TYPES
from schemas.validation import check_event
from tests.integration.api.conftest import Api
from tests.integration.api.inboxes import arrival, asking, overtaken, person
from tests.integration.api.test_inbox import INBOX, caller_of
from tests.integration.webhooks.conftest import World

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("relay")]


@pytest.fixture(autouse=True)
async def known(api: Api) -> None:
    await api.knows_withdrawals()


@pytest.mark.parametrize(
    ("step", "event_type", "word"),
    [
        ("confirm", "appointment.confirmed", "confirmed"),
        ("reschedule", "appointment.reschedule_requested", "moving"),
    ],
)
async def test_a_button_is_one_event_however_often_it_is_pressed(
    api: Api, settings: Settings, pool: Pool, records: Records, step: str, event_type: str, word: str
) -> None:
    recipient, key = await person(pool, records)
    item, question = await asking(pool, records, recipient, key, version=7)
    await inbox_arrivals.put(pool, records, [item])
    jane = caller_of(api, recipient)
    path = f"{INBOX}/items/{item.notification_id}"
    pressed = await asyncio.gather(*(jane("POST", f"{path}/{step}") for _ in range(5)))
    assert [(one.status, one.json) for one in pressed] == [(200, {"appointment": word})] * 5
    # What was said first stands, whatever is pressed afterwards.
    other = "reschedule" if step == "confirm" else "confirm"
    refused = await jane("POST", f"{path}/{other}")
    assert (refused.status, word in refused.json["detail"]) == (409, True)
    (event,) = World(settings, pool, records).replies(item.delivery_id)
    assert check_event(EVENT_TYPES[event_type].record, event, event["occurred_at"]) == []
    said = (event["event_type"], event["aggregate_id"], event["aggregate_version"], event["patient_id"])
    assert said == (event_type, question.aggregate_id, 7, recipient.partition(":")[2])
    assert event.get("confirmed_via", event.get("channel")) == "portal"
    assert (await jane("GET", path)).json["readAt"] is not None


async def test_what_changed_or_began_since_is_not_answered(
    api: Api, settings: Settings, pool: Pool, records: Records
) -> None:
    recipient, key = await person(pool, records)
    moved, its_question = await asking(pool, records, recipient, key)
    begun, _ = await asking(pool, records, recipient, key, starts_in=timedelta(minutes=-1))
    await inbox_arrivals.put(pool, records, [moved, begun])
    await overtaken(settings, records, its_question, 4)
    jane = caller_of(api, recipient)
    for item, detail in ((begun, "too late"), (moved, "changed or called off")):
        path = f"{INBOX}/items/{item.notification_id}/confirm"
        for _ in range(1_000):  # the gate is on its way
            refused = await jane("POST", path)
            if refused.status == 409:
                break
            async with pool.connection() as connection:
                await connection.execute("DELETE FROM text_answers WHERE delivery_id = %s", (item.delivery_id,))
        assert (refused.status, detail in refused.json["detail"]) == (409, True)
        async with pool.connection() as connection:
            assert await text_questions.answered(connection, text_questions.BUTTON + item.delivery_id) is None


async def test_only_who_was_asked_answers_and_only_what_asks(api: Api, pool: Pool, records: Records) -> None:
    recipient, key = await person(pool, records)
    item, _ = await asking(pool, records, recipient, key)
    told = arrival(records, recipient, key)
    await inbox_arrivals.put(pool, records, [item, told])
    stranger, _ = await person(pool, records)
    path = f"{INBOX}/items/{item.notification_id}/confirm"
    assert (await caller_of(api, stranger)("POST", path)).status == 404
    assert (await caller_of(api, "staff:s-1", item.clinic_id)("POST", path)).status == 404
    assert (await caller_of(api, recipient)("POST", f"{INBOX}/items/{told.notification_id}/confirm")).status == 404


async def test_what_a_text_confirmed_is_confirmed_in_the_inbox_too(
    api: Api, settings: Settings, pool: Pool, records: Records
) -> None:
    recipient, key = await person(pool, records)
    item, question = await asking(pool, records, recipient, key)
    await inbox_arrivals.put(pool, records, [item])
    async with pool.connection() as connection:
        await text_questions.answer(connection, "SM1", question.starts_at, "confirm", 1, question)
        (put,) = await text_questions.put_to(connection, recipient, [item.notification_id])
    assert put.said == "confirm"
    # It was an event already; that she needs another time after all is one.
    path = f"{INBOX}/items/{item.notification_id}"
    assert (await caller_of(api, recipient)("POST", f"{path}/confirm")).json == {"appointment": "confirmed"}
    assert World(settings, pool, records).replies(item.delivery_id) == []
    assert (await caller_of(api, recipient)("POST", f"{path}/reschedule")).json == {"appointment": "moving"}
    (event,) = World(settings, pool, records).replies(item.delivery_id)
    assert event["event_type"] == "appointment.reschedule_requested"
