"""A provider that is away for minutes while messages come: none is lost, and what order and duplicates it costs is told."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from schemas.topics import LANES
from tests.conftest import Stack
from tests.integration.sinks.outgoing import Outbox, Outgoing
from tests.integration.sinks.rig import Rig, opened, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

# It begins with answers that are lost, the messages taken; then texts are refused, and emails' connections reset: each call of
# those is in doubt.
OUTAGES: dict[str, dict[str, Any]] = {"sms": {"kind": "status", "status": 503}, "email": {"kind": "reset_before"}}
MESSAGES_PER_SECOND = 20  # of each channel
PEOPLE = 40
BATCH_SECONDS = 0.5
# The product's own, in the long form; the short one has the tests' pace.
PACE = {
    "LUXE_SINKS_BREAKER_FIRST_PROBE_SECONDS": "5",
    "LUXE_SINKS_BREAKER_LONGEST_PROBE_SECONDS": "60",
    "LUXE_SINKS_SMS_CALL_SECONDS": "30",
    "LUXE_SINKS_EMAIL_CALL_SECONDS": "30",
}


@pytest.fixture(scope="module")
def rig(stack: Stack) -> Iterator[Rig]:
    with opened(stack) as made:
        made.provider.misbehave(kind="receipts", mode="never")  # they would settle doubts before the sink does
        yield made


@dataclass
class Load:
    """Messages that come steadily, of one channel; half of them essential, over all lanes."""

    outbox: Outbox
    channel: str
    people: list[str]
    messages: list[Outgoing] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        numbers = itertools.count()
        while not self.stop.wait(BATCH_SECONDS):
            made = [self._message(next(numbers)) for _ in range(int(MESSAGES_PER_SECOND * BATCH_SECONDS))]
            self.messages += made
            self.outbox.send(made)

    def _message(self, number: int) -> Outgoing:
        person = self.people[number % len(self.people)]
        return self.outbox.outgoing(self.channel, person, lane=LANES[number % len(LANES)], essential=number % 2 == 0)


@dataclass
class Account:
    """What became of one channel's messages."""

    channel: str
    messages: int
    ends: Counter[str]
    lost: int  # told as sent and not at the provider
    twice: int
    overtaken: int  # at the provider before one of the same person and lane that was written earlier
    drained_seconds: float  # from the provider's return to the last message

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {word}" for word, count in sorted(self.ends.items()))
        return (
            f"{self.channel}: {self.messages} messages: {ends}; lost {self.lost}, sent twice {self.twice}, "
            f"overtaken {self.overtaken}; all out {self.drained_seconds:.1f} s after its return"
        )


@pytest.mark.timeout(1200)
def test_a_provider_away_under_load_loses_nothing(rig: Rig, full: bool) -> None:
    outbox = asyncio.run(Outbox.open(rig.settings))
    people = [f"patient:{uuid.uuid4()}" for _ in range(PEOPLE)]
    asyncio.run(outbox.make_keys(people))
    loads = [Load(outbox, channel, people) for channel in OUTAGES]
    for channel in OUTAGES:
        rig.start(channel, PACE if full else {})
    threads = [threading.Thread(target=load.run) for load in loads]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: all(any("sent" in rig.eye.words(m.id) for m in list(load.messages)) for load in loads))
        for channel in OUTAGES:
            rig.provider.misbehave(kind="reset_after", rule_channel=channel)
        time.sleep(1.0)
        rig.provider.behave()
        for channel, effect in OUTAGES.items():
            rig.provider.misbehave(rule_channel=channel, **effect)
        time.sleep(300.0 if full else 6.0)
        rig.provider.behave()
        back = time.monotonic()
        rig.provider.misbehave(kind="receipts", mode="never")
        time.sleep(3.0)  # messages go on coming while the backlog is drained
    finally:
        for load in loads:
            load.stop.set()
        for thread in threads:
            thread.join()
    accounts = [account(rig, load, back) for load in loads]
    for channel in OUTAGES:
        assert rig.end(channel) == 0
    print()
    for one in accounts:
        print(one)
    for one in accounts:
        assert one.lost == 0
        assert set(one.ends) <= {"sent", "unknown"}  # nobody's attempt was spent on it
    texts, emails = accounts
    assert texts.twice == 0  # Twilio is asked
    # Nobody can be asked of an email: one that is not essential ends at its first doubt, the others at their second.
    assert emails.ends["sent"] > emails.ends["unknown"]


def account(rig: Rig, load: Load, back: float) -> Account:
    """Waits for the end of every message."""
    rig.eye.wait(lambda: all(rig.eye.ends(message.id) for message in load.messages), 300)
    drained = time.monotonic() - back
    taken = at_the_provider(rig, load.channel)
    found = Account(load.channel, len(load.messages), Counter(), 0, 0, 0, drained)
    last: dict[tuple[str, str], int] = {}
    for message in load.messages:
        (end, *others) = {status["status"] for status in rig.eye.ends(message.id)}
        assert not others, "two ends of one message"
        found.ends[end] += 1
        places = taken[str(message.content["to"])]
        assert len(places) <= 1 + message.message["essential"], "at the provider oftener than documented"
        found.lost += end == "sent" and not places
        found.twice += max(0, len(places) - 1)
        who = message.message["recipient"], message.message["lane"]
        if places:
            found.overtaken += places[0] < last.get(who, 0)
            last[who] = max(places[0], last.get(who, 0))
    return found


def at_the_provider(rig: Rig, channel: str) -> dict[str, list[int]]:
    """Address → places, in the order of all it took; each message has an address of its own."""
    found: dict[str, list[int]] = defaultdict(list)
    query: dict[str, Any] = {"channel": channel, "limit": "500"}
    while True:
        answer = requests.get(f"{rig.provider.url}/messages", params=query, timeout=20).json()
        for message in answer["messages"]:
            found[message["to"]].append(int(message["seq"]))
        if not answer.get("next_cursor"):
            return found
        query["cursor"] = answer["next_cursor"]
