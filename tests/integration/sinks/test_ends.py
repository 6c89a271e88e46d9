"""How a sink ends, politely or not: nothing is lost, and what was sent twice is counted."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from connectors.postgres.pool import open_pool
from connectors.providers.outcome import Refused
from connectors.settings import Settings
from sinks.runtime.attempts import Attempts, Begun
from sinks.runtime.counted import Counted
from sinks.runtime.outcome import Outcome
from sinks.runtime.tuning import Tuning
from tests.integration.sinks.outgoing import Outbox, Outgoing
from tests.integration.sinks.rig import Rig, wait_for

pytestmark = pytest.mark.integration

MESSAGES = 300


def crowd(outbox: Outbox, channel: str, *, essential: bool) -> list[Outgoing]:
    people = [f"patient:{uuid.uuid4()}" for _ in range(30)]
    asyncio.run(outbox.make_keys(people))
    return [outbox.outgoing(channel, people[n % len(people)], essential=essential) for n in range(MESSAGES)]


def sent_times(rig: Rig, message: Outgoing) -> int:
    return len(rig.provider.messages(str(message.content["to"])))


# The account's rate holds texts; of emails as many go at once as there are slots, so that these take longer.
@pytest.mark.parametrize(("channel", "ms"), [("sms", 300), ("email", 2000)])
def test_sigterm_ends_what_is_in_flight_and_nothing_is_sent_twice(
    rig: Rig, outbox: Outbox, channel: str, ms: int
) -> None:
    rig.ensure(channel)
    messages = crowd(outbox, channel, essential=False)
    rig.provider.misbehave(kind="latency", ms=ms, rule_channel=channel)
    before = rig.provider.count()
    outbox.send(messages)
    wait_for(lambda: rig.provider.count() > before)
    assert rig.end(channel, signal.SIGTERM) == 0
    # What was taken and still waited for a token of the account's rate is left to the next one.
    begun = [message for message in messages if "sending" in rig.eye.words(message.id)]
    assert begun
    for message in begun:
        assert rig.eye.end(message.id)["status"] == "sent"
    assert len(begun) < len(messages)  # it was in the midst of it
    rig.start(channel)
    for message in messages:
        assert rig.eye.end(message.id)["status"] == "sent"
    assert [sent_times(rig, message) for message in messages] == [1] * len(messages)
    wait_for(lambda: sum(rig.committed(channel).values()) == 0)


@pytest.mark.parametrize(("channel", "essential"), [("sms", True), ("email", True), ("email", False)])
def test_kill_in_mid_flight_loses_nothing_and_doubles_at_most_what_was_in_flight(
    rig: Rig, outbox: Outbox, channel: str, essential: bool
) -> None:
    rig.ensure(channel)
    messages = crowd(outbox, channel, essential=essential)
    rig.provider.misbehave(kind="receipts", mode="never")
    rig.provider.misbehave(kind="latency", ms=200, rule_channel=channel)
    before = rig.provider.count()
    outbox.send(messages)
    wait_for(lambda: rig.provider.count() > before + 20)
    rig.end(channel, signal.SIGKILL)
    in_flight = sum(1 for m in messages if rig.eye.words(m.id) and not {"sent"} & set(rig.eye.words(m.id)))
    rig.start(channel)
    ends = {message.id: rig.eye.end(message.id) for message in messages}
    times = [sent_times(rig, message) for message in messages]
    unknown = [message for message in messages if ends[message.id]["status"] == "unknown"]
    doubled = sum(count > 1 for count in times)
    print(f"{channel}: in flight {in_flight}, unknown {len(unknown)}, sent twice {doubled}")
    # Lost would be: told as sent and not at the provider, or no end at all (which the wait above would have shown).
    lost = [m for m, count in zip(messages, times, strict=True) if not count and m not in unknown]
    assert lost == []
    if channel == "sms":
        assert doubled == 0  # Twilio is asked before anything is sent again
    if essential:
        assert unknown == []
    else:
        assert doubled == 0
    assert max(times) <= 2
    wait_for(lambda: sum(rig.committed(channel).values()) == 0)


def _fails_for_a_while() -> Outcome:
    return Outcome.refused(Refused("throttled", code="20429", retry_after_seconds=90), datetime.now(UTC), 30)


@pytest.mark.parametrize(
    "ended",
    [
        lambda: Outcome("expired", "send_not_after"),  # notify decides it again for the morning: lost, it never came
        _fails_for_a_while,  # the next attempt is made at its time
        lambda: Outcome("failed", "permanent_recipient", error_class="permanent_recipient", error_code="21211"),
        lambda: Outcome("suppressed", "opted_out"),
        lambda: Outcome("cancelled", "aggregate"),
        lambda: Outcome("unknown", "no_answer", error_class="unknown", error_code="TimeoutError"),
        lambda: Outcome("sent", "found", provider_message_id=f"SM{uuid.uuid4().hex}", provider_status="queued"),
    ],
    ids=["late", "throttled", "no_number", "suppressed", "cancelled", "unknown", "sent"],
)
def test_killed_between_its_ledger_row_and_its_status_it_tells_what_it_would_have_told(
    rig: Rig, outbox: Outbox, patient: str, ended: Callable[[], Outcome]
) -> None:
    rig.ensure("sms")
    message, outcome = outbox.outgoing("sms", patient), ended()
    asyncio.run(until_killed(rig.settings, message, outcome))
    outbox.send([message])
    told = rig.eye.end(message.id)
    assert (told["status"], told["reason"]) == (outcome.status, outcome.reason)
    for name in ("provider_message_id", "provider_status", "error_class", "error_code"):
        assert told[name] == getattr(outcome, name), name
    retry_at = outcome.retry_at
    assert told["retry_at"] == (
        None if retry_at is None else retry_at.replace(microsecond=retry_at.microsecond // 1000 * 1000)
    )
    assert sent_times(rig, message) == 0


async def until_killed(settings: Settings, message: Outgoing, outcome: Outcome) -> None:
    """What a sink does with a message, up to the moment after its result is in the ledger."""
    async with open_pool(settings, "tests", size=1) as pool:
        attempts = Attempts(pool, "twilio", Tuning(), Counted("sms"), lease_seconds=30)
        begun = await attempts.begin(message.message)
        assert isinstance(begun, Begun)
        await attempts.finish(begun, outcome)


def test_two_sinks_share_a_channel_and_one_may_go(rig: Rig, outbox: Outbox) -> None:
    rig.ensure("sms")
    first = rig.running.pop("sms")
    rig.start("sms")
    messages = crowd(outbox, "sms", essential=False)
    rig.provider.misbehave(kind="latency", ms=50, rule_channel="sms")
    outbox.send(messages[:150])
    wait_for(lambda: any(rig.eye.words(message.id) for message in messages))
    first.send_signal(signal.SIGTERM)
    outbox.send(messages[150:])
    assert first.wait(60) == 0
    for message in messages:
        assert rig.eye.end(message.id)["status"] == "sent"
    assert [sent_times(rig, message) for message in messages] == [1] * len(messages)


def test_a_sink_without_a_free_slot_goes_on_answering_its_group(rig: Rig, outbox: Outbox) -> None:
    if "sms" in rig.running:
        rig.end("sms")
    messages = crowd(outbox, "sms", essential=False)[:12]
    rig.provider.misbehave(kind="latency", ms=3000, rule_channel="sms")
    rig.start("sms", {"LUXE_SINKS_SLOTS_NORMAL": "1"})
    full = rig.running.pop("sms")
    try:
        outbox.send(messages)
        wait_for(lambda: any("sending" in rig.eye.words(message.id) for message in messages))
        time.sleep(1.5)  # past HOLD_SECONDS: it holds now
        rig.start("sms")  # gets its share only if the first gives some up
        for message in messages:
            assert rig.eye.end(message.id)["status"] == "sent"
    finally:
        full.terminate()
        assert full.wait(60) == 0
    assert [sent_times(rig, message) for message in messages] == [1] * len(messages)
