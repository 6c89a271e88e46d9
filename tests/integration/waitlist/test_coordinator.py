"""The coordinator on real Postgres, told the time: whom it asks, when, and what becomes of what the practice system says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from confluent_kafka import Message

from connectors.postgres import keys
from connectors.postgres.housekeeping import keep_house
from connectors.postgres.pool import Pool, connect
from connectors.postgres.records import Records
from connectors.sealing import SealError
from connectors.settings import Settings
from connectors.waitlist.answering import answer
from connectors.waitlist.keeping import SlotRows, put_off
from connectors.waitlist.slot import OfferMade, Slot, Step
from schemas.events import EVENT_TYPES
from schemas.topics import event_topic
from streams.catalog import Catalog
from streams.waitlist.coordinator import STALE, Coordinator, window_of
from streams.waitlist.letters import Letters
from streams.waitlist.process import _hear as hear_message
from tests.integration.outboxed import decoded
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
        return [
            (one["event_type"].removeprefix("waitlist."), one.get("patient_id") or one.get("cause") or one.get("code"))
            for one in await self.events()
        ]

    async def events(self) -> list[dict[str, Any]]:
        """Each event that was told, in order; then they are gone."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "WITH taken AS (DELETE FROM outbox WHERE topic LIKE 'events.%%' RETURNING id, topic, value, sealed) "
                "SELECT topic, value, sealed FROM taken ORDER BY id"
            )
            return [decoded(self._records, *row) for row in await cursor.fetchall()]


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
    assert await desk.told() == [("offer_made", "c")]
    for _ in range(2):
        await desk.hear("waitlist.slot_claimed", patient_id="b", version=3)
    await desk.turns(NOON + WINDOW)
    assert await desk.told() == [("offer_ended", "c")]
    await desk.hear("waitlist.slot_claimed", patient_id="a", version=4)
    assert await desk.told() == [("system.alert", "slot_claimed_twice")]
    assert (await desk.slot()).holder == "b"


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


async def test_taken_back_from_whom_it_was_promised(desk: Desk, pool: Pool, records: Records) -> None:
    await patients(pool, records, "a")
    await desk.hear("waitlist.slot_available", waitlist_patients=["a"])
    await desk.hear("waitlist.slot_claimed", patient_id="a", version=2)
    for _ in range(2):
        await desk.hear("waitlist.slot_withdrawn", version=3)
    assert await desk.told() == [("system.alert", "slot_withdrawn_from_holder")]
    assert (await desk.slot()).holder == "a"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"provider": "Dr. Jones"}, ["Dr. Smith 14:00", "Dr. Jones 14:00"]),
        ({"time": "15:00"}, ["Dr. Smith 14:00", "Dr. Smith 15:00"]),
        ({}, []),
    ],
)
async def test_another_hour_is_offered_anew_and_told_as_it_is(
    desk: Desk, pool: Pool, records: Records, given: dict[str, Any], told: list[str]
) -> None:
    await patients(pool, records, "a", "b")
    await desk.hear("waitlist.slot_available", waitlist_patients=["a", "b"])
    await desk.turns(NOON)
    await desk.events()
    later = NOON + timedelta(minutes=10)
    again: dict[str, Any] = {"waitlist_patients": ["a", "b"], "version": 2, "date": (NOON + timedelta(days=2)).date()}
    await desk.hear("waitlist.slot_available", later, **again | given)
    await desk.turns(later)
    events = await desk.events()
    assert [f"{one['provider']} {one['time']}" for one in events] == told
    assert [(one["event_type"], one["patient_id"]) for one in events] == [
        ("waitlist.offer_ended", "a"),
        ("waitlist.offer_made", "a"),
    ][: len(told)]


