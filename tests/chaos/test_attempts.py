"""An attempt's promise under any kill: nothing is lost, and what is sent twice is counted, by channel and step."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.chaos.attempts import MESSAGES_A_LIFE, Account, Victim
from tests.chaos.dying_sink import STEPS
from tests.conftest import Stack
from tests.integration.sinks.outgoing import Outbox
from tests.integration.sinks.rig import Rig, opened, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

KILLS = int(os.environ.get("LUXE_CHAOS_KILLS", "1000"))  # of the long form
CHANNELS = ("sms", "email", "push", "in_app")
# Doubts must be there for a life that dies asking: the one before it leaves some.
ORDER = ("taken", "begun", "calling", "on_its_way", "asking", "answered", "asked", *STEPS[5:10])


@pytest.fixture(scope="module")
def rig(stack: Stack) -> Iterator[Rig]:
    with opened(stack) as made:
        # Slow enough that a call takes a while; no receipts, which would settle doubts before the sink does.
        made.provider.misbehave(kind="receipts", mode="never")
        made.provider.misbehave(kind="latency", ms=10, jitter_ms=20)
        yield made


def victims(rig: Rig, folder: Path, channels: tuple[str, ...]) -> list[Victim]:
    outbox = asyncio.run(Outbox.open(rig.settings))
    people = [f"patient:{uuid.uuid4()}" for _ in range(8)]
    asyncio.run(outbox.make_keys(people))
    return [
        Victim(rig, outbox, channel, people, folder, random.Random(20260101 + number))
        for number, channel in enumerate(channels)
    ]


@pytest.mark.timeout(3600)
def test_killed_at_every_step_nothing_is_lost_and_doubles_are_within_the_bound(
    rig: Rig, tmp_path: Path, full: bool
) -> None:
    channels = CHANNELS if full else ("sms", "email")
    lives = KILLS // len(channels) if full else len(ORDER)
    made = victims(rig, tmp_path, channels)
    died: Counter[str] = Counter()
    lock = threading.Lock()
    began = time.monotonic()

    def progress() -> None:
        with lock:
            died["all"] += 1
            if died["all"] % 50 == 0:
                print(f"{died['all']} kills in {time.monotonic() - began:.0f} s", flush=True)

    def live(victim: Victim) -> Account:
        victim.die(itertools.islice(itertools.cycle(ORDER), lives), progress)
        return victim.settle()

    try:
        with ThreadPoolExecutor(len(made)) as threads:
            accounts = list(threads.map(live, made))
    finally:
        for victim in made:
            victim.stop()
    print()
    for account in accounts:
        print(account.table())
    for account in accounts:
        assert account, account
        assert account.kills.total() == lives
        assert account.in_doubt.total() > 0  # there was something to be lost and doubled
    settled = {account.channel: account.duplicates for account in accounts}
    assert settled["sms"] == 0  # Twilio is asked
    assert settled.get("in_app", 0) == 0


@pytest.mark.timeout(900)
def test_stalled_past_its_lease_a_sink_says_nothing_that_another_has_to_say(
    rig: Rig, tmp_path: Path, full: bool
) -> None:
    """It stands still between two steps; another takes its messages up; then it wakes."""
    plan = [("sms", "calling"), ("email", "begun")]
    if full:
        plan = [(channel, step) for step in ("begun", "calling", "on_its_way", "answered") for channel in CHANNELS]
    twice: Counter[tuple[str, str]] = Counter()
    for turn in range(0, len(plan), 2):
        pair = plan[turn : turn + 2]
        folder = tmp_path / str(turn)
        folder.mkdir()
        made = victims(rig, folder, tuple(channel for channel, _ in pair))
        try:
            with ThreadPoolExecutor(len(made)) as threads:
                doubled = list(threads.map(stall, made, [step for _, step in pair]))
        finally:
            for victim in made:
                victim.stop()
        twice.update(dict(zip(pair, doubled, strict=True)))
    for (channel, step), count in twice.items():
        print(f"{channel} stalled at {step}: {count} sent twice of {MESSAGES_A_LIFE}")


def stall(victim: Victim, step: str) -> int:
    """How many were sent twice; what cannot be is asserted."""
    victim.feed()
    stalled = victim.start(step, by="SIGSTOP")
    wait_for(lambda: stalled.process.poll() is not None or _stands_still(stalled.process.pid))
    assert stalled.process.poll() is None, victim.log()
    calling = stalled.calling()
    second = victim.start()
    for message in victim.messages:
        victim.rig.eye.end(message.id)
    stalled.process.send_signal(signal.SIGCONT)
    # It ends in order: what it held is told, or left to whoever has it.
    wait_for(lambda: not _stands_still(stalled.process.pid))
    victim.feed()
    for message in victim.messages:
        victim.rig.eye.end(message.id)
    stalled.process.send_signal(signal.SIGTERM)
    assert stalled.process.wait(60) == 0, victim.log()
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(60) == 0, victim.log()
    doubled = 0
    for message in victim.messages:
        ends = [status["status"] for status in victim.rig.eye.ends(message.id)]
        times = len(victim.rig.taken(message))
        # In doubt it was unknown to the second; should the first have sent it after all, it says so, and that is the last word.
        assert ends == sorted(ends, reverse=True), (victim.channel, step, message.id, ends)
        assert set(ends) <= {"sent", "unknown"}, (victim.channel, step, message.id, ends)
        assert times or "unknown" in ends, (victim.channel, step, message.id)
        # What it had not called for yet is not its own any more when it wakes.
        may_double = message.id in calling and message.message["essential"] and victim.channel != "in_app"
        assert times <= (2 if may_double else 1), (victim.channel, step, message.id)
        doubled += times - 1 if times else 0
    return doubled


def _stands_still(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() == psutil.STATUS_STOPPED
