"""The ledger: each attempt begun once, results kept, stalled attempts found out; receipts find their deliveries."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import psycopg
import pytest

from connectors.postgres import deliveries, parked, policies
from connectors.postgres.deliveries import Attempt, Finish, Verdict
from connectors.postgres.housekeeping import DELIVERY_RETENTION_DAYS, keep_house
from connectors.postgres.parked import Receipt
from connectors.postgres.pool import Pool, each_by_itself
from connectors.postgres.records import Records
from connectors.settings import Settings
from tests.integration.postgres.test_relay import connected

pytestmark = pytest.mark.integration


def attempt(delivery_id: str, number: int = 1) -> Attempt:
    return Attempt(
        delivery_id=delivery_id,
        notification_id="n1",
        recipient="patient:1",
        clinic_id="c1",
        notification_type="appointment_confirmation",
        category="transactional",
        lane="high",
        channel="sms",
        step=0,
        attempt=number,
        provider="twilio",
        template_id="appointment_confirmation",
        template_version=1,
        occurred_at=datetime(2026, 3, 1, tzinfo=UTC),
    )


async def verdicts(pool: Pool, *attempts: Attempt, lease_seconds: float = 60) -> list[Verdict]:
    return [result.verdict for result in await deliveries.begin(pool, attempts, lease_seconds)]


async def test_an_attempt_is_begun_once(pool: Pool) -> None:
    assert await verdicts(pool, attempt("d2"), attempt("d1"), attempt("d2")) == ["begun", "begun", "leased"]
    assert await verdicts(pool, attempt("d1"), attempt("d3")) == ["leased", "begun"]
    await deliveries.finish(pool, [Finish("d1", 1, "accepted", "SM1"), Finish("d2", 1, "failed")])
    found = await deliveries.begin(pool, [attempt("d1"), attempt("d2")])
    assert [(result.verdict, result.state, result.provider_message_id) for result in found] == [
        ("finished", "accepted", "SM1"),
        ("finished", "failed", None),
    ]


async def test_one_of_many_workers_gets_it(pool: Pool) -> None:
    batches = [[attempt(f"d{number}") for number in range(50)] for _ in range(4)]
    found = await asyncio.gather(*(verdicts(pool, *reversed(batch)) for batch in batches))
    assert sum(batch.count("begun") for batch in found) == 50
    assert sum(batch.count("leased") for batch in found) == 150


async def test_an_attempt_without_a_result_is_unknown_to_the_next_and_only_to_one(pool: Pool) -> None:
    await verdicts(pool, attempt("d1"), lease_seconds=0)
    assert await verdicts(pool, attempt("d1")) == ["unknown"]
    assert await verdicts(pool, attempt("d1")) == ["leased"]
    await deliveries.finish(pool, [Finish("d1", 1, "unknown")])
    assert await verdicts(pool, attempt("d1")) == ["finished"]


async def test_a_retry_is_a_new_attempt_and_the_old_one_stays_over(pool: Pool) -> None:
    await verdicts(pool, attempt("d1"))
    await deliveries.finish(pool, [Finish("d1", 1, "retry")])
    assert await verdicts(pool, attempt("d1", 1)) == ["finished"]
    assert await verdicts(pool, attempt("d1", 2)) == ["begun"]
    # The first attempt's worker wakes up late: its failure is no news.
    await deliveries.finish(pool, [Finish("d1", 1, "failed")])
    assert await verdicts(pool, attempt("d1", 2)) == ["leased"]
    assert (await deliveries.finish(pool, [Finish("d1", 2, "accepted", "SM2")])).twice == []


async def test_who_lost_the_lease_has_no_say_but_that_it_was_accepted(pool: Pool) -> None:
    (stalled,) = await deliveries.begin(pool, [attempt("d1")], lease_seconds=0)
    (other,) = await deliveries.begin(pool, [attempt("d1")])
    late = Finish("d1", 1, "retry", None, "{}", stalled.lease_until)
    assert await deliveries.finish(pool, [late]) == ([], frozenset({"d1"}))
    assert await verdicts(pool, attempt("d1")) == ["leased"]  # the other is at it still
    mine = Finish("d1", 1, "accepted", "SM1", "{}", other.lease_until)
    # In one batch too, whichever comes last.
    assert await deliveries.finish(pool, [mine, late]) == ([], frozenset())
    assert await deliveries.finish(pool, [late]) == ([], frozenset({"d1"}))
    accepted = Finish("d1", 1, "accepted", "SM2", "{}", stalled.lease_until)
    assert await deliveries.finish(pool, [accepted]) == (["d1"], frozenset())
    (found,) = await deliveries.begin(pool, [attempt("d1")])
    assert (found.verdict, found.provider_message_id) == ("finished", "SM1")


async def test_how_it_ended_is_told_again_until_another_attempt_begins(pool: Pool) -> None:
    await verdicts(pool, attempt("d1"), attempt("d2"))
    ended = '{"status": "expired", "reason": "send_not_after"}'
    await deliveries.finish(pool, [Finish("d1", 1, "retry", None, ended), Finish("d2", 1, "failed")])
    first, second = await deliveries.begin(pool, [attempt("d1"), attempt("d2")])
    assert (first.verdict, first.ended) == ("finished", ended)
    assert (second.verdict, second.ended) == ("finished", None)
    (again,) = await deliveries.begin(pool, [attempt("d1", 2)])
    assert (again.verdict, again.ended) == ("begun", None)


async def test_a_message_sent_twice_is_counted_and_keeps_its_first_id(pool: Pool) -> None:
    await verdicts(pool, attempt("d1"), lease_seconds=0)
    await verdicts(pool, attempt("d1"))
    assert (await deliveries.finish(pool, [Finish("d1", 1, "accepted", "SM1")])).twice == []
    assert (await deliveries.finish(pool, [Finish("d1", 1, "accepted", "SM1")])).twice == []
    assert (await deliveries.finish(pool, [Finish("d1", 1, "accepted", "SM2")])).twice == ["d1"]
    assert (await deliveries.finish(pool, [Finish("d1", 1, "failed")])).twice == []
    found = await deliveries.find_by_provider_ids(pool, "twilio", ["SM1", "SM2", "SM3"])
    assert {message_id: (found_.delivery_id, found_.state) for message_id, found_ in found.items()} == {
        "SM1": ("d1", "accepted")
    }
    assert found["SM1"].recipient == "patient:1"
    assert "patient:1" not in repr(found["SM1"])


async def test_a_message_id_belongs_to_one_delivery(pool: Pool) -> None:
    await verdicts(pool, attempt("d1"), attempt("d2"))
    await deliveries.finish(pool, [Finish("d1", 1, "accepted", "SM1")])
    with pytest.raises(psycopg.errors.UniqueViolation):
        await deliveries.finish(pool, [Finish("d2", 1, "accepted", "SM1")])


async def test_receipts_that_come_too_early_are_claimed_when_their_message_is_known(
    pool: Pool, records: Records
) -> None:
    early = Receipt("twilio", "SM1", b"From=%2B15005550111&MessageStatus=delivered")
    with pytest.raises(LookupError, match="luxe up"):
        await parked.park(pool, records, [early])
    async with pool.connection() as connection:
        await policies.put(connection, records, {"clinic_id": "*", "name": "x", "time_zone": "UTC"}, "tester")
    await parked.park(pool, records, [early, Receipt("twilio", "SM9", b"nobody's")])
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT p::text FROM parked_receipts p")
        assert all(b"15005550111".hex() not in row[0] for row in await cursor.fetchall())
        assert await parked.take_parked(connection, records) == []

    await verdicts(pool, attempt("d1"))
    await deliveries.finish(pool, [Finish("d1", 1, "accepted", "SM1")])
    async with pool.connection() as connection:
        assert len(await parked.take_parked(connection, records)) == 1
        await connection.rollback()  # the taker dies before it has published them
    async with pool.connection() as connection:
        [claimed] = await parked.take_parked(connection, records)
    assert (claimed.receipt, claimed.delivery.delivery_id) == (early, "d1")
    assert "15005550111" not in repr(claimed)
    async with pool.connection() as connection:
        assert await parked.take_parked(connection, records) == []


async def test_a_parked_receipt_that_cannot_be_opened_does_not_hold_up_the_others(pool: Pool, records: Records) -> None:
    async with pool.connection() as connection:
        await policies.put(connection, records, {"clinic_id": "*", "name": "x", "time_zone": "UTC"}, "tester")
    await parked.park(pool, records, [Receipt("twilio", "SM1", b"first"), Receipt("twilio", "SM2", b"second")])
    await verdicts(pool, attempt("d1"), attempt("d2"))
    await deliveries.finish(pool, [Finish("d1", 1, "accepted", "SM1"), Finish("d2", 1, "accepted", "SM2")])
    async with pool.connection() as connection:
        await connection.execute(
            "UPDATE parked_receipts SET sealed = set_byte(sealed, 30, 255 - get_byte(sealed, 30)) "
            "WHERE provider_message_id = 'SM1'"
        )
        [claimed] = await parked.take_parked(connection, records)
    assert claimed.receipt.raw == b"second"
    async with pool.connection() as connection:
        assert await parked.take_parked(connection, records) == []


async def test_house_is_kept(pool: Pool, records: Records, settings: Settings) -> None:
    async with pool.connection() as connection:
        await policies.put(connection, records, {"clinic_id": "*", "name": "x", "time_zone": "UTC"}, "tester")
    await parked.park(pool, records, [Receipt("twilio", name, b"") for name in ("old", "late", "new")])
    await verdicts(pool, attempt("d1"), attempt("d2"))
    with connected(settings) as connection:
        for name, age in (("old", "20 days"), ("late", "10 minutes")):
            connection.execute(
                "UPDATE parked_receipts SET received_at = now() - %s::interval WHERE provider_message_id = %s",
                (age, name),
            )
        connection.execute(
            "UPDATE deliveries SET created_at = now() - make_interval(days => %s) WHERE delivery_id = 'd1'",
            (DELIVERY_RETENTION_DAYS + 1,),
        )
        keep_house(connection)
        kept = connection.execute(
            "SELECT provider_message_id, quarantined_at IS NOT NULL FROM parked_receipts ORDER BY id"
        ).fetchall()
        assert kept == [("late", True), ("new", False)]
        assert connection.execute("SELECT delivery_id FROM deliveries").fetchall() == [("d2",)]


async def test_a_lease_is_renewed_only_by_who_holds_it(pool: Pool) -> None:
    (mine,) = await deliveries.begin(pool, [attempt("d1")], lease_seconds=0.01)
    assert mine.lease_until is not None
    await asyncio.sleep(0.05)
    renewed = await deliveries.renew(pool, "d1", mine.lease_until, 0.01)
    assert renewed is not None
    assert renewed > mine.lease_until
    assert await deliveries.renew(pool, "d1", mine.lease_until) is None  # an older lease than the one in force
    await asyncio.sleep(0.05)
    assert await verdicts(pool, attempt("d1")) == ["unknown"]  # another worker took it up
    assert await deliveries.renew(pool, "d1", renewed) is None


async def test_an_attempt_given_up_was_never_begun(pool: Pool) -> None:
    (first,) = await deliveries.begin(pool, [attempt("d1")])
    assert first.lease_until is not None
    await deliveries.release(pool, "d1", first.lease_until, in_doubt=False)
    assert await deliveries.find(pool, ["d1"]) == {}
    assert await verdicts(pool, attempt("d1")) == ["begun"]
    await deliveries.finish(pool, [Finish("d1", 1, "retry")])
    (second,) = await deliveries.begin(pool, [attempt("d1", 2)])
    assert second.lease_until is not None
    await deliveries.release(pool, "d1", second.lease_until, in_doubt=False)
    found = await deliveries.find(pool, ["d1"])  # the first attempt's receipts find it
    assert (found["d1"].state, found["d1"].attempt) == ("retry", 1)
    assert await verdicts(pool, attempt("d1", 2)) == ["begun"]


async def test_an_attempt_in_doubt_that_is_given_up_stays_in_doubt(pool: Pool) -> None:
    (mine,) = await deliveries.begin(pool, [attempt("d1")])
    assert mine.lease_until is not None
    await deliveries.release(pool, "d1", mine.lease_until, in_doubt=True)
    assert await verdicts(pool, attempt("d1")) == ["unknown"]
    await deliveries.release(pool, "d1", mine.lease_until, in_doubt=False)  # another has it by now
    assert await verdicts(pool, attempt("d1")) == ["leased"]


async def test_an_accepted_message_that_failed_later_is_tried_again_as_another(pool: Pool) -> None:
    await verdicts(pool, attempt("d1"))
    await deliveries.finish(pool, [Finish("d1", 1, "accepted", "SM1")])
    assert await verdicts(pool, attempt("d1")) == ["finished"]  # the same attempt is not made twice
    assert await verdicts(pool, attempt("d1", 2)) == ["begun"]
    assert (await deliveries.finish(pool, [Finish("d1", 2, "accepted", "SM2")])).twice == []
    found = await deliveries.find_by_provider_ids(pool, "twilio", ["SM1", "SM2"])
    assert {message_id: one.attempt for message_id, one in found.items()} == {"SM1": 1, "SM2": 2}


async def test_an_older_record_never_takes_over_a_later_attempt(pool: Pool) -> None:
    """Both lie in the log when a killed sink's partition is read again; the first attempt's end was told before."""
    await verdicts(pool, attempt("d1"))
    await deliveries.finish(pool, [Finish("d1", 1, "retry")])
    assert await verdicts(pool, attempt("d1", 2), lease_seconds=0) == ["begun"]
    assert await verdicts(pool, attempt("d1"), lease_seconds=60) == ["leased"]
    assert await verdicts(pool, attempt("d1", 2)) == ["unknown"]


async def test_an_attempt_given_up_leaves_the_one_before_as_it_was(pool: Pool) -> None:
    """Its record, read again, is told how it ended, and not that it failed; its receipts are its own."""
    ended = '{"status": "expired", "reason": "send_not_after"}'
    await verdicts(pool, attempt("d1"), attempt("d2"))
    await deliveries.finish(pool, [Finish("d1", 1, "retry", None, ended), Finish("d2", 1, "accepted", "SM1", ended)])
    before = await deliveries.begin(pool, [attempt("d1"), attempt("d2")])
    for begun in await deliveries.begin(pool, [attempt("d1", 3), attempt("d2", 3)]):
        assert begun.lease_until is not None
        await deliveries.release(pool, begun.delivery_id, begun.lease_until, in_doubt=False)
    assert await deliveries.begin(pool, [attempt("d1"), attempt("d2")]) == before
    assert [(one.verdict, one.ended) for one in before] == [("finished", ended)] * 2
    found = await deliveries.find_by_provider_ids(pool, "twilio", ["SM1"])
    assert found["SM1"].attempt == 1
    assert await verdicts(pool, attempt("d1", 3), attempt("d2", 3)) == ["begun", "begun"]
    found = await deliveries.find_by_provider_ids(pool, "twilio", ["SM1"])
    assert found["SM1"].delivery_id == "d2"


async def test_a_parked_receipt_of_an_attempt_before_the_present_one_is_claimed_as_that_one_s(
    pool: Pool, records: Records
) -> None:
    async with pool.connection() as connection:
        await policies.put(connection, records, {"clinic_id": "*", "name": "x", "time_zone": "UTC"}, "tester")
    await parked.park(pool, records, [Receipt("twilio", "SM1", b"early"), Receipt("twilio", "SM2", b"late")])
    await verdicts(pool, attempt("d1"))
    await deliveries.finish(pool, [Finish("d1", 1, "accepted", "SM1")])
    await verdicts(pool, attempt("d1", 2))
    async with pool.connection() as connection:
        [claimed] = await parked.take_parked(connection, records)
    assert (claimed.receipt.raw, claimed.delivery.attempt, claimed.delivery.provider_message_id) == (b"early", 1, "SM1")
    await deliveries.finish(pool, [Finish("d1", 2, "accepted", "SM2")])
    async with pool.connection() as connection:
        [claimed] = await parked.take_parked(connection, records)
    assert (claimed.receipt.raw, claimed.delivery.attempt) == (b"late", 2)


async def test_what_an_earlier_attempt_was_called_is_remembered_and_says_nothing_of_the_present_one(pool: Pool) -> None:
    await verdicts(pool, attempt("d1"), attempt("d2"))
    await deliveries.finish(pool, [Finish("d1", 1, "unknown"), Finish("d2", 1, "accepted", "SM2")])
    await verdicts(pool, attempt("d1", 2))
    for _ in range(2):
        await deliveries.remember_earlier(pool, [("d1", 1, "SM1"), ("d1", 1, "SM1"), ("d2", 1, "SM3")])
    found = await deliveries.find_by_provider_ids(pool, "twilio", ["SM1", "SM2", "SM3"])
    assert {message_id: (one.delivery_id, one.attempt) for message_id, one in found.items()} == {
        "SM1": ("d1", 1),
        "SM2": ("d2", 1),
    }
    assert await verdicts(pool, attempt("d1", 2)) == ["leased"]  # it goes on


async def test_a_worker_that_stands_still_after_its_statement_holds_up_nobody(pool: Pool) -> None:
    """Its statement has ended: another's must not wait for its locks."""
    async with each_by_itself(pool) as stalled:
        await stalled.execute("INSERT INTO rate_limits (name) VALUES ('stalled')")
        async with asyncio.timeout(10), each_by_itself(pool) as other:
            await other.execute("UPDATE rate_limits SET leased = 1 WHERE name = 'stalled'")
            cursor = await other.execute("SELECT leased FROM rate_limits WHERE name = 'stalled'")
            assert await cursor.fetchone() == (1,)
    async with pool.connection() as connection:
        assert not connection.autocommit
