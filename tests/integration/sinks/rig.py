"""What the sinks' tests drive: a provider that misbehaves on demand, the webhooks, sink processes, and an eye on the log."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import requests
from confluent_kafka import Message, TopicPartition
from pydantic import SecretStr

from connectors.kafka import make_consumer
from connectors.kafka_admin import create_topics
from connectors.loopback.signing import SERVICE_ACCOUNT_FILE
from connectors.sealing import ensure_key_ring
from connectors.settings import Settings
from schemas.codec import Codec
from schemas.registry import FileRegistry
from schemas.topics import DEAD_LETTERS, STATUS, deliver_topic
from sinks.runtime.lanes import group_of
from tests.conftest import Stack
from tests.integration.sinks.outgoing import Outgoing

WAIT_SECONDS = 60.0  # of a test for what must come; long, for slow machines
# Short, so that a killed sink's leases are over soon; the rest is the defaults.
TUNING = {
    "LUXE_SINKS_SMS_CALL_SECONDS": "5",
    "LUXE_SINKS_EMAIL_CALL_SECONDS": "5",
    "LUXE_SINKS_ATTACHMENTS_CALL_SECONDS": "5",
    "LUXE_SINKS_PUSH_CALL_SECONDS": "5",
    "LUXE_SINKS_LEASE_MARGIN_SECONDS": "3",
    "LUXE_SINKS_BREAKER_FIRST_PROBE_SECONDS": "0.5",
    "LUXE_SINKS_BREAKER_LONGEST_PROBE_SECONDS": "1",
    "LUXE_SINKS_BREAKER_CALM_SECONDS": "0.5",
    "LUXE_SINKS_RECEIPT_ASK_AGAIN_SECONDS": "0.2",
    "LUXE_SINKS_SESSION_TIMEOUT_SECONDS": "6",
    "LUXE_SINKS_COMMIT_INTERVAL_SECONDS": "0.1",
    "LUXE_PUSH_SYNC_SECONDS": "2",
}
ENDS = frozenset({"sent", "failed", "unknown", "suppressed", "cancelled", "expired"})


class Eye:
    """Reads statuses and dead letters as they are written."""

    def __init__(self, settings: Settings) -> None:
        self._codec = Codec(FileRegistry())
        self._consumer = make_consumer(settings, "tests-eye", enable_partition_eof=True)
        topics = self._consumer.list_topics(timeout=10).topics
        self._unread = {(topic, p) for topic in (STATUS, DEAD_LETTERS) for p in topics[topic].partitions}
        self._consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in self._unread])
        self.statuses: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.dead_letters: list[dict[str, Any]] = []
        self.headers: dict[str, set[str]] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        self.wait(lambda: not self._unread)

    def close(self) -> None:
        self._stopping = True
        self._thread.join()
        self._consumer.close()

    def wait(self, reached: Callable[[], Any], seconds: float = WAIT_SECONDS) -> None:
        """Until what was read satisfies ``reached``."""
        with self._changed:
            if not self._changed.wait_for(reached, seconds):
                raise AssertionError(f"not seen within {seconds:g} s")

    def words(self, delivery_id: str) -> list[str]:
        """A delivery's statuses in the order of the log, each once."""
        return list(dict.fromkeys(status["status"] for status in self.statuses[delivery_id]))

    def end(self, delivery_id: str) -> dict[str, Any]:
        """How the sink says it ended; waits for it."""
        self.wait(lambda: self.ends(delivery_id))
        return self.ends(delivery_id)[0]

    def status(self, delivery_id: str, word: str) -> dict[str, Any]:
        """The first status with this word; waits for it."""
        self.wait(lambda: word in self.words(delivery_id))
        return next(status for status in self.statuses[delivery_id] if status["status"] == word)

    def ends(self, delivery_id: str) -> list[dict[str, Any]]:
        """Every end that sinks have told of it; a receipt is none."""
        return [s for s in self.statuses[delivery_id] if s["status"] in ENDS and s["provider_event_id"] is None]

    def _watch(self) -> None:
        while not self._stopping:
            messages = self._consumer.consume(500, 0.05)
            if messages:
                with self._changed:
                    for message in messages:
                        self._note(message)
                    self._changed.notify_all()

    def _note(self, message: Message) -> None:
        if message.error() is not None:
            self._unread.discard((message.topic() or "", message.partition() or 0))
            return
        value = self._codec.decode(message.value()).value
        if message.topic() == STATUS:
            self.statuses[value["delivery_id"]].append(value)
            headers = message.headers() or ()
            self.headers[value["status_id"]] = {header if isinstance(header, str) else header[0] for header in headers}
        else:
            self.dead_letters.append(value)


@dataclass
class Provider:
    """The loopback provider of these tests."""

    url: str

    def misbehave(self, to: str | None = None, **effect: Any) -> None:
        """A rule for one address (or all): the effect's ``kind`` and options, and ``rule_…`` for the rule's own."""
        rule = {name.removeprefix("rule_"): effect.pop(name) for name in list(effect) if name.startswith("rule_")}
        rule["effect"] = effect
        if to is not None:
            rule["to"] = to
        answer = requests.post(f"{self.url}/faults", json=rule, timeout=10)
        assert answer.status_code == 201, answer.text

    def behave(self) -> None:
        """Forget all rules."""
        requests.delete(f"{self.url}/faults", timeout=10).raise_for_status()

    def messages(self, to: str) -> list[dict[str, Any]]:
        """What it took for one address."""
        found: list[dict[str, Any]] = requests.get(
            f"{self.url}/messages", params={"to": to, "limit": "100"}, timeout=10
        ).json()["messages"]
        return found

    def inbound(self, said: Mapping[str, Any]) -> None:
        """A text from a phone, which our webhooks took."""
        answer = requests.post(f"{self.url}/inbound", json=said, timeout=20)
        assert answer.status_code == 200, answer.text

    def count(self) -> int:
        """All it ever took."""
        return int(requests.get(f"{self.url}/messages/count", timeout=10).json()["total"])


