"""Refusals of our senders: entered, read, and lifted by what was taken after them and arrived."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest

from connectors.postgres import deliveries, sender_refusals
from connectors.postgres.deliveries import Attempt, Finish
from connectors.postgres.pool import Pool
from connectors.postgres.sender_refusals import Arrived, SenderRefusal

pytestmark = pytest.mark.integration

CARE, MARKETING = SenderRefusal("care", "30034", "c1"), SenderRefusal("marketing", "30034", "c1")


async def taken(pool: Pool) -> str:
    """A text that Twilio takes now."""
    delivery_id = str(uuid.uuid4())
    said = (
        delivery_id,
        str(uuid.uuid4()),
        f"patient:{uuid.uuid4()}",
        "c1",
        "appointment_reminder_24h",
        "transactional",
    )
    attempt = Attempt(*said, "normal", "sms", 0, 1, "twilio", "t", 1, datetime.now(UTC))
    await deliveries.begin(pool, [attempt])
    await deliveries.finish(pool, [Finish(delivery_id, 1, "accepted", f"SM{uuid.uuid4().hex}")])
    return delivery_id


async def test_only_what_was_taken_later_and_by_that_sender_lifts_a_refusal(pool: Pool) -> None:
    earlier = await taken(pool)
    await sender_refusals.enter(pool, "twilio", [CARE, MARKETING, CARE])
    assert sorted(await sender_refusals.standing(pool, "twilio")) == [CARE, MARKETING]
    assert list(await sender_refusals.standing(pool, "sendgrid")) == []
    await sender_refusals.lift(pool, "twilio", [Arrived(frozenset({"account", "care"}), earlier)])
    assert len(await sender_refusals.standing(pool, "twilio")) == 2
    later = await taken(pool)
    await sender_refusals.lift(pool, "twilio", [Arrived(frozenset({"account", "care"}), later)])
    assert list(await sender_refusals.standing(pool, "twilio")) == [MARKETING]


async def test_refused_again_it_stands_from_then_on_under_the_latest_code(pool: Pool) -> None:
    await sender_refusals.enter(pool, "twilio", [CARE])
    between = await taken(pool)
    again = CARE._replace(code="30032", clinic_id="c2")
    await sender_refusals.enter(pool, "twilio", [again])
    await sender_refusals.lift(pool, "twilio", [Arrived(frozenset({"care"}), between)])
    assert list(await sender_refusals.standing(pool, "twilio")) == [again]


async def test_what_nobody_met_for_an_hour_is_forgotten(pool: Pool) -> None:
    await sender_refusals.enter(pool, "twilio", [CARE])
    async with pool.connection() as connection:
        await connection.execute("UPDATE sender_refusals SET refused_at = now() - interval '61 minutes'")
    assert list(await sender_refusals.standing(pool, "twilio")) == []
    await sender_refusals.enter(pool, "twilio", [])
    await sender_refusals.lift(pool, "twilio", [])
