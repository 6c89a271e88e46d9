"""`python -m streams notify` on a real broker: exactly once under kill -9, timers across restarts, receipts, bad input."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.kafka import make_producer, read_to_end
from connectors.kafka_admin import create_topics
from connectors.settings import Settings
from connectors.stack.stack import LocalStack
from schemas.topics import DEAD_LETTERS, DECISIONS, POLICIES, RECIPIENTS, REQUESTED, TEMPLATES, deliver_topic
from streams.render.sources import load_templates
from tests.notify_world import World

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

# A busy machine starts an interpreter, a group and every topic's partitions slowly.
READY_SECONDS = 120
SETTLE_SECONDS = 120
REMINDER = "appointment_reminder_24h"
DELIVER = (deliver_topic("sms", "high"), deliver_topic("email", "high"))


class Pipeline:
    """A broker of its own with our topics and tables, and notify as a process. The world makes and opens the records."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.world = World(settings.state_dir)  # its key ring is the process's
        self.producer = make_producer(settings)
        self.process: subprocess.Popen[bytes] | None = None
        self.slowest_start_seconds = 0.0
        create_topics(settings)
        for patient in range(1, 40):
            self.world.add_recipient(f"patient:{patient}")
        for row in load_templates():
            key = f"{row['template_id']}/{row['channel']}/{row['locale']}/{row['version']}"
            wire = self.world.codec.encode(TEMPLATES, "luxe.pipeline.Template", row)
            self.producer.produce(TEMPLATES, wire, key.encode())
        for topic, table in ((RECIPIENTS, self.world.recipients), (POLICIES, self.world.policies)):
            for key_bytes, value in table.items():
                self.producer.produce(topic, value, key_bytes)
        self.producer.flush()

    def start(self) -> None:
        """Notify, until it says that it is ready."""
        ready = self.settings.state_dir / "ready" / "notify"
        ready.unlink(missing_ok=True)
        environment = os.environ | {
            "LUXE_STATE_DIR": str(self.settings.state_dir),
            "LUXE_KAFKA_BOOTSTRAP": self.settings.kafka_bootstrap,
            "LUXE_SERVICE_NAME": "notify",
        }
        began = time.monotonic()
        self.process = subprocess.Popen([sys.executable, "-m", "streams", "notify"], env=environment)
        until(ready.exists, READY_SECONDS, "notify is ready")
        self.slowest_start_seconds = max(self.slowest_start_seconds, time.monotonic() - began)

    def kill(self) -> None:
        """kill -9, and wait for it to be gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def ask(self, *requests: dict[str, Any]) -> None:
        """Requests to their topic."""
        for request in requests:
            record = self.world.record_of(request)
            self.producer.produce(record.topic, record.value, record.key, headers=list(record.headers))
        self.producer.flush()

    def records(self, *topics: str) -> list[dict[str, Any]]:
        """Every committed record of these topics, decoded."""
        codec = self.world.codec
        return [codec.decode(message.value()).value for message in read_to_end(self.settings, list(topics))]

    def decisions(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those about these requests."""
        asked = {request["notification_id"] for request in requests}
        return [decision for decision in self.records(DECISIONS) if decision["notification_id"] in asked]

    def dead_letters(self) -> Counter[str]:
        """How many there are of each code: of several partitions, no order says which are new."""
        return Counter(letter["error_code"] for letter in self.records(DEAD_LETTERS))


def until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Waits for it."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.2)


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


def test_requests_become_sealed_messages_once_though_notify_is_killed(pipeline: Pipeline) -> None:
    world = pipeline.world
    requests = [world.request(world.created(number, patient=str(number % 39 + 1))) for number in range(2000)]
    for start in range(0, len(requests), 500):
        pipeline.ask(*requests[start : start + 500])
        time.sleep(0.3)
        pipeline.kill()
        pipeline.start()
    pipeline.ask(*requests[:100])  # duplicates
    marker = world.request(world.created(999_999))
    pipeline.ask(*(world.request(world.created(1_000_000 + n, patient=str(n))) for n in range(1, 40)), marker)
    until(
        lambda: len(pipeline.decisions(requests)) >= len(requests) and bool(pipeline.decisions([marker])),
        SETTLE_SECONDS,
        "all are decided",
    )
    assert Counter(decision["notification_id"] for decision in pipeline.decisions(requests)) == Counter(
        request["notification_id"] for request in requests
    )
    asked = {request["notification_id"] for request in requests}

    def made() -> list[dict[str, Any]]:
        return [message for message in pipeline.records(*DELIVER) if message["notification_id"] in asked]

    # In the decisions' transactions: but a reader of several partitions sees their ends one after the other.
    until(lambda: len(made()) >= 2 * len(requests), SETTLE_SECONDS, "all have their messages")
    messages = made()
    assert Counter((one["notification_id"], one["channel"]) for one in messages) == Counter(
        (identity, channel) for identity in asked for channel in ("sms", "email")
    )
    text = next(message for message in messages if message["channel"] == "sms")
    assert world.content(text)["to"] == "+15551234567"
    assert pipeline.records(DEAD_LETTERS) == []


