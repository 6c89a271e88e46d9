"""Inboxes in Postgres: put once, in an order that no reader misses anything by, marked, taken, expired, erased."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from connectors.postgres import inbox, inbox_arrivals, inbox_marks, keys
from connectors.postgres.housekeeping import keep_house
from connectors.postgres.inbox import Item, Viewer
from connectors.postgres.inbox_arrivals import Arrival
from connectors.postgres.pool import Pool, connect
from connectors.postgres.recipients import Recipient, upsert_many
from connectors.postgres.records import Records
from connectors.settings import Settings
from schemas.topics import STATUS
from tests.integration.postgres.conftest import Outbox

pytestmark = pytest.mark.integration

CLINIC = "c1"


def arrival(recipient: str, **changes: Any) -> Arrival:
    """A message that nobody put yet."""
    notification = changes.pop("notification_id", str(uuid.uuid4()))
    now = datetime.now(UTC)
    told: dict[str, Any] = {
        "recipient": recipient,
        "notification_id": notification,
        "delivery_id": str(uuid.uuid4()),
        "event_id": str(uuid.uuid4()),
        "clinic_id": CLINIC,
        "notification_type": "appointment_confirmation",
        "category": "transactional",
        "lane": "high",
        "step": 0,
        "attempt": 1,
        "template_id": "appointment_confirmation",
        "template_version": 1,
        "correlation_id": None,
        "occurred_at": now,
        "group_key": "appointment:a1",
        "acknowledge": "none",
        "locale": "en",
        "sealed": b"sealed",
        "expires_at": now + timedelta(days=1),
    }
    return Arrival(**told | changes)


def somebody(kind: str = "patient") -> str:
    return f"{kind}:{uuid.uuid4()}"


async def listed(pool: Pool, viewer: Viewer, **how: Any) -> list[Item]:
    async with pool.connection() as connection:
        return await inbox.page(connection, viewer, limit=1000, **how)


async def marked(pool: Pool, records: Records, viewer: Viewer, how: inbox_marks.Mark, **which: Any) -> Sequence[Item]:
    async with pool.connection() as connection:
        return (await inbox_marks.mark(connection, records, viewer, how, **which)).items


async def counted(pool: Pool, viewer: Viewer) -> inbox.Counts:
    async with pool.connection() as connection:
        return (await inbox.counts(connection, [viewer]))[0]


async def test_what_is_put_twice_lies_there_once_and_newest_first(pool: Pool, records: Records) -> None:
    jane = somebody()
    first, second = arrival(jane), arrival(jane)
    placed = await inbox_arrivals.put(pool, records, [first, second, first])
    assert [one.version for one in placed] == [1, 2, 1]
    again = await inbox_arrivals.put(pool, records, [second, arrival(jane, notification_id=first.notification_id)])
    assert [one.delivery_id for one in again] == [second.delivery_id, first.delivery_id]
    found = await listed(pool, Viewer(jane))
    assert [item.notification_id for item in found] == [second.notification_id, first.notification_id]
    assert await listed(pool, Viewer(jane), before=found[0].number) == found[1:]


@pytest.mark.parametrize("acknowledge", ["none", "shared"])
async def test_who_stands_still_while_putting_holds_up_nobody_for_long(
    pool: Pool, records: Records, monkeypatch: pytest.MonkeyPatch, acknowledge: str
) -> None:
    """Stopped between its last statement and the commit; what it had not committed is put by whoever comes next."""
    jane = somebody()
    first, second = (arrival(jane, acknowledge=acknowledge) for _ in range(2))
    standing, wakes = asyncio.Event(), asyncio.Event()
    commit = psycopg.AsyncConnection.commit

    async def stands_still(connection: psycopg.AsyncConnection) -> None:
        standing.set()
        await wakes.wait()
        await commit(connection)

    monkeypatch.setattr(inbox_arrivals, "STANDSTILL_SECONDS", 1)
    monkeypatch.setattr(psycopg.AsyncConnection, "commit", stands_still)
    stalled = asyncio.create_task(inbox_arrivals.put(pool, records, [first]))
    await standing.wait()
    monkeypatch.setattr(psycopg.AsyncConnection, "commit", commit)
    async with asyncio.timeout(30):  # half of what Postgres gives a transaction that nobody limits
        placed = await inbox_arrivals.put(pool, records, [second, first])
    assert {one.delivery_id for one in placed} == {first.delivery_id, second.delivery_id}
    wakes.set()
    (end,) = await asyncio.gather(stalled, return_exceptions=True)
    ended_by_postgres = isinstance(end, psycopg.errors.IdleInTransactionSessionTimeout | psycopg.OperationalError)
    assert ended_by_postgres == (acknowledge == "shared"), end
    assert len(await listed(pool, Viewer(jane))) == 2


async def test_each_mark_and_what_counts(pool: Pool, records: Records, outbox: Outbox) -> None:
    jane = Viewer(somebody())
    arrivals = [arrival(jane.recipient, group_key=f"appointment:a{n % 2}") for n in range(4)]
    await inbox_arrivals.put(pool, records, arrivals)
    newest = arrivals[-1].notification_id
    assert (await counted(pool, jane))[:3] == (4, 4, 4)
    await marked(pool, records, jane, "seen", up_to=3)
    assert (await counted(pool, jane))[:2] == (4, 1)
    await marked(pool, records, jane, "read", notification_id=newest)
    assert (await counted(pool, jane))[:2] == (3, 0)
    await marked(pool, records, jane, "archive", notification_id=newest)
    assert [item.notification_id for item in await listed(pool, jane, view="archived")] == [newest]
    later = datetime.now(UTC) + timedelta(hours=1)
    await marked(pool, records, jane, "snooze", notification_id=arrivals[0].notification_id, until=later)
    assert [item.number for item in await listed(pool, jane)] == [3, 2]
    assert [item.snoozed_until for item in await listed(pool, jane, view="snoozed")] == [later]
    assert (await counted(pool, jane))[0] == 2
    assert [item.number for item in await listed(pool, jane, group_key="appointment:a1", view="all")] == [4, 2]
    async with pool.connection() as connection:
        groups = await inbox.groups(connection, jane, before=None, limit=10)
    assert [(group.group_key, group.items, group.unread) for group in groups] == [
        ("appointment:a0", 1, 1),
        ("appointment:a1", 1, 1),
    ]
    # Marked again, unread, and read again: the reading is told once.
    assert await marked(pool, records, jane, "read", notification_id=newest) == ()
    await marked(pool, records, jane, "unread", notification_id=newest)
    await marked(pool, records, jane, "read", notification_id=newest)
    told = outbox.take(STATUS)
    assert [(key, status and status["status"], status and status["delivery_id"]) for key, status in told] == [
        (jane.recipient, "read", arrivals[-1].delivery_id)
    ]


async def test_everything_up_to_what_was_shown_is_read_and_nothing_newer(pool: Pool, records: Records) -> None:
    jane = Viewer(somebody())
    await inbox_arrivals.put(pool, records, [arrival(jane.recipient) for _ in range(5)])
    read = await marked(pool, records, jane, "read", up_to=4)
    assert sorted(item.number for item in read) == [1, 2, 3, 4]
    assert sorted(item.version for item in read) == [6, 7, 8, 9]
    assert (await counted(pool, jane))[:3] == (1, 1, 9)


async def test_staff_see_what_is_of_clinics_they_work_for(pool: Pool, records: Records) -> None:
    ana = somebody("staff")
    await inbox_arrivals.put(pool, records, [arrival(ana), arrival(ana, clinic_id="c2")])
    here, there, nowhere = (Viewer(ana, frozenset(clinics)) for clinics in (["c1"], ["c1", "c2"], []))
    assert [len(await listed(pool, viewer)) for viewer in (here, there, nowhere)] == [1, 2, 0]
    assert [(await counted(pool, viewer)).unread for viewer in (here, there, nowhere)] == [1, 2, 0]
    assert len(await marked(pool, records, here, "read", up_to=99)) == 1


async def test_an_alert_is_taken_once_and_gone_for_everybody(pool: Pool, records: Records, outbox: Outbox) -> None:
    people = [somebody("staff") for _ in range(3)]
    event = str(uuid.uuid4())
    shared = [arrival(one, event_id=event, acknowledge="shared", category="real_time") for one in people]
    own = arrival(people[0], event_id=event, notification_type="staff_message", acknowledge="own")
    await inbox_arrivals.put(pool, records, [*shared, own])
    viewers = [Viewer(one, frozenset([CLINIC])) for one in people]

    async def take(who: int, which: Arrival) -> inbox_marks.Marked | None:
        async with pool.connection() as connection:
            return await inbox_marks.acknowledge(connection, records, viewers[who], which.notification_id)

    ends = await asyncio.gather(take(1, shared[1]), take(2, shared[2]))
    takers = {item.acknowledged_by for end in ends if end is not None for item in end.items}
    assert len(takers) == 1
    assert sorted(len(end.versions) for end in ends if end is not None) == [0, 3]
    assert [len(await listed(pool, viewer)) for viewer in viewers] == [1, 0, 0]
    assert sorted(key for key, _ in outbox.take(STATUS)) == sorted(people)
    taken = await take(0, own)
    assert taken is not None
    assert taken.versions.keys() == {people[0]}
    assert await take(0, arrival(people[0])) is None


async def test_an_alert_that_comes_while_it_is_taken_comes_as_taken(
    pool: Pool, records: Records, outbox: Outbox
) -> None:
    for _ in range(20):
        event, people = str(uuid.uuid4()), [somebody("staff") for _ in range(2)]
        alerts = [arrival(one, event_id=event, acknowledge="shared") for one in people]
        await inbox_arrivals.put(pool, records, alerts[:1])

        async def take(alert: Arrival = alerts[0]) -> None:
            async with pool.connection() as connection:
                await inbox_marks.acknowledge(connection, records, Viewer(alert.recipient), alert.notification_id)

        await asyncio.gather(take(), inbox_arrivals.put(pool, records, alerts[1:]))
        assert [await listed(pool, Viewer(one)) for one in people] == [[], []]
        assert sorted(key for key, _ in outbox.take(STATUS)) == sorted(people)


async def test_what_expired_is_nowhere_and_is_deleted_a_day_later(
    pool: Pool, records: Records, settings: Settings
) -> None:
    jane = Viewer(somebody())
    now = datetime.now(UTC)
    past, long_past = arrival(jane.recipient, expires_at=now), arrival(jane.recipient, expires_at=now - timedelta(2))
    kept = arrival(jane.recipient)
    await inbox_arrivals.put(pool, records, [past, long_past, kept])
    assert [item.number for item in await listed(pool, jane, view="all")] == [3]
    assert (await counted(pool, jane)).unread == 1
    with connect(settings, "test") as connection:
        keep_house(connection)
        left = connection.execute("SELECT number FROM inbox_items ORDER BY 1").fetchall()
    assert left == [(1,), (3,)]
    assert (await counted(pool, jane)).forgotten == 2


async def test_who_is_erased_has_no_inbox(pool: Pool, records: Records) -> None:
    jane = somebody()
    async with pool.connection() as connection:
        await upsert_many(connection, records, [Recipient(jane, CLINIC, {"first_name": "Jane"})], "test")
    await inbox_arrivals.put(pool, records, [arrival(jane)])
    async with pool.connection() as connection:
        await keys.erase(connection, records, jane, "test")
    assert await listed(pool, Viewer(jane), view="all") == []


async def test_whoever_reads_by_version_while_others_write_misses_nothing_and_sees_nothing_twice(
    pool: Pool, records: Records
) -> None:
    """A random history of arrivals and marks by several writers at once; readers that are cut off and resume."""
    jane = Viewer(somebody())
    chance = random.Random(20)
    writing = True

    async def write(seed: int) -> None:
        own = random.Random(seed)
        for _ in range(40):
            known = await listed(pool, jane)
            if known and own.random() < 0.5:
                how: inbox_marks.Mark = own.choice(["read", "unread", "archive"])
                await marked(pool, records, jane, how, notification_id=own.choice(known).notification_id)
            else:
                await inbox_arrivals.put(pool, records, [arrival(jane.recipient) for _ in range(own.randint(1, 3))])

    async def follow() -> dict[str, Item]:
        last, model, seen = 0, dict[str, Item](), set[int]()
        while True:
            done = not writing
            async with pool.connection() as connection:
                (found,) = await inbox.changes(connection, [(jane.recipient, last)], chance.randint(1, 4))
            if not found and done:
                return model
            # Cut off in the midst of what was read: the rest comes again, from the last that was taken.
            for item in found[: chance.randint(1, 4)]:
                assert item.version not in seen
                seen.add(item.version)
                model[item.notification_id] = item
                last = item.version

    readers = [asyncio.create_task(follow()) for _ in range(2)]
    await asyncio.gather(*(write(seed) for seed in range(3)))
    writing = False
    truth = {item.notification_id: item for item in await listed(pool, jane, view="all")}
    for reader in readers:
        assert await reader == truth


def test_nothing_of_a_person_is_printed() -> None:
    put = arrival("patient:secret", acknowledge="none")
    assert "secret" not in repr(put) + repr(Viewer("patient:secret"))


async def test_one_bad_row_fails_its_batch(pool: Pool, records: Records) -> None:
    with pytest.raises(psycopg.DataError):
        await inbox_arrivals.put(pool, records, [arrival(somebody()), arrival(somebody(), locale="e\x00n")])
