"""`python -m streams intake` on a real broker: sealed requests, exactly once under kill -9, every bad input explained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from connectors.kafka import make_producer, read_to_end
from connectors.kafka_admin import create_topics
from connectors.sealing import DataKey, ensure_key_ring, open_sealed
from connectors.settings import Settings
from connectors.stack.stack import LocalStack
from schemas.codec import Codec
from schemas.events import EVENT_TYPES
from schemas.registry import FileRegistry
from schemas.topics import AGGREGATE_GATES, DEAD_LETTERS, POLICIES, RECIPIENTS, REQUESTED
from tests.unit.rules.events import event

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

# A busy machine starts an interpreter, a group and 25 topics' partitions slowly.
READY_SECONDS = 120
SETTLE_SECONDS = 120


class Pipeline:
    """A broker of its own with our topics, a clinic's policy, a known patient, and intake as a process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.codec = Codec(FileRegistry())
        self.producer = make_producer(settings)
        self.keys: dict[str, DataKey] = {}
        self.process: subprocess.Popen[bytes] | None = None
        create_topics(settings)
        self._tables()

    def _tables(self) -> None:
        ring, now = ensure_key_ring(self.settings), datetime.now(UTC)
        wrapped, self.keys["clinic:*"] = ring.new_data_key("clinic:*", "*")
        policy = {"clinic_id": "*", "version": 1, "name": "Luxe", "time_zone": "America/New_York"}
        policy |= {"wrapped_key": wrapped, "updated_at": now}
        self.producer.produce(POLICIES, self.codec.encode(POLICIES, "luxe.pipeline.ClinicPolicy", policy), b"*")
        wrapped, self.keys["patient:p1"] = ring.new_data_key("patient:p1", "clinic-1")
        known = {"recipient": "patient:p1", "kind": "patient", "clinic_id": "clinic-1", "version": 1}
        known |= {"wrapped_key": wrapped, "updated_at": now, "sealed": b""}
        self.producer.produce(
            RECIPIENTS, self.codec.encode(RECIPIENTS, "luxe.pipeline.Recipient", known), b"patient:p1"
        )
        self.producer.flush()

    def start(self) -> None:
        """Intake, until it says that it is ready."""
        ready = self.settings.state_dir / "ready" / "intake"
        ready.unlink(missing_ok=True)
        environment = os.environ | {
            "LUXE_STATE_DIR": str(self.settings.state_dir),
            "LUXE_KAFKA_BOOTSTRAP": self.settings.kafka_bootstrap,
            "LUXE_SERVICE_NAME": "intake",
        }
        self.process = subprocess.Popen([sys.executable, "-m", "streams", "intake"], env=environment)
        _until(ready.exists, READY_SECONDS, "intake is ready")

    def kill(self) -> None:
        """kill -9, and wait for it to be gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def send(self, happened: dict[str, Any], **changes: Any) -> None:
        """An event to its topic; ``changes``: key or value instead of the right ones."""
        contract = EVENT_TYPES[happened["event_type"]]
        value = changes["value"] if "value" in changes else self.codec.encode(contract.topic, contract.record, happened)
        self.producer.produce(contract.topic, value, changes.get("key", happened["aggregate_id"].encode()))

    def read(self, topic: str) -> list[Message]:
        """Every committed record of a topic."""
        return list(read_to_end(self.settings, [topic]))

    def records(self, topic: str) -> list[dict[str, Any]]:
        """Every committed record of a topic, decoded."""
        return [self.codec.decode(message.value()).value for message in self.read(topic)]


def _until(holds: Any, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.2)


def _now(event_type: str, **given: Any) -> dict[str, Any]:
    """An event that happens now, about a day three weeks ahead."""
    return event(event_type, **given) | {"occurred_at": datetime.now(UTC).replace(microsecond=0)}


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Pipeline]:
    with tempfile.TemporaryDirectory(prefix="luxe-test-", ignore_cleanup_errors=True) as folder:
        local = LocalStack(
            Path(folder) / "state", durable=False, default_ports=False, partitions=4, owner_pid=os.getpid()
        )
        running: Pipeline | None = None
        try:
            local.up(["kafka"])
            running = Pipeline(local.settings())
            running.start()
            yield running
        finally:
            if running is not None and running.process is not None:
                running.kill()
            local.wipe()


def test_a_booking_and_its_cancellation(pipeline: Pipeline) -> None:
    booking = uuid.uuid4().hex
    day = datetime.now(UTC).date() + timedelta(days=21)
    created = _now("appointment.created", aggregate_id=booking, appointment_date=day)
    pipeline.send(created)
    pipeline.send(_now("appointment.cancelled", aggregate_id=booking, version=2, appointment_date=day))
    pipeline.producer.flush()

    def mine() -> list[dict[str, Any]]:
        return [request for request in pipeline.records(REQUESTED) if request["aggregate_id"] == booking]

    def gates() -> list[dict[str, Any]]:
        return [gate for gate in pipeline.records(AGGREGATE_GATES) if gate["gate_key"].endswith(booking)]

    # One transaction: but a reader of several partitions sees its ends one after the other.
    _until(lambda: len(mine()) >= 11 and gates(), SETTLE_SECONDS, "booking and cancellation are asked for")
    requests = mine()
    assert len(requests) == 11
    assert any(one["withdraws"] == "all" for one in requests)
    confirmation = next(one for one in requests if one["notification_type"] == "appointment_confirmation")
    content = open_sealed(
        pipeline.keys["patient:p1"], "NotificationRequest", confirmation["notification_id"], confirmation["sealed"]
    )
    assert pipeline.codec.decode(content).value == created
    provider = next(one for one in requests if one["recipient"] == "staff:d1")
    open_sealed(pipeline.keys["clinic:*"], "NotificationRequest", provider["notification_id"], provider["sealed"])
    assert [(gate["reason"], gate["aggregate_version"]) for gate in gates()] == [("cancelled", 1)]
    message = next(one for one in pipeline.read(REQUESTED) if one.key() == b"patient:p1")
    assert [header[0] for header in message.headers() or ()] == ["traceparent", "correlation_id", "occurred_at_ms"]


def test_killed_again_and_again_it_asks_for_each_exactly_once(pipeline: Pipeline) -> None:
    payments = [uuid.uuid4().hex for _ in range(600)]
    for kill in range(3):
        for payment in payments[kill * 200 : (kill + 1) * 200]:
            pipeline.send(_now("payment.received", aggregate_id=payment))
        pipeline.producer.flush()
        pipeline.kill()
        pipeline.start()

    def mine() -> list[dict[str, Any]]:
        return [request for request in pipeline.records(REQUESTED) if request["aggregate_id"] in set(payments)]

    _until(lambda: len(mine()) >= 2 * len(payments), SETTLE_SECONDS, "every payment is asked for")
    ids = [request["notification_id"] for request in mine()]
    assert len(ids) == len(set(ids)) == 2 * len(payments)


def _luxe(pipeline: Pipeline, *arguments: str) -> str:
    environment = os.environ | {
        "LUXE_STATE_DIR": str(pipeline.settings.state_dir),
        "LUXE_KAFKA_BOOTSTRAP": pipeline.settings.kafka_bootstrap,
        "COLUMNS": "200",
    }
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "dead-letters", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=READY_SECONDS,
    )
    return done.stdout


def test_bad_input_is_explained_and_the_partition_goes_on(pipeline: Pipeline) -> None:
    secret = "Zebulon Quartermain"
    good = _now("appointment.checked_in", aggregate_id="checked-in", patient_name=secret)
    contract = EVENT_TYPES["appointment.checked_in"]
    wire = pipeline.codec.encode(contract.topic, contract.record, good)
    spoilt = {
        "unknown_magic_byte": b"\x07" + wire[1:],
        "unknown_schema_id": wire[:1] + (999_999).to_bytes(4, "big") + wire[5:],
        "truncated_record": wire[:-9],
        "trailing_bytes": wire + b"more",
        "invalid_utf8": wire.replace(secret.encode(), secret.encode()[:-2] + b"\xff\xfe"),
        "oversized_record": wire + b"\0" * (10 * 1024 * 1024),
        "tombstone": None,
    }
    for value in spoilt.values():
        pipeline.send(good, value=value)
    pipeline.send(good, key=None)
    pipeline.send(good | {"occurred_at": datetime(1970, 1, 1, tzinfo=UTC)})
    pipeline.send(good | {"occurred_at": datetime(2099, 1, 1, tzinfo=UTC)})
    pipeline.send(_now("appointment.created", aggregate_id="unlikely", duration=-5, patient_name=secret))
    pipeline.send(good)
    pipeline.send(good)  # its event_id came before
    pipeline.send(_now("appointment.rescheduled", aggregate_id="moved", version=3))
    pipeline.send(_now("appointment.confirmed", aggregate_id="moved", version=2))  # overtaken on its way
    pipeline.producer.flush()
    of_sense = ["wrong_key", *["impossible_value"] * 3, "duplicate_event", "superseded_event"]
    _until(
        lambda: any(one["aggregate_id"] == "checked-in" for one in pipeline.records(REQUESTED)),
        SETTLE_SECONDS,
        "the good one behind the bad ones is asked for",
    )
    expected = sorted([*spoilt, *of_sense])
    _until(lambda: len(pipeline.read(DEAD_LETTERS)) == len(expected), SETTLE_SECONDS, "each bad one has its letter")
    listed = [json.loads(line) for line in _luxe(pipeline, "list", "--stage", "intake", "--json").splitlines()]
    assert sorted(letter["error_code"] for letter in listed) == expected
    asked = [one for one in pipeline.records(REQUESTED) if one["aggregate_id"] == "checked-in"]
    assert len({one["notification_id"] for one in asked}) == len(asked)
    assert secret not in json.dumps(listed)
    table = _luxe(pipeline, "list")
    assert "unknown_schema_id" in table
    for letter in listed:
        told = _luxe(pipeline, "show", letter["dead_letter_id"])
        assert secret not in told
        assert letter["error_code"] in told
        assert letter["cause"]
        assert letter["mend"]
    explained = _luxe(
        pipeline, "show", next(one["dead_letter_id"] for one in listed if one["error_code"] == "wrong_key")
    )
    assert "events.appointment[" in explained
    assert "Send the aggregate_id as key" in explained


def test_it_drains_when_told_to_end(pipeline: Pipeline) -> None:
    assert pipeline.process is not None
    pipeline.process.terminate()
    assert pipeline.process.wait(60) == 0
    pipeline.start()