def test_timers_fire_on_time_and_a_cancellation_ends_them(pipeline: Pipeline) -> None:
    world = pipeline.world
    # Far enough ahead that a restart and the cancellation come before it, however slow the machine.
    ahead = timedelta(seconds=15 + 4 * pipeline.slowest_start_seconds)
    due_at = (datetime.now(UTC) + ahead).replace(microsecond=0)
    kept = world.request(world.created(5001), kind=REMINDER, due_at=due_at)
    ended = world.request(world.created(5002), kind=REMINDER, due_at=due_at)
    pipeline.ask(kept, ended)
    until(lambda: len(pipeline.decisions([kept, ended])) == 2, SETTLE_SECONDS, "both wait")
    pipeline.kill()  # what waits is in the changelog
    pipeline.start()
    cancelled = world.created(5003, aggregate_id="A-5002", aggregate_version=2)
    pipeline.ask(world.request(cancelled, kind="appointment_cancelled", withdraws="all"))
    until(lambda: len(pipeline.decisions([kept])) == 2, SETTLE_SECONDS, "the timer has fired")
    fired = max(pipeline.decisions([kept]), key=lambda one: int(one["sequence"]))
    assert (fired["outcome"], fired["sequence"]) == ("deliver", 1)
    assert timedelta() <= fired["decided_at"] - due_at < timedelta(seconds=SETTLE_SECONDS)
    assert [(one["outcome"], one["reason"]) for one in pipeline.decisions([ended])] == [
        ("defer", "not_due"),
        ("suppress", "cancelled"),
    ]


def test_bad_input_is_explained_and_blocks_nobody(pipeline: Pipeline) -> None:
    world = pipeline.world
    before = pipeline.dead_letters()
    for value in (b"", None, b"\x01nonsense", b"\x00\x00\x0f\xff\xff"):
        pipeline.producer.produce(REQUESTED, value, b"patient:1")
    broken = next(
        row for row in load_templates() if row["template_id"] == "appointment_cancelled" and row["locale"] == "en"
    )
    broken |= {"channel": "sms", "version": 99, "body": "{{ patient_name.secret }}", "subject": None, "html": None}
    wire = world.codec.encode(TEMPLATES, "luxe.pipeline.Template", broken)
    pipeline.producer.produce(TEMPLATES, wire, b"appointment_cancelled/sms/en/99")
    pipeline.producer.flush()
    stranger, good = world.request(world.created(6002, patient="nobody")), world.request(world.created(6001))

    def rendered_with_it() -> bool:
        pipeline.ask(world.request(world.created(next(numbers)), kind="appointment_cancelled"))
        return "template_error" in pipeline.dead_letters() - before

    numbers = iter(range(7000, 8000))
    until(rendered_with_it, SETTLE_SECONDS, "the broken template is known, and its fault told")
    pipeline.ask(world.request(world.created(6000)) | {"notification_type": "no_such_type"}, stranger, good)
    until(
        lambda: len(pipeline.decisions([good, stranger])) == 2,
        SETTLE_SECONDS,
        "the good one and the stranger's are decided",
    )
    until(
        lambda: (pipeline.dead_letters() - before).keys() >= {"unknown_notification_type", "unknown_schema_id"},
        SETTLE_SECONDS,
        "each bad one has its letter",
    )
    assert [one["outcome"] for one in pipeline.decisions([stranger])] == [
        "deliver"
    ]  # what is essential, to the event's own address
    codes = pipeline.dead_letters() - before
    assert codes.pop("template_error") >= 1
    assert codes == Counter(
        ["truncated_record", "tombstone", "unknown_magic_byte", "unknown_schema_id", "unknown_notification_type"]
    )
