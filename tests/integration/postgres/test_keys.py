"""Rotation loses nobody, goes on after an interruption, and is followed; erasure leaves nothing that could be opened."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
import pytest

from connectors.postgres import keys, policies, recipients, short_links
from connectors.postgres.keys import KekStatus, KeysError
from connectors.postgres.pool import Pool, connect_async
from connectors.postgres.recipients import Recipient
from connectors.postgres.records import Records
from connectors.postgres.short_links import ShortLink
from connectors.sealing import KeyRing
from connectors.sealing.keyring import kek_id_of
from connectors.settings import Settings
from tests.integration.postgres.conftest import Outbox

pytestmark = pytest.mark.integration

PEOPLE = [f"patient:{number}" for number in range(12)]


@pytest.fixture
async def people(pool: Pool, records: Records, outbox: Outbox) -> None:
    async with pool.connection() as connection:
        await policies.put(connection, records, {"clinic_id": "c1", "name": "x", "time_zone": "UTC"}, "tester")
        rows = [Recipient(name, "c1", {"phones": [{"e164": "+15005550111"}]}) for name in PEOPLE]
        await recipients.upsert_many(connection, records, rows)
    outbox.take("recipients")
    outbox.take("policies")


async def rotate(settings: Settings, records: Records, progress: Any = lambda done, total: None) -> str:
    async with await connect_async(settings, "test") as connection:
        return await keys.rotate(connection, records, "tester", progress)


async def status(settings: Settings, records: Records) -> list[KekStatus]:
    async with await connect_async(settings, "test") as connection:
        return await keys.status(connection, records)


async def retire(settings: Settings, records: Records) -> list[str]:
    async with await connect_async(settings, "test") as connection:
        return await keys.retire(connection, records, "tester")


@pytest.mark.usefixtures("people")
async def test_rotation_wraps_everything_anew_and_publishes_it(
    settings: Settings, records: Records, ring: KeyRing, outbox: Outbox
) -> None:
    seen: list[tuple[int, int]] = []
    assert await rotate(settings, records, lambda done, total: seen.append((done, total))) == "k2"
    assert seen == [(0, 13), (13, 13)]
    published = outbox.take("recipients")
    assert sorted(key for key, _ in published) == sorted(PEOPLE)
    for key, record in published:
        assert record is not None
        assert (kek_id_of(record["wrapped_key"]), record["version"]) == ("k2", 2)
        # A process that started before the rotation opens it all the same.
        records.open_content(ring.unwrap(record["wrapped_key"], key, "c1"), key, record["sealed"])
    [(_, policy)] = outbox.take("policies")
    assert policy is not None
    assert kek_id_of(policy["wrapped_key"]) == "k2"
    assert await status(settings, records) == [
        KekStatus("k1", in_ring=True, active=False, retired=False, wrapped_keys=0),
        KekStatus("k2", in_ring=True, active=True, retired=False, wrapped_keys=13),
    ]


@pytest.mark.usefixtures("people")
async def test_an_interrupted_rotation_is_finished_by_the_next(
    settings: Settings, records: Records, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "ROTATE_ROWS", 5)

    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rotate(settings, records, interrupt)
    assert [kek.wrapped_keys for kek in await status(settings, records)] == [8, 5]
    outbox.take("recipients")
    outbox.take("policies")
    with pytest.raises(KeysError, match="k1 still wraps 8"):
        await retire(settings, records)
    assert await rotate(settings, records) == "k2"
    assert [kek.wrapped_keys for kek in await status(settings, records)] == [0, 13]
    assert await rotate(settings, records) == "k3"


@pytest.mark.usefixtures("people")
async def test_a_retired_key_is_gone_and_can_wrap_nothing_more(
    settings: Settings, records: Records, pool: Pool, ring: KeyRing, outbox: Outbox
) -> None:
    stale, _ = ring.new_data_key("patient:new", "c1")  # wrapped by k1, not yet stored
    await rotate(settings, records)
    outbox.take("recipients")
    outbox.take("policies")
    assert await retire(settings, records) == ["k1"]
    wrapped, clinic_id = (await recipients.wrapped_keys(pool, ["patient:1"]))["patient:1"]
    assert ring.unwrap(wrapped, "patient:1", clinic_id).scope == "r"
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        async with pool.connection() as connection:
            await connection.execute(
                "INSERT INTO data_keys (subject, clinic_id, kek_id, wrapped) VALUES ('patient:new', 'c1', 'k1', %s)",
                (stale,),
            )
    assert await retire(settings, records) == []


async def test_only_one_works_on_the_keys(settings: Settings, records: Records) -> None:
    async with await connect_async(settings, "test") as connection:
        await connection.execute("SELECT pg_advisory_lock(7305808869232277)")
        with pytest.raises(KeysError, match="another"):
            await rotate(settings, records)


@pytest.mark.usefixtures("people")
async def test_erasure_leaves_nothing_that_could_be_opened(
    settings: Settings, records: Records, pool: Pool, ring: KeyRing, outbox: Outbox
) -> None:
    links = [ShortLink(f"code-{name}", "d-1", name, b"sealed", False) for name in PEOPLE[:2]]
    await short_links.keep(pool, links, 90)
    async with pool.connection() as connection:
        # One change not yet published, one person only.
        await recipients.upsert_many(connection, records, [Recipient("patient:1", "c1", {"first_name": "Philippa"})])
        ids = await keys.erase(connection, records, "patient:1", "tester")
    assert len(ids) == 2
    assert outbox.take("recipients") == [("patient:1", None)]
    [(gate, record)] = outbox.take("gates")
    assert record is not None
    assert (gate, record["reason"]) == ("recipient:patient:1", "erased")
    async with pool.connection() as connection:
        assert list(await recipients.get_many(connection, records, PEOPLE[:2])) == ["patient:0"]
        assert await recipients.find_by_address(connection, records, "sms", "+15005550111") == [
            name for name in sorted(PEOPLE) if name != "patient:1"
        ]
        assert await _only(connection, "SELECT recipient FROM recipients WHERE sealed IS NULL") == "patient:1"
        assert await _only(connection, "SELECT action || ' ' || subject || ' ' || actor FROM key_audit") == (
            "erase patient:1 tester"
        )
        assert await _only(connection, "SELECT recipient FROM short_links") == "patient:0"
    assert await recipients.wrapped_keys(pool, ["patient:1"]) == {}


@pytest.mark.usefixtures("people")
async def test_one_who_was_erased_is_not_stored_again(pool: Pool, records: Records, outbox: Outbox) -> None:
    async with pool.connection() as connection:
        await keys.erase(connection, records, "patient:1", "tester")
        await keys.erase(connection, records, "patient:1", "tester")  # twice is no error
    outbox.take("recipients")
    async with pool.connection() as connection:
        written = await recipients.upsert_many(connection, records, [Recipient("patient:1", "c1", {})])
    assert (written.erased, outbox.take("recipients")) == (["patient:1"], [])


async def test_somebody_unknown_cannot_be_erased(pool: Pool, records: Records) -> None:
    with pytest.raises(KeysError, match="no recipient"):
        async with pool.connection() as connection:
            await keys.erase(connection, records, "philippa", "tester")
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT FROM recipients")
        assert await cursor.fetchall() == []


async def test_the_audit_cannot_be_changed(pool: Pool) -> None:
    async with pool.connection() as connection:
        with pytest.raises(psycopg.errors.RaiseException, match="never changed"):
            await connection.execute("DELETE FROM key_audit")


async def _only(connection: psycopg.AsyncConnection, query: LiteralString) -> Any:
    cursor = await connection.execute(query)
    [(value,)] = await cursor.fetchall()
    return value
