"""Each record exactly once in every query, whatever dies when; read on the real broker, real Postgres, the real engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from connectors.kafka import make_producer
from connectors.kafka_admin import topic_ids
from connectors.postgres.ingest_positions import Advance, FencedError, IngestPositions
from connectors.sealing import DataKey, KeyCache, ensure_key_ring, open_sealed
from connectors.settings import Settings
from schemas.codec import Codec
from schemas.registry import FileRegistry
from schemas.topics import STATUS
from sinks.ingest.sealing import EventSealer
from tests.conftest import Stack

pytestmark = pytest.mark.integration

CODEC = Codec(FileRegistry())
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATUSES = 4_000
BAD = [b"not ours", b"\0\x7f\xff\xff\xffbody", b""]


def status(number: int) -> bytes:
    value: dict[str, Any] = {
        "status_id": str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))),
        "delivery_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"d{number}")),
        "notification_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"n{number}")),
        "notification_type": "appointment_confirmation",
        "recipient": f"patient:{number % 50}",
        "clinic_id": "clinic-demo",
        "category": "transactional",
        "lane": "high",
        "channel": "sms",
        "step": 0,
        "attempt": 1,
        "status": "sent",
        "reason": "",
        "provider": "twilio",
        "template_id": "",
        "template_version": 0,
        "segments": 1,
        "occurred_at": NOW,
        "status_at": NOW,
        "recorded_at": NOW,
    }
    optional = (
        "provider_message_id provider_status provider_event_id error_class error_code retry_at correlation_id sealed"
    )
    return CODEC.encode(STATUS, "luxe.pipeline.DeliveryStatus", value | dict.fromkeys(optional.split()))


@dataclass
class Sink:
    """Topics with records, a database, a state directory, and a way to run the sink on them."""

    settings: Settings
    topics: dict[str, str]
    records: int

    def run(self, **wanted: Any) -> subprocess.CompletedProcess[str]:
        asked = {"group": "g" + next(iter(self.topics.values())), "topics": self.topics, **wanted}
        return subprocess.run(
            [sys.executable, "-m", "tests.integration.clickhouse.worker", json.dumps(asked)],
            env=os.environ
            | {
                "LUXE_STATE_DIR": str(self.settings.state_dir),
                "LUXE_KAFKA_BOOTSTRAP": self.settings.kafka_bootstrap,
                "LUXE_POSTGRES_DSN": self.settings.postgres_dsn.get_secret_value(),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def ask(self, *queries: str) -> list[Any]:
        """Let the sink catch up, then the answers."""
        done = self.run(rows=self.records, queries=queries)
        assert done.returncode == 0, done.stderr[-2000:]
        answers = [line.removeprefix("RESULT ") for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        return [[tuple(row) for row in json.loads(answer)] for answer in answers]


@pytest.fixture
def sink(stack: Stack, tmp_path: Path) -> Sink:
    settings = stack.settings_for(tmp_path).model_copy(update={"postgres_dsn": _secret(stack.migrated_database())})
    topics = stack.new_topics([STATUS])
    producer = make_producer(settings)
    for number in range(STATUSES):
        producer.produce(topics[STATUS], status(number), key=f"patient:{number % 50}")
    for bad in BAD:
        producer.produce(topics[STATUS], bad, key="patient:1")
    producer.produce(topics[STATUS], None, key="patient:1")
    assert producer.flush(30) == 0
    ensure_key_ring(settings)
    return Sink(settings, topic_ids(settings, topics.values()), STATUSES + len(BAD) + 1)


def _secret(dsn: str) -> SecretStr:
    return SecretStr(dsn)


COUNTS = (
    "SELECT count(), uniqExact(_topic_id, _partition, _offset), uniqExact(status_id) FROM luxe.raw_delivery_status",
    "SELECT error_code, count() FROM luxe.raw_unreadable GROUP BY 1 ORDER BY 1",
)
UNREADABLE = [("tombstone", 1), ("unknown_magic_byte", 2), ("unknown_schema_id", 1)]


@pytest.mark.parametrize(
    ("step", "turn"), [("before_plan", 1), ("after_plan", 1), ("within", 1), ("within", 3), ("after_insert", 1)]
)
def test_killed_at_any_step_every_record_is_in_once(sink: Sink, step: str, turn: int) -> None:
    killed = sink.run(die_at=step, turn=turn, rows=sink.records)
    assert killed.returncode in (-signal.SIGKILL, 0), killed.stderr[-2000:]
    if turn == 1:
        assert killed.returncode == -signal.SIGKILL
    # Counted without FINAL: not the backstop key but the tokens keep it to once.
    assert sink.ask(*COUNTS) == [[(STATUSES, STATUSES, STATUSES)], UNREADABLE]


def test_run_twice_changes_nothing(sink: Sink) -> None:
    first = sink.ask(*COUNTS)
    assert sink.ask(*COUNTS) == first == [[(STATUSES, STATUSES, STATUSES)], UNREADABLE]


def test_a_body_cut_short_is_set_aside_and_its_neighbours_are_in(sink: Sink) -> None:
    producer = make_producer(sink.settings)
    (topic,) = sink.topics
    for value in (status(900_000), status(900_001)[:-3], status(900_002)):
        producer.produce(topic, value, key="patient:7")
    assert producer.flush(30) == 0
    sink.records += 3
    counts, unreadable = sink.ask(*COUNTS)
    assert counts == [(STATUSES + 2,) * 3]
    assert ("truncated_record", 1) in unreadable


def test_another_owner_fences_a_paused_one(sink: Sink) -> None:
    dsn = sink.settings.postgres_dsn.get_secret_value()
    paused, woken = IngestPositions(dsn, "x"), IngestPositions(dsn, "x")
    (first,) = paused.claim([("t", "id", 0)])
    paused.advance([Advance("id", 0, first.epoch, 0, 10)])
    (second,) = woken.claim([("t", "id", 0)])
    assert (second.next_offset, second.planned_end) == (0, 10)
    with pytest.raises(FencedError):
        paused.advance([Advance("id", 0, first.epoch, 10, None)])
    woken.advance([Advance("id", 0, second.epoch, 10, None)])
    paused.close()
    woken.close()


def _system_key(settings: Settings) -> DataKey:
    """The key that seals what no clinic's key is known for, stored as `luxe up` does."""
    ring = ensure_key_ring(settings)
    wrapped, key = ring.new_data_key("clinic:*", "*")
    with psycopg.connect(settings.postgres_dsn.get_secret_value()) as connection:
        connection.execute(
            "INSERT INTO key_encryption_keys (kek_id) VALUES (%s) ON CONFLICT DO NOTHING", (ring.active,)
        )
        connection.execute(
            "INSERT INTO data_keys (subject, clinic_id, kek_id, wrapped) VALUES ('clinic:*', '*', %s, %s)",
            (ring.active, wrapped),
        )
    return key


