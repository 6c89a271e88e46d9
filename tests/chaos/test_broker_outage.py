"""The broker is killed and stays away for longer than every time-out: workers end, are started again, and nothing is lost.

What was due meanwhile fires when it is back, once.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.stack.stack import LocalStack
from tests.chaos.test_exactly_once import new_crew
from tests.chaos.workers import Crew, Feed, wait_until_done, wait_until_worked_on
from tests.conftest import Stack

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

# Of the workers under test: session 6 s, transaction and delivery 10 s. (In the full form also the watchdog's 60 s.)
SHORT_OUTAGE_SECONDS, FULL_OUTAGE_SECONDS = 16.0, 600.0
DUE_MEANWHILE = 200


@pytest.fixture
def broker() -> Iterator[LocalStack]:
    """A broker of the test's own: the session's stack is everybody's."""
    with tempfile.TemporaryDirectory(prefix="luxe-outage-", ignore_cleanup_errors=True) as folder:
        local = LocalStack(
            Path(folder) / "state", durable=True, default_ports=False, partitions=4, owner_pid=os.getpid()
        )
        try:
            local.up(["kafka"])
            yield local
        finally:
            local.wipe()


def kill(broker: LocalStack) -> None:
    for service in broker.status():
        if service.pid is not None:
            os.kill(service.pid, signal.SIGKILL)


def keep_alive(crew: Crew, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for worker in crew.workers:
            worker.revive()
        time.sleep(0.5)


@pytest.mark.timeout(1200)
def test_an_outage_of_the_broker_loses_and_doubles_nothing(broker: LocalStack, tmp_path: Path, full: bool) -> None:
    crew = new_crew(Stack(broker.settings()), tmp_path, size=2)
    feed = Feed(crew, rate=1000, seed=3)
    try:
        crew.start()
        feed.start()
        time.sleep(3)
        for _ in range(
            10 if full else 1
        ):  # killed, and started again by its supervisor at once: see streams/runtime/settle.py
            kill(broker)
            keep_alive(crew, 12)
        outage_seconds = FULL_OUTAGE_SECONDS if full else SHORT_OUTAGE_SECONDS
        # All due before the broker is back: by then each was set at least an outage ago.
        feed.set_timers(DUE_MEANWHILE, from_ms=5_000, to_ms=int(outage_seconds * 1000))
        wait_until_worked_on(crew, feed.timed, timeout_seconds=120)
        kill(broker)
        broker.down()
        keep_alive(crew, outage_seconds)
        broker.up(["kafka"])
        time.sleep(3)
        feed.finish()
        account = wait_until_done(crew, [*feed.sent, *feed.timed], timeout_seconds=120)
        print(
            f"\n{len(feed.sent)} events around an outage: {account}; ended: {[worker.statuses for worker in crew.workers]}"
        )
        assert account, f"{account}\n{crew.logs()}"
    finally:
        feed.finish()
        crew.stop()
