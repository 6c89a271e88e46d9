"""Somebody at a clinic's desk, the people they send to, and the processes in between: for tests of the whole stack."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

import jwt
import psutil
import psycopg
import requests

from api.secret import jwt_secret
from connectors.kafka import read_to_end
from connectors.settings import Settings
from connectors.stack.stack import LocalStack
from schemas.codec import Codec
from schemas.registry import FileRegistry
from tests.integration.hammer.crowd import CLINIC

WAIT_SECONDS = 90.0


class Patient(NamedTuple):
    """Somebody who agreed to texts and emails."""

    number: int

    @property
    def recipient(self) -> str:
        return f"patient:h-{self.number}"

    @property
    def phone(self) -> str:
        return f"+1212555{1000 + self.number}"

    @property
    def email(self) -> str:
        return f"by.hand.{self.number}@example.com"


class Desk:
    """Somebody at the clinic, on the real API."""

    def __init__(self, settings: Settings) -> None:
        self._url = f"http://{settings.api_host}:{settings.api_port}"
        now = int(time.time())
        claims = {"sub": "desk", "role": "staff", "clinics": [CLINIC], "aud": settings.api_jwt_audience, "iat": now}
        self._token = jwt.encode(claims | {"exp": now + 3600}, jwt_secret(settings), "HS256")

    def __call__(self, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self._token}"} | ({} if key is None else {"Idempotency-Key": key})
        answer = requests.request(method, self._url + path, json=body, headers=headers, timeout=30)
        return answer.status_code, answer.json()

    def send(self, patient: Patient, key: str | None = None, **changes: Any) -> tuple[int, Any]:
        body = {"recipient": patient.recipient, "message": "Your forms are ready.", "urgent": True} | changes
        return self("POST", "/v1/notifications", body, key or str(uuid.uuid4()))

    def until(self, notification_id: str, enough: Callable[[Any], bool]) -> Any:
        """Its timeline, once that is true of it."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            _, told = self("GET", f"/v1/notifications/{notification_id}")
            if enough(told):
                return told
            assert time.monotonic() < deadline, told
            time.sleep(0.5)


def sent_to(settings: Settings, patient: Patient) -> list[str]:
    """What the provider was asked to send, as texts and emails."""
    found: list[str] = []
    for channel, address in (("sms", patient.phone), ("email", patient.email)):
        listing = f"{settings.loopback_url}/messages?channel={channel}&to={quote(address)}"
        found += [json.dumps(one) for one in requests.get(listing, timeout=30).json()["messages"]]
    return found


def requested(settings: Settings, recipient: str) -> int:
    codec = Codec(FileRegistry())
    events = (codec.decode(one.value()).value for one in read_to_end(settings, ["events.notification"]))
    return sum(one["recipient"] == recipient and "requested_by" in one for one in events)


def pid_of(whole: LocalStack, name: str) -> int:
    pid = next(service.pid for service in whole.status() if service.name == name)
    assert pid is not None
    return pid


@contextmanager
def standing_still(*pids: int) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def outbox(settings: Settings, wanted: str) -> None:
    """Waits until what was asked last is there: stored, or in Kafka too."""
    deadline = time.monotonic() + WAIT_SECONDS
    with psycopg.connect(settings.postgres_dsn.get_secret_value(), autocommit=True) as connection:
        query = (
            "SELECT o.published_at IS NOT NULL FROM asked_notifications a JOIN outbox o ON o.id = a.outbox_id "
            "ORDER BY a.asked_at DESC LIMIT 1"
        )
        while True:
            row = connection.execute(query).fetchone()
            if row is not None and (wanted == "stored" or row[0]):
                return
            assert time.monotonic() < deadline
            time.sleep(0.02)


def luxe(settings: Settings, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env=os.environ | {"LUXE_STATE_DIR": str(settings.state_dir)},
        capture_output=True,
        text=True,
        input=given,
        timeout=120,
        check=False,
    )


def produced(settings: Settings, patient: Patient, event_type: str, fields: dict[str, Any], **more: Any) -> None:
    """Publishes an event about the patient, as an operator does."""
    event = {
        **{"event_type": event_type, "clinic_id": CLINIC, "aggregate_id": next(iter(fields.values()))},
        **{"aggregate_version": 1, "patient_id": patient.recipient.removeprefix("patient:")},
        **fields,
        **more,
    }
    file = settings.state_dir / "produced.json"
    file.write_text(json.dumps(event))
    done = luxe(settings, "produce", str(file))
    assert done.returncode == 0, done.stderr


def misbehave(settings: Settings, to: str, count: int | None = None, **effect: Any) -> None:
    rule = {"to": to, "effect": effect} | ({} if count is None else {"count": count})
    answer = requests.post(f"{settings.loopback_url}/faults", json=rule, timeout=10)
    assert answer.status_code == 201, answer.text


def codes(told: Any) -> list[str]:
    return [step["code"] for step in told.get("timeline", ())]


def connected(pid: int) -> None:
    """Waits until a process of ours has a connection: here, to Kafka."""
    process, deadline = psutil.Process(pid), time.monotonic() + WAIT_SECONDS
    while not any(one.status == psutil.CONN_ESTABLISHED for one in process.net_connections("tcp")):
        assert time.monotonic() < deadline, "it has not connected"
        time.sleep(0.05)
