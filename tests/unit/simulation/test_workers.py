"""Several processes on one simulation: what comes of it is the same, and none of them outlives it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from datetime import date
from functools import cache

import pytest

from cli.simulation.inputs import Input, made_up
from cli.simulation.outcome import Outcome
from cli.simulation.running import simulate
from cli.simulation.workers import WorkerLost
from connectors.demo.script import Told
from tests.unit.simulation.seen import CATALOG


@cache
def given() -> Input:
    return made_up(11, date(2026, 3, 5), 6, 40, 6)


def simulated(workers: int, progress: object = None) -> Outcome:
    one = given()
    show = progress if callable(progress) else lambda _: None
    return simulate(
        one.script,
        begins_ms=one.begins_ms,
        ends_ms=one.ends_ms,
        seed=3,
        catalog=CATALOG,
        workers=workers,
        progress=show,
    )


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


def test_what_comes_of_it_does_not_depend_on_who_worked() -> None:
    alone = simulated(1)
    assert alone.events == sum(isinstance(one, Told) and one.at_ms <= given().ends_ms for one in given().script)
    assert alone.requested == alone.ended + alone.waiting > 100
    assert simulated(2) == alone
    assert simulated(8) == alone


def test_each_day_is_told_once_it_is_over() -> None:
    days: list[int] = []
    simulated(2, days.append)
    one = given()
    assert days == sorted(set(days))
    assert (len(days), days[-1]) == (7, one.ends_ms + 1)


def test_whoever_stops_it_stops_its_workers() -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulated(2, interrupted)


def test_a_worker_that_dies_is_told_of() -> None:
    def kills(_: int) -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGKILL)
            child.join()

    with pytest.raises(WorkerLost, match="exit status -9"):
        simulated(2, kills)
