"""A worker dies, or stands still, with timers pending: they fire at the other one, each once, none before it is due."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from connectors.kafka import read_to_end
from tests.chaos.test_exactly_once import PAUSE_SECONDS, new_crew
from tests.chaos.workers import Account, Feed, wait_until_done
from tests.conftest import Stack

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

# Due from before the first worker goes until long after its partitions moved (a session is 6 s).
DUE_FROM_MS, DUE_TO_MS = 3_000, 14_000


@pytest.mark.timeout(1800)
def test_timers_of_a_worker_that_goes_fire_at_the_other(stack: Stack, tmp_path: Path, full: bool) -> None:
    dice = random.Random(28)
    crew = new_crew(stack, tmp_path, size=2)
    account: Account | None = None
    feed = Feed(crew, rate=0, seed=4)  # timers alone
    lateness: list[int] = []
    try:
        crew.start()
        for turn in range(20 if full else 1):
            sent_ms = time.time() * 1000
            feed.set_timers(2_000, DUE_FROM_MS, DUE_TO_MS)
            time.sleep(dice.uniform(2, 6))
            victim = crew.workers[turn % 2]
            if turn % 4 < 2:
                victim.kill()  # and stays dead until all that it held is long due
                time.sleep(PAUSE_SECONDS)
            else:
                victim.signal(signal.SIGSTOP)
                time.sleep(PAUSE_SECONDS)
                victim.signal(signal.SIGCONT)
            victim.revive()
            account = wait_until_done(crew, feed.timed, timeout_seconds=90)
            assert account, f"{account}\n{crew.logs()}"
            fired = {
                value.rsplit(b"|", 1)[0]: timestamp
                for message in read_to_end(stack.settings, [crew.topics["counted"]])
                if (value := message.value() or b"") and (timestamp := message.timestamp()[1])
            }
            for _, value in feed.timed[-2_000:]:
                lateness.append(int(fired[value] - sent_ms - int(value.split(b":")[1])))
        lateness.sort()
        print(
            f"\n{len(feed.timed)} timers over workers that went: {account}; the latest {lateness[-1] / 1000:.1f} s late"
        )
        assert lateness[0] >= 0
    finally:
        crew.stop()
