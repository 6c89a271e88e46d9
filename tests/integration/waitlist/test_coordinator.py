"""The coordinator on real Postgres, told the time: whom it asks, when, and what becomes of what the practice system says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from connectors.postgres.housekeeping import keep_house
from connectors.postgres.pool import Pool, connect
from connectors.postgres.records import Records
from connectors.settings import Settings
from connectors.waitlist.keeping import SlotRows
from connectors.waitlist.slot import OfferMade, Slot, Step
from schemas.topics import event_topic
from streams.waitlist.coordinator import Coordinator, window_of
from tests.integration.waitlist.conftest import CLINIC, WINDOW, patients, said

pytestmark = pytest.mark.integration

TOPIC = event_topic("waitlist.slot_available")
NOON = datetime(2026, 12, 1, 17, tzinfo=UTC)  # in New York


class Desk:
    """What a test does and sees."""

    def __init__(self, pool: Pool, records: Records, rows: SlotRows, coordinator: Coordinator) -> None:
        self._pool, self._records, self._rows, self._coordinator = pool, records, rows, coordinator

    async def hear(self, event_type: str, now: datetime = NOON, slot_id: str = "s1", **given: Any) -> None:
        await self._coordinator.hear(said(event_type, slot_id, now, **given), now)

    async def turns(self, now: datetime) -> None:
        while await self._coordinator.turn(now):
            pass

    async def slot(self, slot_id: str = "s1") -> Slot:
        async with self._pool.connection() as connection:
            return (await self._rows.seen(connection, CLINIC, slot_id)).slot

    async def told(self) -> list[tuple[str, str | None]]:
        """(what, whose or why) of each event that was told, in order; then they are gone."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "WITH taken AS (DELETE FROM outbox WHERE topic LIKE 'events.%%' RETURNING id, value) "
                "SELECT value FROM taken ORDER BY id"
            )
            events = [self._records.codec.decode(value).value for (value,) in await cursor.fetchall()]
        return [
            (one["event_type"].removeprefix("waitlist."), one.get("patient_id") or one.get("cause") or one.get("code"))
            for one in events
        ]


@pytest.fixture
def desk(pool: Pool, records: Records, rows: SlotRows, coordinator: Coordinator) -> Desk:
    return Desk(pool, records, rows, coordinator)


async def test_one_after_the_other_each_for_her_time(desk: Desk, pool: Pool, records: Records) -> None:
    await patients(pool, records, "a", "b")
    await desk.hear("waitlist.slot_available", waitlist_patients=["a", "b"])
    await desk.turns(NOON)
    assert await desk.told() == [("offer_made", "a")]
    await desk.turns(NOON + WINDOW - timedelta(seconds=1))
    assert await desk.told() == []
    await desk.turns(NOON + WINDOW)
    assert await desk.told() == [("offer_ended", "a"), ("offer_made", "b")]
    await desk.turns(NOON + 2 * WINDOW)
    assert await desk.told() == [("offer_ended", "b"), ("slot_unfilled", "nobody_left")]
    assert (await desk.slot()).state == "exhausted"


async def test_who_cannot_be_asked_is_passed_over(desk: Desk, pool: Pool, records: Records) -> None:
    await patients(pool, records, "portal", phones=[], emails=[])
    wishes: dict[str, Any] = {"sms_opt_in": {}, "email_opt_in": {}, "push_opt_in": {}}
    await patients(pool, records, "off", preferences={**wishes, "sms_enabled": False, "email_enabled": False})
    await patients(pool, records, "last")
    await desk.hear("waitlist.slot_available", waitlist_patients=["nobody", "portal", "off", "last"])
    await desk.turns(NOON)
    assert await desk.told() == [("offer_made", "last")]
    found = {one.patient_id: (one.standing, one.reason) for one in (await desk.slot()).candidates}
    assert found["nobody"] == ("skipped", "unknown_recipient")
    assert found["portal"] == ("skipped", "unreachable")
    assert found["off"] == ("skipped", "channel_off")


async def test_nobody_is_woken(desk: Desk, pool: Pool, records: Records) -> None:
    await patients(pool, records, "a")
    night = NOON + timedelta(hours=15)  # 3 a.m.
    await desk.hear("waitlist.slot_available", night, waitlist_patients=["a"])
    await desk.turns(night)
    assert await desk.told() == []
    due_at = (await desk.slot()).due_at
    assert due_at is not None
    # The law's hours for texts begin at eight; released within ten minutes of that.
    assert NOON + timedelta(hours=20) <= due_at <= NOON + timedelta(hours=20, minutes=10)
    await desk.turns(due_at)
    assert await desk.told() == [("offer_made", "a")]


async def test_who_sleeps_too_long_is_passed_over_for_who_does_not(desk: Desk, pool: Pool, records: Records) -> None:
    night = NOON + timedelta(hours=15)
    await patients(pool, records, "asleep")
    await patients(pool, records, "awake", zone="Europe/Berlin")
    early: dict[str, Any] = {"date": night.date(), "time": "07:30"}
    await desk.hear("waitlist.slot_available", night, waitlist_patients=["asleep", "awake"], **early)
    await desk.turns(night)
    assert await desk.told() == [("offer_made", "awake")]
    assert (await desk.slot()).standing("asleep") == "skipped"


