"""Reads and edits of one recipient each, gathered: everybody gets her own answer, and nobody another's trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from psycopg.errors import LockNotAvailable

from connectors.postgres.pool import Pool
from connectors.postgres.recipient_requests import RecipientRequests
from connectors.postgres.recipients import Recipient, RecipientError, upsert_many
from connectors.postgres.records import Records
from schemas.topics import RECIPIENTS
from tests.integration.postgres.conftest import Outbox

pytestmark = pytest.mark.integration

GIVEN_AT = datetime(2026, 3, 1, tzinfo=UTC)


class Refused(Exception):
    pass


@pytest.fixture
def requests(pool: Pool, records: Records) -> RecipientRequests:
    return RecipientRequests(pool, records, refusal=Refused, batch_seconds=10.0)


async def store(pool: Pool, records: Records, count: int) -> list[str]:
    patients = [Recipient(f"patient:{number}", "c1", {"first_name": "Ann"}) for number in range(count)]
    async with pool.connection() as connection:
        await upsert_many(connection, records, patients)
    return [patient.recipient for patient in patients]


def named(name: str) -> Callable[[Recipient | None], Recipient | None]:
    def edit(found: Recipient | None) -> Recipient | None:
        return None if found is None else replace(found, content={**found.content, "first_name": name})

    return edit


def refusing(_found: Recipient | None) -> Recipient | None:
    raise Refused


def nameless(found: Recipient | None) -> Recipient | None:
    """What no store of ours takes."""
    assert found is not None
    return replace(found, clinic_id="")


async def test_each_reader_gets_her_own(pool: Pool, records: Records, requests: RecipientRequests) -> None:
    people = await store(pool, records, 20)
    found = await asyncio.gather(*(requests.read(one) for one in [*people, "patient:nobody", people[0]]))
    assert [one.recipient if one else None for one in found] == [*people, None, people[0]]


async def test_edits_of_many_are_each_made_and_published(
    pool: Pool, records: Records, requests: RecipientRequests, outbox: Outbox
) -> None:
    people = await store(pool, records, 50)
    outbox.take(RECIPIENTS)
    made = await asyncio.gather(*(requests.edit(one, named(f"Name {one}"), "tester") for one in people))
    assert [one.recipient and one.recipient.content["first_name"] for one in made] == [f"Name {one}" for one in people]
    assert sorted(key for key, _ in outbox.take(RECIPIENTS)) == sorted(people)
    waited_for = [id_ for one in made for id_ in one.outbox_ids]
    assert len(waited_for) == len(set(waited_for)) == len(people)


async def test_edits_of_one_recipient_at_once_are_made_one_after_another(
    pool: Pool, records: Records, requests: RecipientRequests
) -> None:
    [ann] = await store(pool, records, 1)
    made = await asyncio.gather(*(requests.edit(ann, named(f"Name {number}"), "tester") for number in range(5)))
    assert sorted(one.recipient.version for one in made if one.recipient) == [2, 3, 4, 5, 6]


async def test_what_is_wrong_with_one_edit_is_hers_alone(
    pool: Pool, records: Records, requests: RecipientRequests
) -> None:
    people = await store(pool, records, 4)
    made = await asyncio.gather(
        requests.edit(people[0], named("New"), "tester"),
        requests.edit(people[1], refusing, "tester"),
        requests.edit(people[2], nameless, "tester"),
        requests.edit("patient:nobody", named("New"), "tester"),
        requests.edit(people[3], named("New"), "tester"),
        return_exceptions=True,
    )
    kinds = [type(one) for one in made]
    assert kinds[1:3] == [Refused, RecipientError]
    assert [one.recipient is None for one in made if not isinstance(one, BaseException)] == [False, True, False]
    stored = await asyncio.gather(*(requests.read(one) for one in people))
    assert [one and one.content["first_name"] for one in stored] == ["New", "Ann", "Ann", "New"]
    assert await requests.read("patient:nobody") is None


async def test_nobody_waits_with_one_whose_row_is_locked(
    pool: Pool, records: Records, requests: RecipientRequests
) -> None:
    people = await store(pool, records, 3)
    async with pool.connection() as connection:
        await connection.execute("SELECT FROM recipients WHERE recipient = %s FOR UPDATE", (people[0],))
        locked = asyncio.create_task(requests.edit(people[0], named("Late"), "tester"))
        others = await asyncio.gather(*(requests.edit(one, named("New"), "tester") for one in people[1:]))
        assert all(one.recipient for one in others)
        assert not locked.done()
    made = await locked
    assert made.recipient is not None
    assert made.recipient.content["first_name"] == "Late"


async def test_an_edit_that_was_made_already_waits_for_what_is_on_its_way(
    pool: Pool, records: Records, requests: RecipientRequests
) -> None:
    [ann] = await store(pool, records, 1)
    first = await requests.edit(ann, named("New"), "tester")
    again = await requests.edit(ann, named("New"), "tester")
    assert set(first.outbox_ids) <= set(again.outbox_ids)


async def test_an_edit_answers_what_a_reader_then_finds(
    pool: Pool, records: Records, requests: RecipientRequests
) -> None:
    [ann] = await store(pool, records, 1)

    def agreed(found: Recipient | None) -> Recipient | None:
        assert found is not None
        given = {"consent_type": "sms_marketing", "status": "opted_in", "consent_date": GIVEN_AT, "method": "written"}
        return replace(found, content={**found.content, "consents": [given]})

    made = await requests.edit(ann, agreed, "tester")
    assert made.recipient == await requests.read(ann)
    again = await requests.edit(ann, agreed, "tester")
    assert again.recipient == made.recipient


async def test_a_batch_that_is_never_answered_does_not_keep_the_next(pool: Pool, records: Records) -> None:
    [ann, bea] = await store(pool, records, 2)
    requests = RecipientRequests(pool, records, refusal=Refused, batch_seconds=2.5)
    async with pool.connection() as connection:
        await connection.execute("LOCK TABLE recipients")
        for asked in (requests.read(ann), requests.edit(ann, named("New"), "tester")):
            with pytest.raises((TimeoutError, LockNotAvailable)):
                await asyncio.wait_for(asked, 30)
    found = await requests.read(bea)
    assert found is not None
    assert (await requests.edit(bea, named("New"), "tester")).recipient is not None
