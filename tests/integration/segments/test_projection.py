"""Standings from events: once in effect under duplicates, reordering, restarts, takeovers; what cannot be used is passed by."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from connectors.kafka import make_producer
from connectors.postgres.pool import connect_async
from connectors.postgres.recipients import Recipient, upsert_many
from connectors.postgres.records import Records
from connectors.segments import projection, standings
from connectors.segments.projection import PROJECTION_LOCK, LeadTakenError, Projection, positions, rebuild
from connectors.segments.standing import Standing
from connectors.segments.telling import SOURCE
from schemas.events import EVENT_TYPES
from tests.integration.segments.conftest import CLINIC, World, golden

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

NOW = datetime.now(UTC).replace(microsecond=0)
SOON = NOW.date() + timedelta(days=9)


def event(event_type: str, patient: str, appointment: str, version: int, **fields: Any) -> dict[str, Any]:
    # The same each time it is made: what is sent twice is a duplicate.
    event_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{event_type}{appointment}{version}"))
    changes = {
        **{"event_id": event_id, "occurred_at": NOW, "clinic_id": CLINIC, "source": "test", "patient_id": patient},
        **{"aggregate_id": appointment, "appointment_id": appointment, "aggregate_version": version},
    }
    return golden(event_type, changes, **fields)


def history(patient: str) -> list[dict[str, Any]]:
    """She came a week ago; another appointment was made, moved, and called off; a third one stands."""
    a, b, c = (f"{patient}-{letter}" for letter in "abc")
    return [
        event("appointment.created", patient, a, 1, appointment_date=SOON - timedelta(days=16)),
        event("appointment.completed", patient, a, 2, completed_at=NOW - timedelta(days=7)),
        event("appointment.created", patient, b, 1, appointment_date=SOON),
        event("appointment.rescheduled", patient, b, 2, new_date=SOON + timedelta(days=9)),
        event("appointment.cancelled", patient, b, 3, appointment_date=SOON + timedelta(days=9)),
        event("appointment.created", patient, c, 1, appointment_date=SOON),
    ]


class Sender:
    def __init__(self, world: World) -> None:
        self._producer, self._codec = make_producer(world.settings), world.records.codec

    def send(self, *events: dict[str, Any]) -> None:
        for one in events:
            contract = EVENT_TYPES[one["event_type"]]
            self._producer.produce(
                contract.topic, self._codec.encode(contract.topic, contract.record, one), one["aggregate_id"].encode()
            )
        self._producer.flush(30)

    def send_rubbish(self) -> None:
        self._producer.produce("events.appointment", b"\x01rubbish", b"x")
        self._producer.flush(30)


@asynccontextmanager
async def projecting(world: World) -> AsyncIterator[Projection]:
    working = Projection(world.settings, Records.open(world.settings))
    task = asyncio.create_task(working.run())
    try:
        yield working
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(1_800):
        if await true():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come about in time")


async def standing(world: World, patient: str) -> Standing:
    return (await standings.find(world.connection, world.records, [f"patient:{patient}"])).get(
        f"patient:{patient}", Standing()
    )


def is_whole(found: Standing) -> bool:
    return found.visited_at == NOW - timedelta(days=7) and [
        found.is_booked_on_or_after(day) for day in (SOON, SOON + timedelta(days=1))
    ] == [True, False]


def new_patient() -> str:
    return f"p-{uuid.uuid4().hex[:12]}"


async def test_duplicates_reordering_and_restarts_change_nothing(world: World) -> None:
    chance = random.Random(7)
    patients = [new_patient() for _ in range(40)]
    events = [one for patient in patients for one in history(patient)]
    events += chance.choices(events, k=100)
    chance.shuffle(events)
    sender = Sender(world)
    sender.send_rubbish()
    for start in range(0, len(events), 60):
        sender.send(*events[start : start + 60])
        async with projecting(world):
            await asyncio.sleep(chance.random() / 2)  # ended wherever it is
    async with projecting(world) as working:

        async def all_whole() -> bool:
            return all([is_whole(await standing(world, patient)) for patient in patients])

        await until(all_whole)
        before = await positions(world.connection)
        assert working.leads

        # Another one waits until the first one is gone, and then goes on where it was.
        async with projecting(world) as other:
            assert not other.leads
            assert await rebuild(world.connection) == len(before)

            async def read_again() -> bool:
                return working.leads != other.leads and await positions(world.connection) == before

            await until(read_again)
            assert await all_whole()
            assert working.unusable + other.unusable > 0


async def test_strangers_are_known_once_they_are_imported_and_our_own_events_are_left_out(world: World) -> None:
    known, stranger = new_patient(), new_patient()
    sender = Sender(world)
    sender.send(*history(known), *history(stranger))
    ours = event("appointment.completed", known, f"{known}-a", 9, completed_at=NOW) | {"source": SOURCE}
    sender.send(ours)
    async with projecting(world):

        async def whole() -> bool:
            return is_whole(await standing(world, stranger)) and is_whole(await standing(world, known))

        await until(whole)
        cursor = await world.connection.execute(
            "SELECT DISTINCT key_subject FROM patient_standings WHERE recipient = ANY(%s)",
            ([f"patient:{known}", f"patient:{stranger}"],),
        )
        assert await cursor.fetchall() == [(f"clinic:{CLINIC}",)]
        async with world.connection.transaction():
            await upsert_many(world.connection, world.records, [Recipient(f"patient:{stranger}", CLINIC, {})])
        sender.send(event("appointment.completed", stranger, f"{stranger}-c", 2, completed_at=NOW))

        async def visited_now() -> bool:
            return (await standing(world, stranger)).visited_at == NOW

        await until(visited_now)
    cursor = await world.connection.execute(
        "SELECT key_subject FROM patient_standings WHERE recipient = %s", (f"patient:{stranger}",)
    )
    assert await cursor.fetchall() == [(f"patient:{stranger}",)]


async def test_who_comes_to_lead_before_a_rebuild_does_is_ended_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that stood by takes the lead in the moment after the leader was ended, and would keep it for ever."""
    # Gone before the rebuild asks for the lead: did it stand in line by then, Postgres would hand the lead to it.
    gone = projection._END_LEADER.replace(b"pg_terminate_backend(pid)", b"pg_terminate_backend(pid, 5000)")
    monkeypatch.setattr(projection, "_END_LEADER", gone)
    led = 0

    async def usurp() -> None:
        nonlocal led
        while led < 3:
            async with await connect_async(world.settings, "usurper") as connection:
                with suppress(psycopg.OperationalError):
                    while True:
                        cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (PROJECTION_LOCK,))
                        if await cursor.fetchone() == (True,):
                            break
                    led += 1
                    while True:
                        await connection.execute("SELECT 1")
                        await asyncio.sleep(0.01)

    usurpers = [asyncio.create_task(usurp()) for _ in range(3)]
    try:
        while not led:  # noqa: ASYNC110 - the test waits for the database
            await asyncio.sleep(0.01)
        assert await asyncio.wait_for(rebuild(world.connection), 60) == 0
    finally:
        for one in usurpers:
            one.cancel()
        await asyncio.gather(*usurpers, return_exceptions=True)
    assert led > 1, "nobody was faster than the rebuild: this tried nothing"


async def test_a_rebuild_that_never_comes_to_lead_says_so_and_forgets_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if whoever is ended were there again each time."""
    monkeypatch.setattr(projection, "REBUILD_TRIES", 2)
    monkeypatch.setattr(projection, "_END_LEADER", b"SELECT %s::int8, %s::int8")
    async with await connect_async(world.settings, "holder") as holder:
        await holder.execute("SELECT pg_advisory_lock(%s)", (PROJECTION_LOCK,))
        with pytest.raises(LeadTakenError, match="2 times"):
            await rebuild(world.connection)