async def test_an_old_link_says_yes_to_the_old_hour_only(
    desk: Desk, pool: Pool, records: Records, rows: SlotRows
) -> None:
    await patients(pool, records, "a")
    await desk.hear("waitlist.slot_available", waitlist_patients=["a"])
    await desk.turns(NOON)
    await desk.hear("waitlist.slot_available", waitlist_patients=["a"], version=2, time="15:00")
    await desk.turns(NOON)
    async with pool.connection() as connection:
        await connection.execute("UPDATE waitlist_slots SET offer_ends_at = now() + interval '1 hour'")
        about = (await rows.seen(connection, CLINIC, "s1")).about
        answers = [(await answer(connection, rows, about, "a", "claim", number=number)).answer for number in (1, 2)]
    assert answers == ["over", "claimed"]


async def test_what_was_announced_long_ago_is_for_people(desk: Desk, pool: Pool, records: Records) -> None:
    await patients(pool, records, "a")
    ahead: dict[str, Any] = {"waitlist_patients": ["a"], "date": (NOON + timedelta(days=20)).date()}
    long_ago = NOON - STALE - timedelta(seconds=1)
    for slot_id, said_at in (("fresh", NOON - STALE), ("s1", long_ago), ("taken", long_ago)):
        times = {"occurred_at": said_at, "expires_at": said_at + WINDOW}
        await desk.hear("waitlist.slot_available", slot_id=slot_id, **ahead | times)
    # What the clinic did with the hour may lie behind it.
    await desk.hear("waitlist.slot_claimed", slot_id="taken", occurred_at=long_ago, version=2, patient_id="z")
    await desk.turns(NOON)
    assert await desk.told() == []
    await desk.turns(NOON + timedelta(seconds=5))
    told = await desk.told()
    assert sorted(told) == [("offer_made", "a"), ("slot_unfilled", "too_late")]
    assert [(await desk.slot(slot_id)).state for slot_id in ("s1", "fresh", "taken")] == [
        *("expired", "offered", "claimed")
    ]


async def test_a_slot_that_cannot_be_opened_is_buried_with_an_alarm_and_a_missing_key_is_waited_for(
    desk: Desk, pool: Pool, records: Records, rows: SlotRows, coordinator: Coordinator
) -> None:
    await patients(pool, records, "a")
    await desk.hear("waitlist.slot_available", NOON, waitlist_patients=["a"])
    await desk.turns(NOON)
    await desk.told()
    async with pool.connection() as connection:
        await connection.execute("UPDATE waitlist_slots SET sealed = set_byte(sealed, length(sealed) - 1, 0)")
    event = said("waitlist.slot_withdrawn", "s1", datetime.now(UTC).replace(microsecond=0), version=2)
    wire = records.codec.encode(TOPIC, EVENT_TYPES[event["event_type"]].record, event)
    message = Message(topic=TOPIC, partition=0, offset=7, key=b"s1", value=wire, timestamp=(1, 1))
    letters = Letters(pool, records, Catalog.load())
    await hear_message(message, coordinator, letters)
    assert await desk.told() == [("system.alert", "waitlist_event_buried")]
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT value FROM outbox WHERE topic = 'dead-letters'")
        (letter,) = [records.codec.decode(value).value for (value,) in await cursor.fetchall()]
    assert (letter["error_code"], letter["event_id"]) == ("unopenable_slot", event["event_id"])
    async with pool.connection() as connection:
        wrapped = b"\x01\x02k9" + bytes(60)
        await connection.execute("UPDATE data_keys SET wrapped = %s WHERE subject = 'clinic:c1'", (wrapped,))
    with pytest.raises(SealError, match="unknown_kek"):
        await hear_message(message, coordinator, letters)


async def test_a_slot_is_found_by_its_indexes(desk: Desk, pool: Pool, records: Records, rows: SlotRows) -> None:
    await patients(pool, records, "a")
    await desk.hear("waitlist.slot_available", waitlist_patients=["a"])
    await desk.turns(NOON)
    async with pool.connection() as connection:
        await connection.execute(
            """INSERT INTO waitlist_slots (clinic_id, slot_id, state, version, offer_number, window_seconds, candidates)
               SELECT 'c2', n::text, 'unannounced', -1, 0, 0, '[]' FROM generate_series(1, 5000) n"""
        )
        await connection.execute("ANALYZE waitlist_slots")
    async with pool.connection() as connection:
        about = (await rows.seen(connection, CLINIC, "s1")).about
        (offer,) = await rows.offers(connection, about)
        counted = """SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'waitlist_slots'"""
        before = await (await connection.execute(counted)).fetchone()
        for named in ("s1", offer.offer_id, offer.offer_id.upper()):
            assert [row.about for row in await rows.find(connection, named)] == [about]
        assert await rows.find(connection, "nothing") == []
        assert await (await connection.execute(counted)).fetchone() == before


