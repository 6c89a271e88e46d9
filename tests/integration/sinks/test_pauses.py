"""A provider that is away, or refuses our account: every channel waits, burns nothing, tells somebody, and goes on by itself."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from connectors.kafka import make_consumer, read_to_end
from connectors.postgres.pool import open_pool
from connectors.readiness import read_standing
from schemas.codec import Codec
from schemas.registry import FileRegistry
from schemas.topics import deliver_topic, event_topic
from sinks.runtime.attempts import Attempts, Begun
from sinks.runtime.counted import Counted
from sinks.runtime.lanes import group_of
from sinks.runtime.outcome import Outcome
from sinks.runtime.tuning import Tuning
from tests.integration.sinks.outgoing import Outbox, Outgoing
from tests.integration.sinks.rig import WAIT_SECONDS, Rig, wait_for
from tests.integration.sinks.test_conformance import CASES, Case, Refusal, address
from tests.integration.sinks.test_limits import restart
from tests.integration.sinks.test_metrics import value

pytestmark = pytest.mark.integration

PAUSING = [(case, refusal) for case in CASES for refusal in case.refusals if refusal.pauses]
# Several probes of the tests' pace, and a commit.
MEANWHILE_SECONDS = 3.0


@pytest.fixture(params=[case for case in CASES if case.misbehaves], ids=str)
def case(request: pytest.FixtureRequest, rig: Rig) -> Case:
    found: Case = request.param
    rig.ensure(found.channel)
    return found


def crowd(outbox: Outbox, channel: str, count: int, **changes: Any) -> list[Outgoing]:
    people = [f"patient:{uuid.uuid4()}" for _ in range(count)]
    asyncio.run(outbox.make_keys(people))
    return [outbox.outgoing(channel, person, **changes) for person in people]


def breakers(rig: Rig, channel: str) -> dict[str, Mapping[str, Any]]:
    standing = read_standing(rig.settings.state_dir, channel) or {"breakers": []}
    return {breaker["subject"]: breaker for breaker in standing["breakers"]}


def paused(rig: Rig, channel: str) -> list[tuple[str, str]]:
    """Subject and cause of what is paused."""
    return [(name, b["cause"]) for name, b in breakers(rig, channel).items() if b["state"] != "closed"]


def alarms(rig: Rig, clinic_id: str) -> list[dict[str, Any]]:
    codec = Codec(FileRegistry())
    found = (
        codec.decode(message.value()).value for message in read_to_end(rig.settings, [event_topic("system.alert")])
    )
    return [alert for alert in found if alert["clinic_id"] == clinic_id]


def ledger(rig: Rig, ids: list[str]) -> list[tuple[str, int]]:
    with psycopg.connect(rig.settings.postgres_dsn.get_secret_value()) as connection:
        return connection.execute(
            "SELECT state, attempt FROM deliveries WHERE delivery_id = ANY(%s)", (ids,)
        ).fetchall()


def all_sent_once_and_unspent(rig: Rig, messages: list[Outgoing]) -> None:
    for message in messages:
        end = rig.eye.end(message.id)
        assert (end["status"], end["attempt"]) == ("sent", message.message["attempt"])
    assert [len(rig.provider.messages(address(message))) for message in messages] == [1] * len(messages)


@pytest.mark.parametrize(("case", "refusal"), PAUSING, ids=lambda one: getattr(one, "code", str(one)))
def test_a_refusal_of_the_account_pauses_burns_nothing_and_is_told_once(
    rig: Rig, outbox: Outbox, case: Case, refusal: Refusal
) -> None:
    rig.ensure(case.channel)
    clinic = f"clinic-{uuid.uuid4()}"
    rig.provider.misbehave(rule_channel=case.channel, **refusal.effect)
    messages = crowd(outbox, case.channel, 20, clinic_id=clinic)
    outbox.send(messages)
    wait_for(lambda: paused(rig, case.channel))
    late = crowd(outbox, case.channel, 5, clinic_id=clinic, lane="low")
    again = crowd(outbox, case.channel, 1, clinic_id=clinic, attempt=2)
    outbox.send(late + again)
    time.sleep(MEANWHILE_SECONDS)
    everyone = messages + late + again
    assert [cause for _, cause in paused(rig, case.channel)] == ["account"]
    assert not any({"sent", "failed", "unknown"} & set(rig.eye.words(message.id)) for message in everyone)
    assert {state for state, _ in ledger(rig, [message.id for message in everyone])} <= {"attempting", "retry"}
    rig.provider.behave()
    all_sent_once_and_unspent(rig, everyone)
    assert ledger(rig, [message.id for message in messages]) == [("accepted", 1)] * len(messages)
    wait_for(lambda: not paused(rig, case.channel))
    wait_for(lambda: len(alarms(rig, clinic)) >= 2)
    told = alarms(rig, clinic)
    assert [alert["resolved"] for alert in told] == [False, True]
    assert {alert["details"]["code"] for alert in told} == {refusal.code}
    assert told[0]["severity"] == "critical"
    assert told[0]["component"] == f"sink.{case.channel}"
    wait_for(lambda: sum(rig.committed(case.channel).values()) == 0)


def test_a_provider_that_is_down_burns_no_attempt_and_gets_everything_when_it_is_back(
    rig: Rig, outbox: Outbox, case: Case
) -> None:
    rig.provider.misbehave(kind="status", status=503, rule_channel=case.channel)
    messages = crowd(outbox, case.channel, 60)
    outbox.send(messages)
    wait_for(lambda: paused(rig, case.channel) == [("account", "down")])
    time.sleep(MEANWHILE_SECONDS)
    rig.provider.behave()
    all_sent_once_and_unspent(rig, messages)
    assert not any("failed" in rig.eye.words(message.id) for message in messages)


def test_a_paused_sink_ends_at_once_and_its_messages_go_out_after_the_next_start(
    rig: Rig, outbox: Outbox, case: Case
) -> None:
    # The time in which calls may end, which nobody needs here: its end is not waited for as long.
    restart(rig, {"LUXE_SINKS_DRAIN_SECONDS": str(2 * WAIT_SECONDS)}, case.channel)
    rig.provider.misbehave(kind="status", status=401, rule_channel=case.channel)
    messages = crowd(outbox, case.channel, 30)
    outbox.send(messages)
    wait_for(lambda: paused(rig, case.channel))
    assert rig.end(case.channel, signal.SIGTERM) == 0
    rig.provider.behave()
    rig.start(case.channel)
    all_sent_once_and_unspent(rig, messages)


def test_what_expires_while_its_provider_is_paused_is_told_and_not_sent(rig: Rig, outbox: Outbox, case: Case) -> None:
    rig.provider.misbehave(kind="status", status=401, rule_channel=case.channel)
    short = crowd(outbox, case.channel, 3, expires_at=datetime.now(UTC) + timedelta(seconds=4))
    outbox.send(short)
    for message in short:
        assert (rig.eye.end(message.id)["status"], rig.eye.end(message.id)["reason"]) == ("expired", "expires_at")
    rig.provider.behave()
    (after,) = crowd(outbox, case.channel, 1)
    outbox.send([after])
    all_sent_once_and_unspent(rig, [after])
    assert [rig.provider.messages(address(message)) for message in short] == [[], [], []]


def test_a_retry_after_holds_for_the_account_and_a_restart_forgets_it(rig: Rig, outbox: Outbox, case: Case) -> None:
    (told,) = crowd(outbox, case.channel, 1)
    rig.provider.misbehave(address(told), kind="status", status=429, retry_after_seconds=600)
    outbox.send([told])
    assert rig.eye.end(told.id)["error_class"] == "throttled"
    wait_for(lambda: paused(rig, case.channel) == [("account", "throttled")])  # a thread writes it
    (waits,) = crowd(outbox, case.channel, 1)
    outbox.send([waits])
    time.sleep(MEANWHILE_SECONDS)
    assert rig.eye.words(waits.id) in (["queued"], [])
    assert rig.end(case.channel, signal.SIGTERM) == 0
    rig.start(case.channel)
    all_sent_once_and_unspent(rig, [waits])


def test_one_number_in_a_country_that_is_not_enabled_pauses_nobody(rig: Rig, outbox: Outbox) -> None:
    rig.ensure("sms")
    (abroad, *others) = crowd(outbox, "sms", 10)
    rig.provider.misbehave(address(abroad), kind="twilio_error", code=21408)
    outbox.send([abroad, *others])
    assert rig.eye.end(abroad.id)["error_class"] == "account"
    all_sent_once_and_unspent(rig, others)
    assert paused(rig, "sms") == []


def test_a_message_that_is_refused_alone_in_the_accounts_name_fails_by_itself(rig: Rig, outbox: Outbox) -> None:
    rig.ensure("email")
    (odd, *others) = crowd(outbox, "email", 10)
    rig.provider.misbehave(address(odd), kind="status", status=403)
    outbox.send([odd])
    wait_for(lambda: paused(rig, "email"))
    outbox.send(others)
    all_sent_once_and_unspent(rig, others)
    more = crowd(outbox, "email", 10)  # each answered one lets the odd one be tried beside it
    outbox.send(more)
    assert rig.eye.end(odd.id)["error_class"] == "account"
    all_sent_once_and_unspent(rig, more)
    wait_for(lambda: not paused(rig, "email"))


def test_a_broken_marketing_sender_leaves_care_alone_however_much_waits_for_it(rig: Rig, outbox: Outbox) -> None:
    if "sms" in rig.running:
        rig.end("sms")
    rig.start("sms", {"LUXE_SINKS_SLOTS_NORMAL": "4"})
    marketing = crowd(outbox, "sms", 40, sender_class="marketing", category="marketing")
    for message in marketing:
        rig.provider.misbehave(address(message), kind="twilio_error", code=21606)
    outbox.send(marketing)
    wait_for(lambda: paused(rig, "sms") == [("marketing sender", "account")])
    care = crowd(outbox, "sms", 20)
    outbox.send(care)
    all_sent_once_and_unspent(rig, care)
    assert paused(rig, "sms") == [("marketing sender", "account")]
    rig.provider.behave()
    all_sent_once_and_unspent(rig, marketing)
    rig.end("sms")


def test_a_sender_that_only_receipts_say_may_not_send_is_paused_until_a_text_of_it_arrives(
    rig: Rig, outbox: Outbox
) -> None:
    """Twilio takes the texts of a number that is not registered, every one, and has them fail."""
    rig.ensure("sms")
    clinic = f"clinic-{uuid.uuid4()}"
    marketing = {"sender_class": "marketing", "category": "marketing", "clinic_id": clinic}
    messages = crowd(outbox, "sms", 60, **marketing)
    for message in messages:
        rig.provider.misbehave(address(message), kind="undelivered", code=30034)
    outbox.send(messages[:1])
    assert (
        rig.eye.status(messages[0].id, "undelivered")["reason"] == "sender_refused"
    )  # by which notify has it wait, too
    wait_for(lambda: paused(rig, "sms") == [("marketing sender", "account")])
    outbox.send(messages[1:])
    care = crowd(outbox, "sms", 10)
    outbox.send(care)
    all_sent_once_and_unspent(rig, care)
    time.sleep(MEANWHILE_SECONDS)
    assert paused(rig, "sms") == [("marketing sender", "account")]
    # The probes, of which each second has one at most.
    assert sent(rig, messages) <= 1 + 10 * MEANWHILE_SECONDS < len(messages)
    rig.provider.behave()
    in_vain = sent(rig, messages)
    wait_for(lambda: not paused(rig, "sms"))
    all_sent_once_and_unspent(rig, messages)
    wait_for(lambda: len(alarms(rig, clinic)) >= 3)
    told = [(one["code"], one["resolved"]) for one in alarms(rig, clinic)]
    assert sorted(word for word, _ in told) == ["provider_paused", "provider_paused", "refused_account"]
    assert [resolved for word, resolved in told if word == "provider_paused"] == [False, True]
    assert sum("undelivered" in rig.eye.words(message.id) for message in messages) <= in_vain + 2


async def test_who_waits_for_a_lease_is_not_the_call_that_a_paused_provider_is_tried_with(
    rig: Rig, outbox: Outbox, case: Case
) -> None:
    rig.provider.misbehave(kind="status", status=503, rule_channel=case.channel)
    (leased,) = await asyncio.to_thread(crowd, outbox, case.channel, 1, lane="critical")
    others = await asyncio.to_thread(crowd, outbox, case.channel, 8)
    async with open_pool(rig.settings, "tests", size=1) as pool:
        counted, provider = Counted(case.channel), {"sms": "twilio", "email": "sendgrid", "push": "fcm"}[case.channel]
        attempts = Attempts(pool, provider, Tuning(), counted, lease_seconds=300)
        begun = await attempts.begin(leased.message)
        assert isinstance(begun, Begun)
        await asyncio.to_thread(outbox.send, others)
        await asyncio.to_thread(wait_for, lambda: paused(rig, case.channel))
        await asyncio.to_thread(outbox.send, [leased])
        await asyncio.to_thread(rig.eye.status, leased.id, "queued")
        await asyncio.sleep(MEANWHILE_SECONDS)  # critical, it is the first at every probe
        rig.provider.behave()
        await asyncio.to_thread(all_sent_once_and_unspent, rig, others)
        assert rig.eye.ends(leased.id) == []
        assert await attempts.finish(begun, Outcome("unknown", "no_answer", error_class="unknown"))
    assert (await asyncio.to_thread(rig.eye.end, leased.id))["status"] == "unknown"


def test_what_waits_pins_so_much_behind_it_and_no_more_and_a_restart_doubles_nothing(rig: Rig, outbox: Outbox) -> None:
    """Nor does a partition that another had meanwhile stay paused for good."""
    behind, slots, partitions = 100, 16, len(rig.committed("sms"))
    tight = {
        "LUXE_SINKS_BEHIND_OLDEST": str(behind),
        "LUXE_SINKS_SLOTS_NORMAL": str(slots),
        "LUXE_LIMIT_SMS_PER_SECOND": "0",
    }
    if "sms" in rig.running:
        rig.end("sms")
    rig.start("sms", tight)
    marketing = crowd(
        outbox, "sms", 12 * partitions, sender_class="marketing", category="marketing"
    )  # in every partition
    for message in marketing:
        rig.provider.misbehave(address(message), kind="twilio_error", code=21606)
    outbox.send(marketing)
    wait_for(lambda: paused(rig, "sms") == [("marketing sender", "account")])
    wait_for(lambda: all(one > 0 for one in rig.committed("sms").values()))
    care = crowd(outbox, "sms", 3 * behind * partitions)
    outbox.send(care)
    for _ in range(2):
        wait_for(
            lambda: value(rig.settings, "sms", "luxe_deliveries_pinned_records", lane="normal") >= behind * partitions
        )
        others = crowd(outbox, "sms", 20, lane="high")
        outbox.send(others)
        all_sent_once_and_unspent(rig, others)
        assert sent(rig, care) <= (behind + slots) * partitions
        assert value(rig.settings, "sms", "luxe_deliveries_pinned_records") <= (behind + slots) * partitions
        pass_by(rig, partitions)
        assert rig.end("sms") == 0
        rig.start("sms", tight)
    rig.provider.behave()
    all_sent_once_and_unspent(rig, marketing + care)
    wait_for(lambda: sum(rig.committed("sms").values()) == 0)
    rig.end("sms")


def sent(rig: Rig, messages: list[Outgoing]) -> int:
    return sum("sent" in rig.eye.words(message.id) for message in messages)


def pass_by(rig: Rig, partitions: int) -> None:
    """Another member has some of the partitions for a moment, and does nothing with them."""
    other = make_consumer(rig.settings, group_of("sms", "normal"), partition_assignment_strategy="cooperative-sticky")
    other.subscribe([deliver_topic("sms", "normal")])

    def has_some() -> bool:
        other.poll(0.1)  # it joins by being polled
        return len(other.assignment()) >= partitions // 2

    wait_for(has_some)
    other.close()