async def test_too_late_to_ask(desk: Desk, pool: Pool, records: Records) -> None:
    await patients(pool, records, "a")
    today: dict[str, Any] = {"date": NOON.date(), "time": "12:04"}
    await desk.hear("waitlist.slot_available", waitlist_patients=["a"], **today)
    await desk.turns(NOON)
    assert await desk.told() == [("slot_unfilled", "too_late")]


async def test_what_the_telephone_says_in_any_order_and_twice(desk: Desk, pool: Pool, records: Records) -> None:
    await patients(pool, records, "a", "b", "c")
    for _ in range(2):
        await desk.hear("waitlist.slot_declined", patient_id="a", next_patient_id="c")
    for _ in range(2):
        await desk.hear("waitlist.slot_available", waitlist_patients=["a", "b", "c"], version=2)
    await desk.turns(NOON)
    assert await desk.told() == [("offer_made", "b")]
    for _ in range(2):
        await desk.hear("waitlist.slot_claimed", patient_id="c", version=3)
    await desk.turns(NOON + WINDOW)
    assert await desk.told() == [("offer_ended", "b")]
    await desk.hear("waitlist.slot_claimed", patient_id="a", version=4)
    assert await desk.told() == [("system.alert", "slot_claimed_twice")]
    assert (await desk.slot()).holder == "c"


async def test_a_claim_before_anything_else(desk: Desk, pool: Pool, records: Records) -> None:
    await patients(pool, records, "a")
    await desk.hear("waitlist.slot_claimed", patient_id="z", version=2)
    await desk.hear("waitlist.slot_claimed", patient_id="y", version=3)
    await desk.hear("waitlist.slot_available", waitlist_patients=["a"])
    await desk.turns(NOON)
    assert await desk.told() == [("system.alert", "slot_claimed_twice")]


async def test_a_backlog_is_heard_before_anybody_is_asked(desk: Desk, pool: Pool, records: Records) -> None:
    await patients(pool, records, "a")
    later = NOON + timedelta(minutes=10)
    await desk.hear("waitlist.slot_available", later, occurred_at=NOON, waitlist_patients=["a"])
    await desk.turns(later)
    assert await desk.told() == []
    await desk.turns(later + timedelta(seconds=5))
    assert await desk.told() == [("offer_made", "a")]


async def test_taken_back(desk: Desk, pool: Pool, records: Records) -> None:
    await patients(pool, records, "a", "b")
    await desk.hear("waitlist.slot_available", waitlist_patients=["a", "b"])
    await desk.turns(NOON)
    await desk.hear("waitlist.slot_withdrawn", version=2)
    await desk.turns(NOON + WINDOW)
    assert await desk.told() == [("offer_made", "a"), ("offer_ended", "a")]


async def test_what_is_wrong_with_one_slot_holds_up_no_other(desk: Desk, pool: Pool, records: Records) -> None:
    await patients(pool, records, "a")
    for slot_id in ("broken", "whole"):
        await desk.hear("waitlist.slot_available", slot_id=slot_id, waitlist_patients=["a"])
    async with pool.connection() as connection:
        await connection.execute("UPDATE waitlist_slots SET sealed_for = 'gone' WHERE slot_id = 'broken'")
    await desk.turns(NOON)
    assert await desk.told() == [("offer_made", "a")]
    assert (await desk.slot("broken")).due_at == NOON + timedelta(minutes=1)


async def test_the_database_itself_refuses_a_second_holder(
    desk: Desk, pool: Pool, records: Records, rows: SlotRows
) -> None:
    await patients(pool, records, "a", "b")
    await desk.hear("waitlist.slot_available", waitlist_patients=["a", "b"])
    await desk.turns(NOON)
    wrong = Step(replace(await desk.slot(), holder="b", offer_number=2), (OfferMade("b", 2, NOON + WINDOW),))
    with pytest.raises(psycopg.errors.UniqueViolation):
        async with pool.connection() as connection:
            await rows.keep(connection, await rows.locked(connection, CLINIC, "s1"), wrong, NOON)
    assert (await desk.slot()).holder == "a"


async def test_what_is_over_is_forgotten_after_a_while_and_what_stands_is_not(
    desk: Desk, pool: Pool, records: Records, settings: Settings
) -> None:
    await patients(pool, records, "a")
    for slot_id in ("over", "stands"):
        await desk.hear("waitlist.slot_available", slot_id=slot_id, waitlist_patients=["a"])
    await desk.turns(NOON)
    await desk.hear("waitlist.slot_claimed", slot_id="over", patient_id="a", version=2)
    async with pool.connection() as connection:
        await connection.execute("UPDATE waitlist_slots SET updated_at = now() - interval '36 days'")
    with connect(settings, "test") as housekeeper:
        keep_house(housekeeper)
    assert (await desk.slot("stands")).state == "offered"
    with pytest.raises(LookupError):
        await desk.slot("over")


@pytest.mark.parametrize(
    ("given", "longest", "seconds"),
    [(1800, 1800, 1800), (600, 1800, 600), (86_400, 1800, 1800), (4, 1800, 4), (0, 1800, 1800), (-5, 7, 7)],
)
def test_a_window_is_what_the_clinic_gives_within_bounds(given: int, longest: int, seconds: int) -> None:
    expires_at = NOON + timedelta(seconds=given)
    assert window_of(NOON, expires_at, timedelta(seconds=longest)) == timedelta(seconds=seconds)
