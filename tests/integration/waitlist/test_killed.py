"""Coordinators as processes on real Kafka and Postgres, killed with kill -9 between the steps of a waitlist."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from connectors.kafka import make_producer, read_to_end
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from schemas.events import EVENT_TYPES
from schemas.topics import DEAD_LETTERS, event_topic
from tests.integration.waitlist.conftest import Process, clinic, now_seconds, patients, said, until
from tests.integration.waitlist.test_claiming import ZONES

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

TOPIC = event_topic("waitlist.slot_available")
EVERYBODY = ("k1", "k2", "k3", "k4", "k5")


class Told:
    """What is in Kafka of one slot, and in Postgres."""

    def __init__(self, settings: Settings, records: Records, slot_id: str) -> None:
        self._settings, self._records, self._slot_id = settings, records, slot_id
        self._producer = make_producer(settings)

    def say(self, event_type: str, **given: Any) -> None:
        event = said(event_type, self._slot_id, now_seconds(), **given)
        contract = EVENT_TYPES[event_type]
        wire = self._records.codec.encode(contract.topic, contract.record, event)
        self._producer.produce(contract.topic, wire, self._slot_id.encode())
        self._producer.flush()

    def events(self, topic: str = TOPIC) -> list[dict[str, Any]]:
        found = [self._records.codec.decode(one.value()).value for one in read_to_end(self._settings, [topic])]
        return [one for one in found if one["correlation_id"] == f"c-{self._slot_id}"]

    def one(self, query: str) -> Any:
        with psycopg.connect(self._settings.postgres_dsn.get_secret_value()) as connection:
            row = connection.execute(query, (self._slot_id,)).fetchone()
        return row[0] if row else None

    @property
    def offers(self) -> int:
        return int(self.one("SELECT count(*) FROM waitlist_offers WHERE slot_id = %s"))

    @property
    def state(self) -> str | None:
        return str(self.one("SELECT state FROM waitlist_slots WHERE slot_id = %s"))


async def test_killed_at_every_step_each_is_asked_once_in_her_turn(
    settings: Settings, relay: None, pool: Pool, records: Records, processes: Callable[..., Process]
) -> None:
    await clinic(pool, records)
    now = now_seconds()
    await patients(pool, records, *EVERYBODY, zone=ZONES[now.hour])
    told = Told(settings, records, f"killed-{now.timestamp():.0f}")
    told.say(
        "waitlist.slot_available",
        waitlist_patients=list(EVERYBODY),
        # Both of one reading of the clock: said a second later, the window would be none, which means the longest.
        occurred_at=now,
        expires_at=now + timedelta(seconds=1),
    )
    workers = [processes(f"coordinator-{number}") for number in (1, 2)]
    for step in range(1, len(EVERYBODY) + 1):
        until(lambda step=step: told.offers >= step, f"offer {step}")  # type: ignore[misc]
        one = workers[step % 2]
        one.kill()
        if step == 3:
            workers[(step + 1) % 2].kill()  # for a while nobody looks
            workers[(step + 1) % 2].start()
        one.start()
    until(lambda: told.state == "exhausted", "nobody is left")
    until(lambda: any(one["event_type"] == "waitlist.slot_unfilled" for one in told.events()), "staff are told")
    events = told.events()
    made = [one for one in events if one["event_type"] == "waitlist.offer_made"]
    ended = [one for one in events if one["event_type"] == "waitlist.offer_ended"]
    assert [one["patient_id"] for one in made] == list(EVERYBODY)
    assert [(one["patient_id"], one["outcome"]) for one in ended] == [(patient, "expired") for patient in EVERYBODY]
    assert len({one["event_id"] for one in events}) == len(events)
    for before, after in zip(ended, made[1:], strict=False):
        assert before["ended_at"] <= after["occurred_at"]


async def test_what_cannot_be_handled_is_a_dead_letter_and_ends_gracefully(
    settings: Settings, relay: None, pool: Pool, records: Records, processes: Callable[..., Process]
) -> None:
    await clinic(pool, records)
    now = now_seconds()
    await patients(pool, records, *EVERYBODY, zone=ZONES[now.hour])
    told = Told(settings, records, f"poison-{now.timestamp():.0f}")
    one = processes("coordinator-3")
    told.say("waitlist.slot_available", waitlist_patients=list(EVERYBODY))
    until(lambda: told.offers == 1, "the first is asked")
    async with pool.connection() as connection:
        await connection.execute("UPDATE waitlist_slots SET sealed_for = 'gone'")
    told.say("waitlist.slot_claimed", patient_id="k2", version=2)
    until(lambda: bool(told.events(DEAD_LETTERS)), "a dead letter")
    (letter,) = told.events(DEAD_LETTERS)
    assert (letter["stage"], letter["error_code"]) == ("coordinator", "slot_key_gone")
    assert "restore its row of data_keys" in letter["explanation"]
    assert letter["event_type"] == "waitlist.slot_claimed"
    assert told.state == "offered"
    one.ready()
    assert one.end() == 0