async def test_a_slot_that_was_given_another_time_meanwhile_keeps_it(desk: Desk, pool: Pool, rows: SlotRows) -> None:
    await desk.hear("waitlist.slot_available", waitlist_patients=["a"])
    async with pool.connection() as connection:
        read = await rows.seen(connection, CLINIC, "s1")
        await connection.execute("UPDATE waitlist_slots SET due_at = %s", (NOON + WINDOW,))
        await put_off(connection, read, NOON + timedelta(minutes=1))
    assert (await desk.slot()).due_at == NOON + WINDOW


async def test_nothing_of_a_waitlist_names_who_is_erased(
    desk: Desk, pool: Pool, records: Records, rows: SlotRows
) -> None:
    await patients(pool, records, "a", "b")
    for slot_id in ("offered", "claimed", "unreadable"):
        await desk.hear("waitlist.slot_available", slot_id=slot_id, waitlist_patients=["a", "b"])
    await desk.turns(NOON)
    await desk.hear("waitlist.slot_claimed", slot_id="claimed", patient_id="a", version=2)
    await desk.told()
    async with pool.connection() as connection:
        await connection.execute("UPDATE waitlist_slots SET sealed = '\\x00' WHERE slot_id = 'unreadable'")
        await keys.erase(connection, records, "patient:a", "test")
    assert await desk.told() == [("offer_ended", "a")]
    async with pool.connection() as connection:
        cursor = await connection.execute(
            """SELECT slot_id, state, holder, candidates::text FROM waitlist_slots ORDER BY slot_id"""
        )
        slots = {slot_id: (state, holder, candidates) for slot_id, state, holder, candidates in await cursor.fetchall()}
        offers = await (await connection.execute("SELECT patient_id, outcome FROM waitlist_offers")).fetchall()
    assert {slot_id: state for slot_id, (state, _, _) in slots.items()} == {
        "claimed": "claimed",
        "offered": "open",
        "unreadable": "open",
    }
    assert slots["claimed"][1].startswith("erased:")
    assert not any('"a"' in candidates for _, _, candidates in slots.values())
    assert all(patient_id.startswith("erased:") and outcome for patient_id, outcome in offers)
    assert (await desk.slot("offered")).next_candidate == "b"


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
    await desk.hear("waitlist.slot_available", slot_id="ahead", waitlist_patients=["a"])
    await desk.hear("waitlist.slot_claimed", slot_id="ahead", patient_id="a", version=2)
    async with pool.connection() as connection:
        await connection.execute(
            """UPDATE waitlist_slots SET updated_at = now() - interval '36 days',
                   starts_at = now() + CASE slot_id WHEN 'over' THEN interval '-1 hour' ELSE interval '1 hour' END"""
        )
    with connect(settings, "test") as housekeeper:
        keep_house(housekeeper)
    assert (await desk.slot("stands")).state == "offered"
    assert (await desk.slot("ahead")).state == "claimed"
    with pytest.raises(LookupError):
        await desk.slot("over")


@pytest.mark.parametrize(
    ("given", "longest", "seconds"),
    [(1800, 1800, 1800), (600, 1800, 600), (86_400, 1800, 1800), (4, 1800, 4), (0, 1800, 1800), (-5, 7, 7)],
)
def test_a_window_is_what_the_clinic_gives_within_bounds(given: int, longest: int, seconds: int) -> None:
    expires_at = NOON + timedelta(seconds=given)
    assert window_of(NOON, expires_at, timedelta(seconds=longest)) == timedelta(seconds=seconds)
