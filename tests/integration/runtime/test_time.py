"""Time as the whole app sees it: clocks that step, and timers whose cancellation came while nobody was there."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.integration.runtime.test_app import Clinic, clinic

pytestmark = pytest.mark.integration

__all__ = ["clinic"]  # the fixture

HOUR_MS = 3_600_000
SETTLE_SECONDS = 6.0


def step(clock: Path, ms: int) -> None:
    """Sets the worker's clock so far from the machine's, at once: it reads the file at any moment, so never half of it."""
    ahead = clock.with_suffix(".ahead")
    ahead.write_text(str(ms))
    ahead.replace(clock)


def test_a_clock_that_steps_fires_nothing_early_and_nothing_twice(clinic: Clinic, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    step(clock, 0)
    crew = clinic.crew(COUNT_CLOCK=str(clock), LUXE_STREAMS_CLOCK_SETTLE_SECONDS=str(SETTLE_SECONDS))
    crew.start()
    clinic.send(b"timer:%d:later" % HOUR_MS)
    clinic.wait(lambda: len(clinic.said()) == 1, crew)
    step(clock, 2 * HOUR_MS)  # set wrong, and put right
    time.sleep(SETTLE_SECONDS / 12)
    step(clock, 0)
    clinic.send(b"timer:100:blip")
    clinic.wait(lambda: len(clinic.said()) == 3, crew)
    assert [value.split(b"|")[0] for value in clinic.said()][1:] == [b"timer:100:blip"] * 2
    step(clock, 2 * HOUR_MS)  # resumed after two hours that its clocks did not see
    clinic.wait(lambda: len(clinic.said()) == 4, crew)
    assert clinic.said()[3].startswith(b"timer:%d:later" % HOUR_MS)
    step(clock, -2 * HOUR_MS)
    clinic.send(b"timer:100:back")
    clinic.wait(lambda: len(clinic.said()) == 6, crew)
    assert [value.split(b"|")[0] for value in clinic.said()][4:] == [b"timer:100:back"] * 2


def test_what_was_cancelled_while_nobody_was_there_does_not_fire(clinic: Clinic, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    step(clock, 0)
    crew = clinic.crew(COUNT_CLOCK=str(clock))
    crew.start()
    clinic.send(*(b"timer:%d:%s" % (HOUR_MS, name) for name in (b"gone", b"stays")))
    clinic.wait(lambda: len(clinic.said()) == 2, crew)
    (worker,) = crew.workers
    worker.kill()
    clinic.send(*[b"before"] * 500, b"cancel:gone", b"after")
    step(clock, 2 * HOUR_MS)  # both are due now
    crew.ready_file(worker).unlink()
    crew.start()
    clinic.send(b"last")
    fires = b"timer:%d:stays" % HOUR_MS
    clinic.wait(lambda: sum(value.startswith(fires) for value in clinic.said()) == 2, crew)
    clinic.wait(lambda: any(value.startswith(b"last") for value in clinic.said()), crew)
    fired = [value for value in clinic.said() if value.startswith(b"timer:")]
    assert [value.split(b"|")[0] for value in fired[2:]] == [fires]
