"""Who waits, who fails and who is told, in one event loop; the whole of it on real parts is in tests/integration/sinks."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import pytest

from connectors.postgres.rate_limits import Lease
from connectors.providers.outcome import Refused
from sinks.runtime.call_ends import Tries
from sinks.runtime.limits import RateLimits
from sinks.runtime.room import Room
from sinks.runtime.tuning import Tuning
from streams.catalog import Catalog
from tests.unit.sinks.desk import ACCOUNT, DOWN, TUNING, Desk, Record, message


async def test_a_failure_is_its_own_once_another_call_is_answered() -> None:
    desk, tries = Desk(), Tries()
    failing, other = await desk.permit(message(), tries), await desk.permit(message(), Tries())
    told = asyncio.create_task(desk.admission.ends.postpones(failing, message(), DOWN, tries))
    await asyncio.sleep(0)
    assert not told.done()  # it may be an outage's first
    desk.admission.ends.answered(other)
    assert await told is False
    assert desk.log.alarms == []


async def test_failures_that_turn_out_to_be_an_outages_first_wait_unspent() -> None:
    desk = Desk()
    tries = [Tries() for _ in range(3)]
    permits = [await desk.permit(message(), one) for one in tries]
    waits = await asyncio.gather(
        *(
            desk.admission.ends.postpones(permit, message(), DOWN, one)
            for permit, one in zip(permits, tries, strict=True)
        )
    )
    assert waits == [True, True, True]
    assert [(alarm["details"]["cause"], alarm["resolved"]) for alarm in desk.log.alarms] == [("down", False)]


async def test_a_failure_that_nobody_explains_is_told_a_little_later() -> None:
    desk, tries = Desk(), Tries()
    permit = await desk.permit(message(), tries)
    assert await desk.admission.ends.postpones(permit, message(), DOWN, tries) is False


async def test_lanes_are_held_while_somebody_waits_who_was_not_refused_yet() -> None:
    desk, tries = Desk(TUNING.model_copy(update={"breaker_calm_seconds": 0})), Tries()
    permit = await desk.permit(message(), tries)
    assert await desk.admission.ends.postpones(permit, message(), ACCOUNT, tries)
    permit.close()
    again = asyncio.create_task(desk.permit(message(), tries))
    await asyncio.sleep(0)
    assert desk.held == []  # it alone would be every probe
    fresh = asyncio.create_task(desk.permit(message(), Tries()))
    await asyncio.sleep(0)
    assert desk.held == [True]
    probe = await again
    assert probe.is_probe
    desk.admission.ends.answered(probe)
    probe.close()
    (await fresh).close()
    assert desk.held == [True, False]
    async with asyncio.timeout(10):
        while len(desk.log.alarms) < 2:  # noqa: ASYNC110 - the admission tells when it is calm
            await asyncio.sleep(0.01)
    assert [alarm["resolved"] for alarm in desk.log.alarms] == [False, True]


async def test_a_message_refused_in_the_accounts_name_while_others_are_answered_fails_by_itself() -> None:
    desk, odd = Desk(), Tries()
    waits = []
    for _ in range(3):
        permit = await desk.permit(message(), odd)
        while permit.is_probe:  # let another one find out that the account is well
            permit.close()
            other = await desk.permit(message(), Tries())
            desk.admission.ends.answered(other)
            other.close()
            permit = await desk.permit(message(), odd)
        waits.append(await desk.admission.ends.postpones(permit, message(), ACCOUNT, odd))
        permit.close()
    assert waits == [True, True, False]
    assert desk.log.alarms[-1]["code"] == "refused_account"


async def test_who_waits_for_its_sender_steps_aside_and_the_other_sender_goes_on() -> None:
    desk, tries, record = Desk(), Tries(), Record()
    marketing = message(sender_class="marketing")
    permit = await desk.permit(marketing, tries)
    assert await desk.admission.ends.postpones(permit, marketing, Refused("account", code="21606"), tries)
    permit.close()
    waiting = asyncio.create_task(desk.admission.admit(record, marketing, tries))
    await asyncio.sleep(0)
    assert record.aside == 1
    (await desk.permit(message(), Tries())).close()
    record.leaving = True
    desk.admission.look()
    assert await waiting is None
    assert record.aside == 0
    assert desk.held == []


async def test_a_question_waits_aside_for_the_accounts_return_and_may_find_it_out() -> None:
    desk, tries, record = Desk(), [Tries() for _ in range(3)], Record()
    permits = [await desk.permit(message(), one) for one in tries]
    for permit in permits:
        desk.admission.ends.unanswered(permit, message(), "timeout")
        permit.close()
    asking = asyncio.create_task(desk.admission.admit_question(record, "low", time.time() + 60))
    await asyncio.sleep(0)
    assert record.aside == 1
    assert desk.held == []
    probe = await asking
    assert probe is not None
    assert probe.is_probe
    desk.admission.ends.answered(probe)
    probe.close()
    assert record.aside == 0
    assert desk.admission.standing()["breakers"][0]["state"] == "closed"


async def test_while_our_account_is_refused_a_question_probes_nothing_and_gives_up_at_its_time() -> None:
    desk, tries = Desk(), Tries()
    permit = await desk.permit(message(), tries)
    assert await desk.admission.ends.postpones(permit, message(), ACCOUNT, tries)
    permit.close()
    asking = asyncio.create_task(desk.admission.admit_question(Record(), "low", time.time() + 0.4))
    found = await asking
    assert found is not None
    assert found.late  # after several probes' times
    found.close()
    assert desk.admission.counted.probes == 0


@pytest.mark.parametrize(
    ("refused", "again", "paused"),
    [
        (Refused("throttled", code="20429", retry_after_seconds=9), True, "throttled"),
        (Refused("account", code="20003"), True, None),
        (Refused("unknown", code="20001"), False, None),
        (Refused("transient", code="20503"), True, None),
    ],
)
async def test_what_a_refused_question_says_of_sending(refused: Refused, again: bool, paused: str | None) -> None:
    desk = Desk()
    permit = await desk.admission.admit_question(Record(), "low", time.time() + 60)
    assert permit is not None
    assert desk.admission.ends.not_told(permit, "c-1", refused) is again
    permit.close()
    assert desk.admission.standing()["breakers"][0]["cause"] == paused


async def pause(desk: Desk, refused: Refused = ACCOUNT) -> None:
    """And its end, found by the next probe."""
    tries = Tries()
    permit = await desk.permit(message(), tries)
    await desk.admission.ends.postpones(permit, message(), refused, tries)
    assert permit.paused
    permit.close()
    probe = await desk.permit(message(), tries)
    desk.admission.ends.answered(probe)
    probe.close()


async def test_a_pause_that_comes_and_goes_is_one_alarm_and_its_end_is_told_when_it_stays_away() -> None:
    desk = Desk()
    for _ in range(4):
        await pause(desk)
    assert [alarm["resolved"] for alarm in desk.log.alarms] == [False]
    desk.admission.close()
    assert [alarm["resolved"] for alarm in desk.log.alarms] == [False, True]
    first, over = desk.log.alarms
    assert over["first_seen_at"] == first["first_seen_at"]
    assert datetime.fromisoformat(over["details"]["until"]) >= first["first_seen_at"].replace(microsecond=0)
    await pause(desk)
    assert [alarm["resolved"] for alarm in desk.log.alarms] == [False, True, False]
    assert len({alarm["event_id"] for alarm in desk.log.alarms}) == 3


async def test_another_cause_is_told_and_a_process_that_ends_tells_what_seems_to_be_over() -> None:
    desk = Desk()
    await pause(desk)
    await pause(desk, Refused("throttled", code="20429", retry_after_seconds=0.1))
    desk.admission.close()
    assert [(alarm["details"]["cause"], alarm["resolved"]) for alarm in desk.log.alarms] == [
        ("account", False),
        ("throttled", False),
        ("account", True),
        ("throttled", True),
    ]


def test_no_end_of_a_pause_is_taken_for_its_alarm_nor_the_next_one_for_the_last() -> None:
    """By the catalogue, which tells the same alarm once in its window."""
    types = Catalog.load().types
    calm = Tuning().breaker_calm_seconds
    assert calm >= max(types[name].dedupe_seconds for name in ("system_alert", "system_alert_critical"))
    triggers = {name: types[name].triggers[0].when for name in types if name.startswith("system_alert")}
    assert {name: when["resolved"].equals for name, when in triggers.items()} == {
        "system_alert": (False,),
        "system_alert_critical": (False,),
        "system_alert_over": (True,),
    }


async def test_a_call_that_nobody_waits_for_gives_way_to_messages_and_to_doubts_about_the_provider() -> None:
    desk, tries = Desk(), Tries()
    assert desk.admission.spare()
    failing = await desk.permit(message(), tries)
    desk.admission.ends.unanswered(failing, message(), "503")
    failing.close()
    assert not desk.admission.spare()  # it may be an outage's first
    answered = await desk.permit(message(), tries)
    desk.admission.ends.answered(answered)
    answered.close()
    assert desk.admission.spare()
    refused = await desk.permit(message(), tries)
    await desk.admission.ends.postpones(refused, message(), ACCOUNT, tries)
    refused.close()
    assert not desk.admission.spare()
    waiting = asyncio.create_task(desk.permit(message(), tries))
    probe = await waiting
    assert not desk.admission.spare()  # it is not known to be over before the probe's answer
    desk.admission.ends.answered(probe)
    probe.close()
    assert desk.admission.spare()


async def test_it_takes_a_token_that_is_at_hand_and_no_other() -> None:
    desk = Desk(limits=RateLimits(sms_per_second=0, sms_per_day=1_000))
    (day,) = desk.allowance.account()
    now = time.monotonic()
    day.fill(Lease(2, 60.0), now, wanted=3)  # asked again only in 5 s
    assert [desk.admission.spare() for _ in range(3)] == [True, True, False]
    assert day.left(now) == 0


async def test_big_ones_wait_aside_for_room_hold_nothing_meanwhile_and_the_small_ones_go_on() -> None:
    limits = RateLimits(sms_per_second=0, sms_per_day=1_000)
    desk = Desk(TUNING.model_copy(update={"forms_at_once": 2, "slots_normal": 4}), limits)
    (day,) = desk.allowance.account()
    day.fill(Lease(30, 60.0), time.monotonic(), wanted=30)
    most, sent, records = 0, 0, [Record() for _ in range(20)]

    async def send(record: Record) -> None:
        nonlocal most, sent
        permit = await desk.admission.admit(record, message(), Tries(), big=True)
        assert permit is not None
        most = max(most, desk.admission.room.inside)
        for _ in range(5):
            await asyncio.sleep(0)
        desk.admission.ends.answered(permit)
        sent += 1
        permit.close()

    big = [asyncio.create_task(send(record)) for record in records]
    await asyncio.sleep(0)
    assert sum(record.aside for record in records) == 18
    assert day.left(time.monotonic()) == 28  # who waits has no token
    small = [await desk.permit(message(), Tries()) for _ in range(2)]
    for permit in small:
        permit.close()
    await asyncio.gather(*big)
    assert (most, sent, desk.admission.room.inside) == (2, 20, 0)
    assert sum(record.aside for record in records) == 0
    assert day.left(time.monotonic()) == 10


async def test_a_full_room_is_left_by_whoever_leaves_is_late_or_is_cancelled() -> None:
    desk = Desk(TUNING.model_copy(update={"forms_at_once": 1}))
    inside = await desk.admission.admit(Record(), message(), Tries(), big=True)
    assert inside is not None
    leaving, cancelled = Record(), Record()
    waits = asyncio.create_task(desk.admission.admit(leaving, message(), Tries(), big=True))
    given_up = asyncio.create_task(desk.admission.admit(cancelled, message(), Tries(), big=True))
    soon = datetime.fromtimestamp(time.time() + 0.1, UTC)
    late = asyncio.create_task(desk.admission.admit(Record(), message(expires_at=soon), Tries(), big=True))
    await asyncio.sleep(0)
    leaving.leaving = True
    desk.admission.look()
    assert await waits is None
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    assert (leaving.aside, cancelled.aside) == (0, 0)
    over = await late
    assert over is not None
    assert over.late
    over.close()
    # Its place is given to somebody at the moment that he is cancelled: it is no one's.
    unlucky = asyncio.create_task(desk.admission.admit(Record(), message(), Tries(), big=True))
    await asyncio.sleep(0)
    inside.close()
    assert desk.admission.room.inside == 1
    unlucky.cancel()
    await asyncio.gather(unlucky, return_exceptions=True)
    assert desk.admission.room.inside == 0
    not_big = await desk.admission.admit(Record(), message(), Tries(), big=True)
    assert not_big is not None
    desk.admission.leave_room(not_big)
    assert desk.admission.room.inside == 0
    not_big.close()
    assert desk.admission.room.inside == 0


def test_nobody_enters_a_full_room() -> None:
    room = Room(1)
    room.enter()
    assert room.full
    with pytest.raises(RuntimeError, match="full"):
        room.enter()
