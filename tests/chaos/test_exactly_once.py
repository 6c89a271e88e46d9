"""Exactly once under any kill: workers are killed, paused past their session, rebalanced; then everything is counted."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from streams.runtime.errors import EXIT_FATAL, EXIT_FENCED
from tests.chaos.workers import Crew, Feed, take_account, wait_until_done
from tests.conftest import Stack

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

# A paused worker must be out of the group (6 s) and its transaction taken over before it wakes.
PAUSE_SECONDS = 12.0


def new_crew(stack: Stack, folder: Path, size: int) -> Crew:
    topics = stack.new_topics(["left", "right", "counted", "dead"])
    topics |= stack.new_topics(["state"], config={"cleanup.policy": "compact"})
    return Crew(stack.settings, topics, folder, size)


@pytest.mark.timeout(1800)
def test_killed_and_paused_workers_lose_and_double_nothing(stack: Stack, tmp_path: Path, full: bool) -> None:
    """kill -9 and SIGSTOP past the session time-out, two workers, under load."""
    kills, pauses = (50, 10) if full else (5, 1)
    dice = random.Random(20260101)
    crew = new_crew(stack, tmp_path, size=2)
    feed = Feed(crew, rate=2000, seed=1)
    plan = ["kill"] * kills + ["pause"] * pauses
    dice.shuffle(plan)
    began = time.monotonic()
    try:
        crew.start()
        feed.start()
        for step in plan:
            time.sleep(dice.uniform(0.3, 4.0 if full else 3.0))
            for worker in crew.workers:
                worker.revive()
            victim = dice.choice(crew.workers)
            if step == "kill":
                victim.kill()
                victim.start()
            else:
                victim.signal(signal.SIGSTOP)
                time.sleep(PAUSE_SECONDS)
                victim.signal(signal.SIGCONT)
        feed.finish()
        account = wait_until_done(crew, feed.sent, timeout_seconds=90)
        ended = [status for worker in crew.workers for status in worker.statuses]
        fenced = ended.count(EXIT_FENCED)
        print(
            f"\n{len(feed.sent)} events in {time.monotonic() - began:.0f} s under {kills} kills, {pauses} pauses: {account}"
        )
        print(f"workers that ended by themselves: {fenced} fenced, {len(ended) - fenced} otherwise")
        assert account, f"{account}\n{crew.logs()}"
        # A woken worker learns that it was fenced, or first that what it had sent timed out meanwhile. Nothing else ends one.
        assert set(ended) <= {EXIT_FENCED, EXIT_FATAL}, f"{ended}\n{crew.logs()}"
        # A busy machine may keep one of them from its session for as long as a pause does.
        assert len(ended) <= pauses + (not full), f"{ended}\n{crew.logs()}"
    finally:
        feed.finish()
        crew.stop()


@pytest.mark.timeout(600)
def test_rebalances_lose_and_double_nothing(stack: Stack, tmp_path: Path, full: bool) -> None:
    """Workers join and leave, by SIGTERM, while events flow: partitions move between three of them."""
    crew = new_crew(stack, tmp_path, size=1)
    feed = Feed(crew, rate=2000, seed=2)
    try:
        crew.start()
        feed.start()
        for turn in range(6 if full else 2):
            guest = crew.new_worker(f"guest{turn % 2}")
            crew.workers.append(guest)
            crew.ready_file(guest).unlink(missing_ok=True)
            guest.start()
            crew.wait_ready(guest)
            time.sleep(1)
            crew.workers.remove(guest)
            guest.signal(signal.SIGTERM)
            assert guest.process is not None
            assert guest.process.wait(60) == 0, guest.log.read_text()[-3000:]
            time.sleep(1)
        feed.finish()
        account = wait_until_done(crew, feed.sent, timeout_seconds=60)
        print(f"\n{len(feed.sent)} events under rebalances: {account}")
        assert account, f"{account}\n{crew.logs()}"
    finally:
        feed.finish()
        crew.stop()


def test_the_account_notices_what_is_wrong(stack: Stack, tmp_path: Path) -> None:
    """An account that cannot fail proves nothing: events that nobody worked on are lost, and it says so."""
    crew = new_crew(stack, tmp_path, size=0)
    account = take_account(crew, [(b"k1", b"0"), (b"k2", b"poison1")])
    assert not account
    assert (account.lost, account.dead_wrong, account.state_wrong) == (1, 1, 1)
