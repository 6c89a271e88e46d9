"""Recipients: sealed, compared, published with their change; consents kept as proof and turned into gates."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from connectors.postgres import data_keys, recipients
from connectors.postgres.pool import Pool
from connectors.postgres.recipients import Recipient, RecipientError
from connectors.postgres.records import Records
from connectors.sealing import KeyRing, open_sealed
from tests.integration.postgres.conftest import Outbox

pytestmark = pytest.mark.integration

GIVEN_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def consent(status: str, consent_type: str = "sms_marketing") -> dict[str, Any]:
    return {"consent_type": consent_type, "status": status, "consent_date": GIVEN_AT, "method": "written"}


def philippa(**content: Any) -> Recipient:
    return Recipient(
        "patient:1",
        "c1",
        {
            "first_name": "Philippa",
            "phones": [{"e164": "+15005550111", "verified": True}],
            "emails": [{"address": "Philippa@Example.com"}],
            **content,
        },
    )


async def store(pool: Pool, records: Records, *rows: Recipient) -> recipients.Written:
    async with pool.connection() as connection:
        return await recipients.upsert_many(connection, records, rows, "tester")


async def fetch(pool: Pool, query: str) -> list[tuple[Any, ...]]:
    async with pool.connection() as connection:
        return await (await connection.execute(query.encode())).fetchall()


async def test_a_new_recipient_is_published_sealed_with_her_own_key(
    pool: Pool, records: Records, ring: KeyRing, outbox: Outbox
) -> None:
    written = await store(pool, records, philippa())
    assert (written.created, len(written.outbox_ids)) == (["patient:1"], 1)
    [(key, record)] = outbox.take("recipients")
    assert record is not None
    assert (key, record["kind"], record["clinic_id"], record["version"]) == ("patient:1", "patient", "c1", 1)
    data_key = ring.unwrap(record["wrapped_key"], "patient:1", "c1")
    content = records.decode_content(open_sealed(data_key, "Recipient", "patient:1", record["sealed"]))
    assert content["first_name"] == "Philippa"
    assert (await recipients.wrapped_keys(pool, ["patient:1", "patient:2"])) == {
        "patient:1": (record["wrapped_key"], "c1")
    }


async def test_nothing_of_her_lies_in_clear(pool: Pool, records: Records) -> None:
    await store(pool, records, philippa())
    for query in (
        "SELECT t::text FROM recipients t",
        "SELECT t::text FROM addresses t",
        "SELECT t::text FROM data_keys t",
        "SELECT t::text FROM outbox t",
    ):
        rows = await fetch(pool, query)
        assert rows
        for told in ("philippa", "15005550111", b"philippa".hex(), b"Philippa".hex(), b"15005550111".hex()):
            assert all(told not in row[0].lower() for row in rows)


async def test_what_is_stored_already_publishes_nothing(pool: Pool, records: Records, outbox: Outbox) -> None:
    await store(pool, records, philippa(consents=[consent("opted_in")]))
    outbox.take("recipients")
    written = await store(pool, records, philippa(consents=[consent("opted_in")]))
    assert (written.unchanged, written.outbox_ids) == (["patient:1"], [])
    assert outbox.take("recipients") == []


async def test_a_change_raises_the_version_and_keeps_the_key(pool: Pool, records: Records, outbox: Outbox) -> None:
    await store(pool, records, philippa())
    await store(pool, records, philippa(locale="es-MX"))
    first, second = (record for _, record in outbox.take("recipients"))
    assert first is not None
    assert second is not None
    assert (first["version"], second["version"]) == (1, 2)
    assert first["wrapped_key"] == second["wrapped_key"]


async def test_one_who_moves_to_another_clinic_stays_readable(
    pool: Pool, records: Records, ring: KeyRing, outbox: Outbox
) -> None:
    await store(pool, records, philippa())
    before = philippa()
    await store(pool, records, Recipient(before.recipient, "c2", before.content))
    record = outbox.take("recipients")[-1][1]
    assert record is not None
    ring.unwrap(record["wrapped_key"], "patient:1", "c2")
    async with pool.connection() as connection:
        found = await recipients.get_many(connection, records, ["patient:1"])
    assert (found["patient:1"].clinic_id, found["patient:1"].content["first_name"]) == ("c2", "Philippa")


async def test_she_is_found_by_any_spelling_of_her_addresses(pool: Pool, records: Records) -> None:
    twin = Recipient("patient:2", "c1", {"phones": [{"e164": "+15005550111"}]})
    await store(pool, records, philippa(), twin)
    async with pool.connection() as connection:
        found = recipients.find_by_address
        assert await found(connection, records, "sms", "+1 500 555 0111") == ["patient:1", "patient:2"]
        assert await found(connection, records, "email", "PHILIPPA@example.com ") == ["patient:1"]
        assert await found(connection, records, "email", "other@example.com") == []
    await store(pool, records, philippa(phones=[]))
    async with pool.connection() as connection:
        assert await recipients.find_by_address(connection, records, "sms", "+15005550111") == ["patient:2"]


async def test_consents_are_history_and_gates(pool: Pool, records: Records, outbox: Outbox) -> None:
    for status in ("opted_in", "opted_out", "opted_out", "opted_in"):
        await store(pool, records, philippa(consents=[consent(status)]))
    # A change elsewhere that does not mention consents removes none.
    await store(pool, records, philippa(locale="en-GB"))
    history = await fetch(pool, "SELECT status, version, updated_by FROM consents ORDER BY id")
    assert history == [("opted_in", 1, "tester"), ("opted_out", 2, "tester"), ("opted_in", 3, "tester")]
    gates = outbox.take("gates")
    key = "consent:patient:1:sms_marketing"
    assert [(name, record and record["reason"]) for name, record in gates] == [(key, "opted_out"), (key, None)]
    async with pool.connection() as connection:
        found = await recipients.get_many(connection, records, ["patient:1"])
    assert [(kept["status"], kept["version"]) for kept in found["patient:1"].content["consents"]] == [("opted_in", 3)]


async def test_a_preference_withdrawn_shuts_its_gate_and_given_again_opens_it(
    pool: Pool, records: Records, outbox: Outbox
) -> None:
    asked: dict[str, Any] = {"sms_opt_in": {"clinical": True}, "email_opt_in": {}, "push_opt_in": {}}
    declined = {**asked, "sms_opt_in": {"clinical": False}}
    await store(pool, records, philippa(preferences=declined))
    assert outbox.take("gates") == []  # nothing was decided yet for somebody new
    await store(pool, records, philippa(preferences=asked))
    await store(pool, records, philippa(preferences=declined))
    written = await store(pool, records, philippa(preferences=declined, first_name="Pippa"))
    assert (written.updated, written.gate_ids) == (["patient:1"], [])
    await store(pool, records, philippa(preferences=asked))
    told = [(key, record and (record["kind"], record["reason"])) for key, record in outbox.take("gates")]
    gate = "preference:patient:1:sms_opt_in.clinical"
    assert told == [(gate, ("consent", "opted_out")), (gate, None)]


async def test_the_history_cannot_be_changed(pool: Pool, records: Records) -> None:
    await store(pool, records, philippa(consents=[consent("opted_in")]))
    for statement in ("DELETE FROM consents", "UPDATE consents SET status = 'opted_out'", "TRUNCATE consents"):
        with pytest.raises(psycopg.errors.RaiseException, match="never changed"):
            await fetch(pool, statement)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (philippa(phones=[{"e164": "555 0111"}]), "phones[0].e164"),
        (philippa(emails=[{"address": "philippa"}]), "emails[0].address"),
        (philippa(time_zone="America/Atlantis"), "time_zone"),
        (philippa(first_name=7), "first_name"),
        (Recipient("philippa", "c1", {}), "recipient_id"),
        (Recipient("patient:", "c1", {}), "recipient_id"),
        (Recipient("patient:1\n", "c1", {}), "recipient_id"),
        (Recipient("patient:1", "", {}), "clinic_id"),
        (Recipient("staff:1", "c1", {}, roles=("Philippa, admin",)), "roles"),
    ],
)
async def test_what_is_impossible_is_refused_unshown_and_stores_nothing(
    pool: Pool, records: Records, row: Recipient, field: str
) -> None:
    with pytest.raises(RecipientError) as refusal:
        await store(pool, records, Recipient("patient:0", "c1", {}), row)
    assert refusal.value.field == field
    for told in ("0111", "philippa", "Philippa", "Atlantis"):
        assert told not in str(refusal.value)
    assert await fetch(pool, "SELECT FROM recipients") == []
    assert await fetch(pool, "SELECT FROM outbox") == []


async def test_two_writers_of_one_new_recipient_agree_on_one_key(pool: Pool, records: Records, outbox: Outbox) -> None:
    rows = [Recipient(f"patient:{number}", "c1", {"first_name": "A"}) for number in range(50)]
    changed = [Recipient(row.recipient, "c1", {"first_name": "B"}) for row in reversed(rows)]
    other = Records(records.ring, records.codec)
    await asyncio.gather(store(pool, records, *rows), store(pool, other, *changed))
    newest = dict(outbox.take("recipients"))
    async with pool.connection() as connection:
        found = await recipients.get_many(connection, records, list(newest))
        keys = await data_keys.find(connection, list(newest))
    assert len(found) == 50
    for recipient, record in newest.items():
        assert record is not None
        assert record["version"] == found[recipient].version == 2
        assert record["wrapped_key"] == keys[recipient].wrapped


async def test_an_edit_sees_what_is_stored_and_may_leave_it(pool: Pool, records: Records, outbox: Outbox) -> None:
    await store(pool, records, philippa())
    seen: list[Recipient | None] = []

    def look(found: Recipient | None) -> Recipient | None:
        seen.append(found)
        return None

    async with pool.connection() as connection:
        written = await recipients.edit_many(connection, records, {"patient:1": look, "patient:9": look})
    assert written.unchanged == ["patient:1", "patient:9"]
    assert [found and found.version for found in seen] == [1, None]
    assert len(outbox.take("recipients")) == 1
    assert await fetch(pool, "SELECT recipient FROM recipients") == [("patient:1",)]


def test_a_recipient_prints_without_her_name_and_id() -> None:
    assert repr(philippa()) == "Recipient(patient of 'c1', version 0)"
