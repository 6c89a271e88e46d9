"""Postgres away on the whole stack, standing still or killed: deciding goes on from the views, writes say 503, nothing is lost.

A whole minute in the long form (``make hammer``).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import aiohttp
import psutil
import pytest

from cli.account import take_account
from connectors.settings import Settings
from connectors.stack.stack import LocalStack
from tests.integration.hammer.afterwards import decided_for, settled
from tests.integration.hammer.conftest import SERVICES
from tests.integration.hammer.crowd import Events, Patient, Way, add_patients
from tests.integration.hammer.phones import Phones

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

Outage = Literal["stands_still", "is_killed"]

SHORT_SECONDS, FULL_SECONDS = 36.0, 60.0
# Who waits for Postgres is answered 503 after 8 s by the webhooks, by the API as conftest.py sets it; later on a slow machine.
LONGEST_ANSWER_SECONDS = 20.0
# After Postgres is back, until everything goes on by itself.
RECOVERY_SECONDS = 60.0
ACCOUNT_SECONDS = 120.0
EVENTS_EVERY_SECONDS = 0.25
LAST_EVENT_BEFORE_SECONDS = 20.0  # all topics are read anew each time it is looked whether it is decided
# One of each way who tries to change her mind meanwhile, and some who are only written to.
TRYING: tuple[Way, ...] = ("patch", "consent", "stop", "one_click")
FIRST_NUMBERS: dict[Outage, int] = {"stands_still": 3_000, "is_killed": 4_000}
ONLY_WRITTEN_TO = 8


@contextmanager
def away(whole: LocalStack, outage: Outage, seconds: float) -> Iterator[float]:
    """Postgres' processes answer nothing for so long; when it ends. Killed, the supervisor starts it anew."""
    pid = next(service.pid for service in whole.status() if service.name == "postgres")
    postgres = psutil.Process(pid)
    processes = [postgres, *postgres.children(recursive=True)]
    for process in processes:
        process.suspend()
    until = time.monotonic() + seconds
    try:
        yield until
        time.sleep(max(0.0, until - time.monotonic()))
    finally:
        for process in reversed(processes):
            with suppress(psutil.NoSuchProcess):
                if outage == "is_killed":
                    process.kill()
                process.resume()


class Meanwhile:
    """What is asked of the API and the webhooks during the outage, and what they answer."""

    def __init__(self, settings: Settings, patients: list[Patient]) -> None:
        self._api = f"http://{settings.api_host}:{settings.api_port}"
        self._settings = settings
        self._patients = [patient for patient in patients if patient.way is not None]
        self.answers: Counter[tuple[str, int]] = Counter()
        self.without_retry_after = 0
        self.slowest_seconds = 0.0

    async def ask_until(self, until: float) -> None:
        """All ways, again and again, as somebody does who is told that it did not work."""
        async with aiohttp.ClientSession() as session:
            phones = Phones(self._settings, session)
            async with asyncio.TaskGroup() as group:
                for patient in self._patients:
                    group.create_task(self._keep_saying_no(phones, patient, until))
                group.create_task(self._keep_reading(phones, until))
                group.create_task(self._look(session))

    async def _keep_saying_no(self, phones: Phones, patient: Patient, until: float) -> None:
        text = phones.text_of(patient, False)
        while time.monotonic() < until - LONGEST_ANSWER_SECONDS:  # the answer must be of the outage
            began = time.monotonic()
            status, retry_after = await phones.try_once(patient, False, text)
            self._note(f"{patient.way}", status, retry_after, time.monotonic() - began)
            await asyncio.sleep(0.2)

    async def _keep_reading(self, phones: Phones, until: float) -> None:
        while time.monotonic() < until - LONGEST_ANSWER_SECONDS:
            began = time.monotonic()
            status, retry_after = await phones.read(self._patients[0])
            self._note("read", status, retry_after, time.monotonic() - began)
            await asyncio.sleep(0.2)

    async def _look(self, session: aiohttp.ClientSession) -> None:
        async with session.get(f"{self._api}/healthz") as answer:
            self.answers["healthz", answer.status] += 1
        async with session.get(f"{self._api}/readyz") as answer:
            self.answers["readyz", answer.status] += 1

    def _note(self, what: str, status: int, retry_after: str | None, seconds: float) -> None:
        self.answers[what, status] += 1
        self.slowest_seconds = max(self.slowest_seconds, seconds)
        if status == 503 and not (retry_after or "").isdigit():
            self.without_retry_after += 1


