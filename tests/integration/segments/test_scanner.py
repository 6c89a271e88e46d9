"""Exactly once per segment, subject and period, whatever is killed, repeated or run twice; nobody who should not hear of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from connectors.postgres import keys, policies, recipients
from connectors.postgres.pool import connect_async
from connectors.postgres.records import Records
from connectors.segments import runs
from connectors.segments.__main__ import Daily
from connectors.segments.definitions import Segment, load
from connectors.segments.runs import Clinic, Tally
from connectors.segments.scanner import Look, OutboxFull, Scanner
from connectors.settings import Settings
from tests.integration.segments.conftest import CLINIC, NOON, World, golden

pytestmark = pytest.mark.integration

BIRTHDAY, INACTIVE_90 = (next(one for one in load() if one.name == name) for name in ("birthday", "inactive_90"))
DAY = date(2026, 5, 6)
BORN, OTHER = date(1980, 5, 6), date(1980, 9, 9)


async def scan(world: World, segment: Segment = BIRTHDAY, day: date = DAY, *, again: bool = False) -> Tally:
    clinic = await world.clinic()
    last = await runs.last_finished_before(world.connection, segment.name, clinic.clinic_id, day)
    scanner = Scanner(world.connection, world.records, clock=lambda: NOON)
    return await scanner.scan(Look(segment.at(CLINIC), clinic, day, last), again=again)


async def test_who_is_due_is_told_and_nobody_else(world: World) -> None:
    ada, bea, cleo, dora, *_ = await world.patients([BORN, OTHER, BORN, BORN, None, date(1980, 5, 5)])
    await world.patients([BORN], clinic_id="south", prefix="s")
    async with world.connection.transaction():
        await keys.erase(world.connection, world.records, cleo, "test")
        stored = (await recipients.get_many(world.connection, world.records, [dora]))[dora]
        inactive = recipients.Recipient(dora, CLINIC, stored.content, active=False)
        await recipients.upsert_many(world.connection, world.records, [inactive])
    await world.forget_outbox()
    tally = await scan(world)
    told = [(topic, event["patient_id"], event["birthday"]) for topic, event in await world.told()]
    assert told == [("events.birthday", "p-000000", DAY), ("events.birthday", "p-000005", date(2026, 5, 5))]
    assert (tally.scanned, tally.emitted, tally.repeated, tally.unreadable) == (4, 2, 0, 0)
    (_, event), _ = await world.told()
    assert (event["clinic_id"], event["time_zone"], event["days_until"]) == (CLINIC, "America/New_York", 0)
    assert event["aggregate_id"] == ada.removeprefix("patient:")
    assert bea.removeprefix("patient:") not in str(told)


async def test_a_clinic_without_a_policy_is_scanned_in_the_stand_ins_zone(world: World) -> None:
    await world.patients([BORN], clinic_id="south", prefix="s")
    assert (await world.clinic("south")).zone.key == "America/Los_Angeles"


async def test_again_on_the_same_and_the_next_day_tells_nobody_twice(world: World) -> None:
    await world.patients([BORN] * 7)
    assert (await scan(world)).emitted == 7
    assert await scan(world) == Tally()  # finished
    again = await scan(world, again=True)
    assert (again.emitted, again.repeated) == (0, 7)
    tomorrow = await scan(world, day=DAY + timedelta(days=1))
    assert (tomorrow.emitted, tomorrow.repeated) == (0, 7)
    assert (await scan(world, day=DAY.replace(year=2027))).emitted == 7
    told = await world.told()
    assert len({event["event_id"] for _, event in told}) == len(told) == 14


async def test_inactive_once_an_absence(world: World) -> None:
    ada, bea, _ = await world.patients([None] * 3)
    first = datetime(2026, 2, 5, 15, tzinfo=UTC)
    await world.visited([ada], first)
    await world.visited([bea], first + timedelta(days=40))
    assert (await scan(world, INACTIVE_90)).emitted == 1
    ((topic, event),) = await world.told()
    assert (topic, event["patient_id"], event["days_inactive"]) == ("events.patient", "p-000000", 90)
    assert (event["last_visit_date"], event["booking_url"]) == (date(2026, 2, 5), "https://luxe.example/book")
    await world.visited([ada], datetime(2026, 5, 20, 15, tzinfo=UTC))
    later = date(2026, 5, 20) + timedelta(days=90)
    assert (await scan(world, INACTIVE_90, later)).emitted == 1


async def test_what_runs_out_or_is_owed_becomes_an_event_that_keeps_its_contract(world: World) -> None:
    (ada,) = await world.patients([None])
    event = {"clinic_id": CLINIC, "patient_id": "p-000000", "occurred_at": NOON, "source": "test"}
    happened = [
        golden("membership.credits_added", event, expiry_date=DAY + timedelta(days=30), new_balance=Decimal("80.00")),
        golden("payment.due", event, due_date=DAY - timedelta(days=7), days_overdue=None, autopay=False, plan_id=None),
    ]
    await world.happened(ada, happened)
    consent = {"consent_type": "sms_transactional", "status": "opted_in", "expires_at": NOON + timedelta(days=30)}
    await world.consents(ada, consent | {"consent_date": NOON, "method": "electronic", "source": "test"})
    async with world.connection.transaction():
        policy = {"clinic_id": CLINIC, "name": "Luxe", "time_zone": "America/New_York"}
        await policies.put(world.connection, world.records, policy | {"portal_url": "https://luxe.example/p"}, "test")
    await world.forget_outbox()
    for name in ("credits_expiring", "balance_open_7", "consent_expiring"):
        segment = next(one for one in load() if one.name == name)
        assert (await scan(world, segment)).emitted == 1
        assert (await scan(world, segment, again=True)).repeated == 1
    member, debt, consented = [event for _, event in await world.told()]
    assert (member["aggregate_id"], member["aggregate_version"]) == (
        happened[0]["aggregate_id"],
        happened[0]["aggregate_version"],
    )
    assert (member["credits_expiring"], member["days_left"]) == (Decimal("80.00"), 30)
    assert (debt["payment_id"], debt["amount"], debt["days_overdue"]) == (
        happened[1]["payment_id"],
        happened[1]["amount"],
        7,
    )
    assert (consented["consent_type"], consented["due_date"]) == ("sms_transactional", DAY + timedelta(days=30))
    assert consented["consent_url"] == "https://luxe.example/p"
    assert consented["consent_request_id"] == consented["aggregate_id"] == consented["event_id"]


async def test_days_on_which_nothing_ran_are_made_up_for_or_said(world: World) -> None:
    await world.patients([DAY + timedelta(days=days) - timedelta(days=365 * 20 + 5) for days in range(6)])
    await scan(world, day=DAY - timedelta(days=1))
    tally = await scan(world, day=DAY + timedelta(days=5))
    assert (tally.emitted, tally.missed) == (2, 4)


async def test_two_scanners_at_once_tell_everybody_once(world: World) -> None:
    small = BIRTHDAY.model_copy(update={"batch": 7})
    await world.patients([BORN] * 200)
    clinic = await world.clinic()

    async def one() -> Tally:
        async with await connect_async(world.settings, "test") as connection:
            return await Scanner(connection, Records.open(world.settings)).scan(Look(small, clinic, DAY, None))

    tallies = await asyncio.gather(one(), one(), one())
    assert sum(tally.emitted for tally in tallies) == 200
    assert sum(tally.scanned for tally in tallies) == 200
    told = await world.told()
    assert len({event["patient_id"] for _, event in told}) == len(told) == 200


async def a_clinic(world: World) -> Clinic:
    await world.patients([None], prefix="first")
    return await world.clinic()


async def test_killed_in_the_middle_it_goes_on_where_it_was(world: World, tmp_path: Path) -> None:
    """Two processes, killed without warning again and again, and started anew: each of 3,000 once."""
    # 1980 is a leap year. Useful for two days, so that midnight may pass meanwhile.
    await world.patients([datetime.now((await a_clinic(world)).zone).date().replace(year=1980)] * 3_000)
    file = tmp_path / "segments.yaml"
    file.write_text(
        "segments: {birthday: {about: b, selection: birthday, event: birthday.due, once_per: year, hour: 0, useful_days: 2,"
        " batch: 1}}\n"
    )
    done = await asyncio.to_thread(killed_again_and_again, world.settings, file)
    assert json.loads(done)["unreadable"] == 0
    told = await world.told()
    assert len({event["patient_id"] for _, event in told}) == len(told) == 3_000


def killed_again_and_again(settings: Settings, file: Path) -> str:
    """Two processes at a time are killed while they scan; what the last one says, which is left alone."""
    dsn = settings.postgres_dsn.get_secret_value()
    environment = os.environ | {
        "LUXE_STATE_DIR": str(settings.state_dir),
        "LUXE_POSTGRES_DSN": dsn,
        "LUXE_SEGMENTS_FILE": str(file),
    }
    command = [sys.executable, "-m", "cli.main", "segments", "run", "--json", "--clinic", CLINIC]
    seen = 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in range(3):
            running = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(2)]
            wanted, deadline = seen + 200, time.monotonic() + 150
            while seen < wanted:
                assert time.monotonic() < deadline
                seen = len(connection.execute("SELECT FROM segment_emitted").fetchall())
            for process in running:
                process.send_signal(signal.SIGKILL)
                process.wait(30)
        assert seen < 3_000
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150, check=True)
    return done.stdout


async def test_a_dry_run_writes_nothing(world: World) -> None:
    ada, bea, _ = await world.patients([BORN, BORN, OTHER])
    scanner = Scanner(world.connection, world.records, clock=lambda: NOON)
    look = Look(BIRTHDAY, await world.clinic(), DAY, None)
    for expected in ([ada, bea], [ada, bea]):
        tally, people = await scanner.preview(look)
        assert (tally.emitted, people) == (2, expected)
    assert await world.told() == []
    assert await runs.latest_runs(world.connection) == {}
    await scan(world)
    tally, people = await scanner.preview(look)
    assert (tally.emitted, tally.repeated, people) == (0, 2, [])


async def test_a_full_outbox_is_waited_for_and_then_said(world: World) -> None:
    await world.patients([BORN] * 9)
    small = BIRTHDAY.model_copy(update={"batch": 3})
    look = Look(small, await world.clinic(), DAY, None)
    scanner = Scanner(world.connection, world.records, outbox_rows=3, outbox_seconds=0.0)
    with pytest.raises(OutboxFull, match="it goes on where it stopped"):
        await scanner.scan(look)
    assert len(await world.told()) == 3
    await world.forget_outbox()
    assert (await Scanner(world.connection, world.records).scan(look)).emitted == 6


async def test_each_clinic_is_looked_at_once_its_hour_has_come(world: World) -> None:
    await world.patients([BORN])
    await world.patients([BORN], clinic_id="south", prefix="s")
    daily = Daily(world.settings, (BIRTHDAY,), world.records)

    async def at(hour_utc: int, minute: int = 0) -> list[str]:
        now = datetime(2026, 5, 6, hour_utc, minute, tzinfo=UTC)
        await daily.look(world.connection, now)
        return [event["clinic_id"] for _, event in await world.told()]

    assert await at(9, 59) == []
    assert await at(10) == [CLINIC]  # 06:00 in New York
    assert await at(10, 1) == [CLINIC]
    assert await at(13) == [CLINIC, "south"]  # 06:00 in Los Angeles
    assert await at(9) == [CLINIC, "south"]  # the clock was set back
    assert daily.emitted.value("birthday") == 2


async def test_a_record_that_cannot_be_opened_is_counted_and_keeps_nobody_up(world: World) -> None:
    ada, _ = await world.patients([BORN, BORN])
    await world.connection.execute("UPDATE recipients SET sealed = '\\x00' WHERE recipient = %s", (ada,))
    tally = await scan(world)
    assert (tally.emitted, tally.unreadable) == (1, 1)


async def test_a_damaged_standing_begins_anew_and_keeps_nobody_up(world: World) -> None:
    ada, bea = await world.patients([None, None])
    await world.visited([ada, bea], NOON)
    await world.connection.execute("UPDATE patient_standings SET sealed = '\\x00' WHERE recipient = %s", (ada,))
    assert (await scan(world, INACTIVE_90)).unreadable == 1
    await world.visited([ada, bea], NOON)
    assert (await scan(world, INACTIVE_90, again=True)).unreadable == 0


async def test_a_process_that_cannot_be_configured_says_why_in_a_line(world: World, tmp_path: Path) -> None:
    file = tmp_path / "segments.yaml"
    file.write_text("segments: {birthday: 3}\n")
    done = await asyncio.to_thread(
        lambda: subprocess.run(
            [sys.executable, "-m", "connectors.segments"],
            env=os.environ | {"LUXE_STATE_DIR": str(world.settings.state_dir), "LUXE_SEGMENTS_FILE": str(file)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    )
    assert done.returncode == 78
    assert done.stderr == f"segments: {file}:1: segments.birthday: expected a mapping\n"


async def test_an_erased_patients_traces_go(world: World) -> None:
    (ada,) = await world.patients([BORN])
    await world.visited([ada], NOON)
    await scan(world)
    async with world.connection.transaction():
        await keys.erase(world.connection, world.records, ada, "test")
    for table in ("patient_standings", "segment_emitted"):
        cursor = await world.connection.execute(psycopg.sql.SQL("SELECT FROM {}").format(psycopg.sql.Identifier(table)))
        assert await cursor.fetchall() == []
    await world.visited([ada], NOON)  # an event that comes afterwards
    cursor = await world.connection.execute("SELECT FROM patient_standings")
    assert await cursor.fetchall() == []