@dataclass
class Rig:
    """The stack, the provider and the webhooks of these tests, and a way to run sinks."""

    settings: Settings
    provider: Provider
    eye: Eye
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, channel: str, tuning: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A sink, delivering; ``tuning``: other limits than the tests'."""
        ready = self.settings.state_dir / "ready" / channel
        ready.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "sinks", channel],
            env=environment(self.settings, channel) | TUNING | dict(tuning or {}),
        )
        try:
            wait_for(lambda: ready.exists() or process.poll() is not None)
        except BaseException:
            process.kill()  # nobody else knows of it yet
            process.wait()
            raise
        assert process.poll() is None, f"the {channel} sink ended with status {process.returncode}"
        self.running[channel] = process
        return process

    def ensure(self, channel: str) -> None:
        """A sink, delivering; the one that runs already, if it does."""
        process = self.running.get(channel)
        if process is None or process.poll() is not None:
            self.start(channel)

    def end(self, channel: str, how: signal.Signals = signal.SIGTERM) -> int:
        """End a sink; its exit status."""
        process = self.running.pop(channel)
        process.send_signal(how)
        return process.wait(WAIT_SECONDS)

    def taken(self, outgoing: Outgoing) -> list[dict[str, Any]]:
        """What the channel's provider took of a message: the loopback provider, or the inboxes in Postgres."""
        if outgoing.message["channel"] != "in_app":
            return self.provider.messages(str(outgoing.content["to"]))
        with psycopg.connect(self.settings.postgres_dsn.get_secret_value()) as connection:
            rows = connection.execute(
                "SELECT delivery_id, sealed FROM inbox_items WHERE delivery_id = %s", (outgoing.id,)
            ).fetchall()
        return [{"id": delivery_id, "payload": {"sealed": sealed}} for delivery_id, sealed in rows]

    def committed(self, channel: str, lane: str = "normal") -> dict[int, int]:
        """Partition → records of a lane that are not committed."""
        consumer = make_consumer(self.settings, group_of(channel, lane))
        try:
            topic = deliver_topic(channel, lane)
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            lags = {}
            for position in consumer.committed([TopicPartition(topic, p) for p in partitions], timeout=10):
                low, high = consumer.get_watermark_offsets(position, timeout=10)
                lags[position.partition] = high - max(position.offset, low)
            return lags
        finally:
            consumer.close()


@contextlib.contextmanager
def opened(stack: Stack) -> Iterator[Rig]:
    """Provider, webhooks and an empty database on a stack; sinks that still run at the end are ended."""
    with tempfile.TemporaryDirectory(prefix="luxe-sinks-") as folder:
        port = free_port()
        with loopback(Path(folder) / "provider", port) as (provider_url, public_key):
            settings = stack.settings_for(
                Path(folder) / "state",
                postgres_dsn=SecretStr(stack.migrated_database()),
                twilio_base_url=provider_url,
                sendgrid_base_url=provider_url,
                sendgrid_webhook_public_key=public_key,
                fcm_base_url=provider_url,
                fcm_service_account_file=Path(folder) / "provider" / SERVICE_ACCOUNT_FILE,
                webhook_port=port,
                public_base_url=f"http://127.0.0.1:{port}",
            )
            ensure_key_ring(settings)
            create_topics(settings)
            eye = Eye(settings)
            with webhooks(settings):
                made = Rig(settings, Provider(provider_url), eye)
                try:
                    yield made
                finally:
                    for channel in list(made.running):
                        made.end(channel)
                    eye.close()


@contextlib.contextmanager
def loopback(folder: Path, webhooks_port: int, *options: str) -> Iterator[tuple[str, str]]:
    """A provider of our own that posts receipts to our webhooks' port; its address and its event key."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "connectors.loopback", "--port", "0", "--state-dir", str(folder)),
            *("--webhook-url", f"http://127.0.0.1:{webhooks_port}"),
            *options,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        url = f"http://127.0.0.1:{int(line.rsplit(':', 1)[1])}"
        yield url, requests.get(f"{url}/sendgrid/public-key", timeout=10).text.strip()
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


@contextlib.contextmanager
def webhooks(settings: Settings) -> Iterator[None]:
    """The webhooks as a process."""
    name = f"webhooks-{settings.webhook_port}"  # several may run at once
    process = subprocess.Popen([sys.executable, "-m", "connectors.webhooks"], env=environment(settings, name))
    try:
        ready = settings.state_dir / "ready" / name
        wait_for(lambda: ready.exists() or process.poll() is not None)
        assert process.poll() is None, f"the webhooks ended with status {process.returncode}"
        yield
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


def environment(settings: Settings, service: str) -> dict[str, str]:
    """The settings as a process of ours is told them."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("LUXE_")}
    told: Mapping[str, Any] = settings.model_dump(mode="python", exclude_none=True)
    for name, value in told.items():
        if isinstance(value, tuple):
            given[f"LUXE_{name.upper()}"] = json.dumps(value)
        else:
            given[f"LUXE_{name.upper()}"] = (
                value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
            )
    return given | {"LUXE_SERVICE_NAME": service}


def wait_for(reached: Callable[[], Any], seconds: float = WAIT_SECONDS) -> None:
    """Until something outside the log is so."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f"not so within {seconds:g} s"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