@pytest.mark.parametrize("outage", ["stands_still", "is_killed"])
def test_deciding_goes_on_and_nothing_is_lost_while_postgres_is_away(
    outage: Outage, whole: LocalStack, full: bool, say: Callable[[str], None]
) -> None:
    settings = whole.settings()
    seconds = FULL_SECONDS if full else SHORT_SECONDS
    first = FIRST_NUMBERS[outage]
    ways: list[Way | None] = [*TRYING, *[None] * ONLY_WRITTEN_TO]
    patients = [Patient(first + number, way) for number, way in enumerate(ways)]
    written_to = [patient for patient in patients if patient.way is None]
    add_patients(settings, patients)
    events = Events(settings)
    meanwhile = Meanwhile(settings, patients)

    async def tell_and_wait(until: float) -> float:
        """How long before its end all that was told during the outage was decided."""
        await tell_until(events, written_to, until - LAST_EVENT_BEFORE_SECONDS)
        await asyncio.to_thread(decided_for, settings, written_to, events.sent)
        return until - time.monotonic()

    async def during(until: float) -> float:
        async with asyncio.TaskGroup() as group:
            group.create_task(meanwhile.ask_until(until))
            told = group.create_task(tell_and_wait(until))
        return told.result()

    with away(whole, outage, seconds) as until:
        in_time = asyncio.run(during(until))
        still_away = until - time.monotonic()
    say(f"{outage} for {seconds:g} s: {len(events.sent)} events, the last one decided {in_time:.1f} s before its end")
    say(f"answers: {dict(meanwhile.answers)}, the slowest after {meanwhile.slowest_seconds:.1f} s")
    assert in_time > 0
    assert still_away > 0
    assert meanwhile.answers["healthz", 200] == 1
    assert meanwhile.answers["readyz", 503] == 1
    asked = {what: status for what, status in meanwhile.answers if what not in ("healthz", "readyz")}
    assert asked == dict.fromkeys((*TRYING, "read"), 503)
    assert {status for what, status in meanwhile.answers if what in asked} == {503}
    assert meanwhile.without_retry_after == 0

    back = time.monotonic()
    asyncio.run(everybody_says_no(settings, patients))
    say(f"every no is in force {time.monotonic() - back:.1f} s after it is back")
    assert time.monotonic() - back < RECOVERY_SECONDS
    for patient in patients:
        events.tell(patient)
    events.flush()
    found = settled(settings, patients, events.sent)
    assert Counter({patient.number: len(found.sent[patient.recipient]) for patient in written_to}) == Counter(
        patient.number for patient in events.sent.values() if patient.way is None
    )
    assert not any(found.sent[patient.recipient] for patient in patients if patient.way is not None)
    say(f"how deliveries ended: {dict(found.ends)}, all well {time.monotonic() - back:.1f} s after it is back")
    assert found.dead_letters == 0
    the_account_closes(whole)
    states = {service.name: (service.state, service.restarts) for service in whole.status()}
    say(f"restarts: { {name: restarts for name, (_, restarts) in states.items() if restarts} }")
    assert {state for state, _ in states.values()} == {"ready"}


async def tell_until(events: Events, patients: list[Patient], until: float) -> None:
    """Events about them in turn, at an even pace."""
    turn = 0
    while time.monotonic() < until:
        events.tell(patients[turn % len(patients)])
        turn += 1
        await asyncio.sleep(EVENTS_EVERY_SECONDS)
    events.flush()


async def everybody_says_no(settings: Settings, patients: list[Patient]) -> None:
    """What was answered 503 is said again as it was, until it is answered 200."""
    async with aiohttp.ClientSession() as session:
        phones = Phones(settings, session)
        await asyncio.gather(*(phones.say(patient, False) for patient in patients if patient.way is not None))


def the_account_closes(whole: LocalStack) -> None:
    """ClickHouse takes it all in, and counts as Kafka and the provider do."""
    whole.up([*SERVICES, "clickhouse"])
    deadline = time.monotonic() + ACCOUNT_SECONDS
    while (accounts := take_account(whole.settings(), None)).differences():
        assert time.monotonic() < deadline, accounts.differences()
        time.sleep(1)
    for channel, accepted in accounts.kafka.accepted.items():
        assert sum(accounts.provider[channel].values()) == accepted