def test_a_name_that_postgres_cannot_hold_stops_nobody(
    sink: Sink, event_factory: Callable[..., tuple[str, bytes]]
) -> None:
    key = _system_key(sink.settings)
    _, good = event_factory("appointment.created")
    named = dict(CODEC.decode(good).value)
    bad = CODEC.encode("events.appointment", "luxe.events.AppointmentCreated", named | {"patient_id": "a\0b"})
    sealer = EventSealer(sink.settings.postgres_dsn.get_secret_value(), KeyCache(ensure_key_ring(sink.settings)), CODEC)
    for sealed, value in zip(sealer([good, bad]), (good, bad), strict=True):
        assert isinstance(sealed, bytes)
        assert open_sealed(key, "Event", named["event_id"], sealed) == value


def test_events_show_no_phi_and_open_with_their_clinics_key(
    stack: Stack, sink: Sink, tmp_path: Path, event_factory: Callable[..., tuple[str, bytes]]
) -> None:
    key = _system_key(sink.settings)
    topics = stack.new_topics(["events.appointment"])
    topic = topics["events.appointment"]
    event_id, value = event_factory("appointment.created")
    producer = make_producer(sink.settings)
    producer.produce(topic, value, key="apt-1")
    producer.produce(topic, value[:-2], key="apt-1")
    assert producer.flush(30) == 0
    events = Sink(sink.settings, topic_ids(sink.settings, [topic]), 2)
    rows, columns = events.ask(
        "SELECT event_id, hex(_sealed) FROM luxe.raw_event_appointment_created",
        "SELECT count() FROM system.columns WHERE database = 'luxe' AND table = 'raw_event_appointment_created' "
        "AND name IN ('patient_id', 'patient_name', 'patient_phone', 'patient_email', 'service')",
    )
    assert columns == [(0,)]
    ((stored_id, sealed),) = rows
    assert stored_id == event_id
    assert open_sealed(key, "Event", event_id, bytes.fromhex(sealed)) == value
