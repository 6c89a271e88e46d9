"""Refusals of our senders: entered, read, and lifted by what was taken after them and arrived."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest

from connectors.postgres import deliveries, sender_refusals
from connectors.postgres.deliveries import Attempt, Finish
from connectors.postgres.pool import Pool
from connectors.postgres.sender_refusals import Arrived, Refused, SenderRefusal

pytestmark = pytest.mark.integration

CARE, MARKETING = SenderRefusal("care", "30034", "c1"), SenderRefusal("marketing", "30034", "c1")


async def taken(pool: Pool, again: str = "", attempt: int = 1) -> str:
    """A text that Twilio takes now. ``again``: the delivery, of one that it took before."""
    delivery_id = again or str(uuid.uuid4())
    said = (
        delivery_id,
        str(uuid.uuid4()),
        f"patient:{uuid.uuid4()}",
        "c1",
        "appointment_reminder_24h",
        "transactional",
    )
    begun = Attempt(*said, "normal", "sms", 0, attempt, "twilio", "t", 1, datetime.now(UTC))
    await deliveries.begin(pool, [begun])
    await deliveries.finish(pool, [Finish(delivery_id, attempt, "accepted", f"SM{uuid.uuid4().hex}")])
    return delivery_id


async def lift(pool: Pool, delivery_id: str) -> None:
    await sender_refusals.lift(pool, "twilio", [Arrived(frozenset({"account", "care"}), delivery_id, 1)])


async def enter(pool: Pool, *refused: tuple[SenderRefusal, str], attempt: int = 1) -> None:
    await sender_refusals.enter(pool, "twilio", [Refused(*one, attempt) for one in refused])


async def test_only_what_was_taken_later_and_by_that_sender_lifts_a_refusal(pool: Pool) -> None:
    earlier, refused = await taken(pool), await taken(pool)
    await enter(pool, (CARE, refused), (MARKETING, refused), (CARE, earlier))
    assert sorted(await sender_refusals.standing(pool, "twilio")) == [CARE, MARKETING]
    assert list(await sender_refusals.standing(pool, "sendgrid")) == []
    await lift(pool, earlier)
    assert len(await sender_refusals.standing(pool, "twilio")) == 2
    await lift(pool, await taken(pool))
    assert list(await sender_refusals.standing(pool, "twilio")) == [MARKETING]


async def test_what_was_taken_before_the_arrival_pauses_nobody_again_however_late_or_often_its_receipt_comes(
    pool: Pool,
) -> None:
    first, last = await taken(pool), await taken(pool)
    await enter(pool, (CARE, first))
    await lift(pool, await taken(pool))
    for _ in range(2):
        await enter(pool, (CARE, last), (CARE, first))
    assert list(await sender_refusals.standing(pool, "twilio")) == []


async def test_a_receipt_of_an_attempt_that_another_replaced_says_nothing_of_that_one(pool: Pool) -> None:
    delivery_id = await taken(pool)
    await taken(pool, delivery_id, attempt=2)
    await enter(pool, (CARE, delivery_id))
    assert list(await sender_refusals.standing(pool, "twilio")) == []
    await enter(pool, (CARE, delivery_id), attempt=2)
    assert list(await sender_refusals.standing(pool, "twilio")) == [CARE]


async def test_refused_again_it_stands_from_then_on_under_the_latest_code(pool: Pool) -> None:
    first, between, last = await taken(pool), await taken(pool), await taken(pool)
    again = CARE._replace(code="30032", clinic_id="c2")
    await enter(pool, (CARE, first))
    await enter(pool, (again, last))
    await lift(pool, between)
    assert list(await sender_refusals.standing(pool, "twilio")) == [again]
    await lift(pool, await taken(pool))
    await enter(pool, (CARE, await taken(pool)))
    assert list(await sender_refusals.standing(pool, "twilio")) == [CARE]


async def test_what_was_taken_an_hour_ago_says_nothing_of_today(pool: Pool) -> None:
    refused = await taken(pool)
    async with pool.connection() as connection:
        await connection.execute("UPDATE deliveries SET updated_at = now() - interval '61 minutes'")
    await enter(pool, (CARE, refused))
    assert list(await sender_refusals.standing(pool, "twilio")) == []
    await enter(pool)
    await sender_refusals.lift(pool, "twilio", [])
