"""Sent and cancelled by hand on the whole stack: through the API to the loopback provider and back, while the API is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jwt
import psycopg
import pytest
import requests

from api.secret import jwt_secret
from connectors.kafka import read_to_end
from connectors.settings import Settings
from connectors.stack.stack import LocalStack
from schemas.codec import Codec
from schemas.registry import FileRegistry
from tests.integration.hammer.crowd import CLINIC, noon_zone

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SERVICES = ("relay", "intake", "notify", "webhooks", "api", "sms", "email", "in_app", "clickhouse")
WAIT_SECONDS = 90.0


@pytest.fixture(scope="module")
def whole() -> Iterator[LocalStack]:
    with tempfile.TemporaryDirectory(prefix="luxe-by-hand-", ignore_cleanup_errors=True) as folder:
        local = LocalStack(Path(folder) / "state", default_ports=False, owner_pid=os.getpid())
        try:
            local.up(SERVICES)
            yield local
        finally:
            local.wipe()


@pytest.fixture(scope="module")
def settings(whole: LocalStack) -> Settings:
    return whole.settings()


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


@pytest.fixture(scope="module")
def patients(settings: Settings) -> Callable[[], Patient]:
    """Somebody new each time."""
    everybody = [Patient(number) for number in range(10)]
    zone = noon_zone()
    rows = [
        {
            **{"recipient_id": f"h-{one.number}", "kind": "patient", "clinic_id": CLINIC, "first_name": "Ada"},
            **{"phone": one.phone, "phone_verified": True, "consent.sms_transactional": "opted_in"},
            **{"email": one.email, "email_verified": True, "consent.email_transactional": "opted_in"},
            **{"last_name": "Example", "time_zone": zone, "locale": "en-US"},
        }
        for one in everybody
    ]
    file = settings.state_dir / "by-hand.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = luxe(settings, "recipients", "import", str(file))
    assert done.returncode == 0, done.stderr
    waiting = iter(everybody)
    return lambda: next(waiting)


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


def test_the_whole_way_and_the_same_key_again(settings: Settings, patients: Callable[[], Patient]) -> None:
    desk, patient = Desk(settings), patients()
    status, made = desk.send(patient, "k-1", message="<b>Amoxicillin</b> twice a day")
    assert status == 202, made
    assert desk.send(patient, "k-1", message="<b>Amoxicillin</b> twice a day") == (202, made)
    assert desk.send(patient, "k-1", message="Something else")[0] == 422
    told = desk.until(made["notificationId"], lambda one: one.get("state") == "delivered")
    kinds = [step["kind"] for step in told["timeline"]]
    assert kinds[:3] == ["asked", "decided", "message"]
    assert {step["code"] for step in told["timeline"]} >= {"notification.requested", "deliver", "sent", "delivered"}
    assert told["recipient"] == patient.recipient
    assert set(told["channels"]) >= {"sms", "email"}
    sent = sent_to(settings, patient)
    assert len(sent) == 2  # a text and an email, once each
    assert "Amoxicillin" not in "".join(sent)  # it waits in the portal
    _, page = desk("GET", f"/v1/notifications?recipient={patient.recipient}")
    assert [one["notificationId"] for one in page["notifications"]] == [made["notificationId"]]


def test_a_type_with_its_data_says_what_the_data_says(settings: Settings, patients: Callable[[], Patient]) -> None:
    desk, patient = Desk(settings), patients()
    data = {"appointment_date": "2027-03-04", "appointment_time": "14:00", "provider": "Dr. Smith", "service": "Botox"}
    body = {
        **{"recipient": patient.recipient, "notificationType": "appointment_confirmation"},
        "data": data | {"duration": "30"},
    }
    status, made = desk("POST", "/v1/notifications", body, str(uuid.uuid4()))
    assert status == 202, made
    desk.until(made["notificationId"], lambda one: one.get("state") == "delivered")
    text = "".join(sent_to(settings, patient))
    assert "Mar 4, 2027" in text
    assert "Botox" not in text


def test_the_api_is_killed_between_kafkas_acknowledgement_and_its_answer(
    whole: LocalStack, settings: Settings, patients: Callable[[], Patient]
) -> None:
    desk, patient = Desk(settings), patients()
    relay, api = pid_of(whole, "relay"), pid_of(whole, "api")
    with ThreadPoolExecutor(1) as pool:
        with standing_still(relay):
            asking = pool.submit(desk.send, patient, "k-killed")
            outbox(settings, "stored")
            os.kill(api, signal.SIGSTOP)  # it waits to hear that Kafka has it, and never will
        outbox(settings, "in kafka")
        os.kill(api, signal.SIGKILL)
        with pytest.raises(requests.ConnectionError):
            asking.result(60)
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            status, made = desk.send(patient, "k-killed")
        except requests.ConnectionError:
            status, made = 0, None
        if status == 202:
            break
        assert time.monotonic() < deadline, made
        time.sleep(0.2)
    desk.until(made["notificationId"], lambda one: one.get("state") == "delivered")
    assert requested(settings, patient.recipient) == 1
    assert len(sent_to(settings, patient)) == 2


def test_cancelled_before_it_is_due(settings: Settings, patients: Callable[[], Patient]) -> None:
    desk, patient = Desk(settings), patients()
    due = datetime.now(UTC) + timedelta(seconds=8)
    _, made = desk.send(patient, sendAt=due.isoformat())
    desk.until(made["notificationId"], lambda one: one.get("state") == "waiting")
    status, told = desk("POST", f"/v1/notifications/{made['notificationId']}/cancel")
    assert (status, told["outcome"]) == (200, "cancelled")
    ended = desk.until(made["notificationId"], lambda one: one.get("reason") == "cancelled")
    assert (ended["state"], ended["timeline"][-1]["code"]) == ("suppressed", "cancelled")
    time.sleep(max(0.0, due.timestamp() + 2 - time.time()))
    assert sent_to(settings, patient) == []


def test_cancelled_while_it_waits_before_its_channel(
    whole: LocalStack, settings: Settings, patients: Callable[[], Patient]
) -> None:
    desk, patient = Desk(settings), patients()
    with standing_still(pid_of(whole, "sms"), pid_of(whole, "email")):
        _, made = desk.send(patient)
        desk.until(made["notificationId"], lambda one: len(one.get("channels", ())) == 2)
        status, told = desk("POST", f"/v1/notifications/{made['notificationId']}/cancel")
        assert (status, told["outcome"]) == (200, "cancelled"), told
    ended = desk.until(
        made["notificationId"],
        lambda one: [step["code"] for step in one["timeline"] if step["kind"] == "status"].count("cancelled") == 2,
    )
    assert ended["state"] == "suppressed"
    assert sent_to(settings, patient) == []


def test_cancelled_after_it_was_sent_it_says_so(settings: Settings, patients: Callable[[], Patient]) -> None:
    desk, patient = Desk(settings), patients()
    _, made = desk.send(patient)
    desk.until(made["notificationId"], lambda one: one.get("state") == "delivered")
    status, told = desk("POST", f"/v1/notifications/{made['notificationId']}/cancel")
    assert (status, told["outcome"]) == (200, "sent")
    assert {one["channel"] for one in told["messages"]} == {"sms", "email"}
    assert told["sentence"].startswith("It had gone out by text and email before")


def misbehave(settings: Settings, to: str, count: int | None = None, **effect: Any) -> None:
    rule = {"to": to, "effect": effect} | ({} if count is None else {"count": count})
    answer = requests.post(f"{settings.loopback_url}/faults", json=rule, timeout=10)
    assert answer.status_code == 201, answer.text


def codes(told: Any) -> list[str]:
    return [step["code"] for step in told.get("timeline", ())]


def test_what_fails_in_passing_is_tried_again(settings: Settings, patients: Callable[[], Patient]) -> None:
    desk, patient = Desk(settings), patients()
    misbehave(settings, patient.phone, 1, kind="twilio_error", code=30001)
    _, made = desk.send(patient)
    told = desk.until(made["notificationId"], lambda one: codes(one).count("delivered") == 2)
    assert [code for code in codes(told) if code in ("deliver", "retry", "tried_again")] == [
        "deliver",
        "retry",
        "tried_again",
    ]
    assert told["state"] == "delivered"
    assert len(sent_to(settings, patient)) == 2  # a text, by its second attempt, and an email


def test_whom_neither_text_nor_email_reaches_has_it_in_the_portal(
    settings: Settings, patients: Callable[[], Patient]
) -> None:
    desk, patient = Desk(settings), patients()
    misbehave(settings, patient.phone, kind="undelivered", code=30005)
    misbehave(settings, patient.email, kind="email_event", event="bounce")
    _, made = desk.send(patient)
    told = desk.until(made["notificationId"], lambda one: one.get("state") == "delivered")
    assert {"undelivered", "bounced", "next_channel"} <= set(codes(told))
    assert set(told["channels"]) == {"sms", "email", "in_app"}


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


def test_luxe_send_sends_and_luxe_watch_follows(settings: Settings, patients: Callable[[], Patient]) -> None:
    patient = patients()
    watching = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "cli.main",
            "watch",
            "--json",
            "--recipient",
            patient.recipient.removeprefix("patient:"),
        ],
        env=os.environ | {"LUXE_STATE_DIR": str(settings.state_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    try:
        time.sleep(3)  # it begins with what comes from now on
        body = json.dumps({"recipient": patient.recipient, "message": "Your forms are ready.", "urgent": True})
        first = luxe(settings, "send", "-", "--key", "k-cli", "--json", given=body)
        assert first.returncode == 0, first.stderr
        again = luxe(settings, "send", "-", "--key", "k-cli", "--json", given=body)
        one, two = json.loads(first.stdout), json.loads(again.stdout)
        assert (one["again"], two["again"], one["notification_id"]) == (False, True, two["notification_id"])
        seen: list[dict[str, Any]] = []
        while [change["what"] for change in seen].count("delivered") < 2:
            line = watching.stdout.readline()
            assert line, watching.communicate(timeout=30)[1]
            seen.append(json.loads(line))
        assert {change["notification_id"] for change in seen} == {one["notification_id"]}
        assert (seen[0]["kind"], seen[0]["what"], seen[0]["channels"][:2]) == ("decision", "deliver", ["sms", "email"])
    finally:
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=30)
    assert (watching.returncode, said) == (0, "")

    lines = luxe(
        settings, "watch", "--since", "1h", "--recipient", patient.recipient, "--channel", "sms", "--limit", "2"
    )
    assert lines.returncode == 0, lines.stderr
    assert "deliver" in [line.split()[3] for line in lines.stdout.splitlines()]
    assert len(lines.stdout.splitlines()) == 2
    assert "\x1b" not in lines.stdout  # nobody sees colours in a pipe
    assert "Ada" not in lines.stdout


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("{", "no JSON (line 1)"),
        ('{"recipient": "patient:h-0"}', "send one of notificationType and message"),
        ('{"recipient": "patient:nobody", "message": "Sarah, call us"}', "field recipient"),
    ],
)
def test_luxe_send_says_what_to_mend(settings: Settings, body: str, says: str) -> None:
    done = luxe(settings, "send", "-", given=body)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Sarah" not in done.stderr


def test_luxe_watch_says_what_to_do_where_nothing_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "watch"],
        env=os.environ | {"LUXE_STATE_DIR": str(tmp_path), "LUXE_KAFKA_BOOTSTRAP": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "`luxe up` starts it" in done.stderr


def test_luxe_watch_says_so_when_kafka_goes_away(whole: LocalStack, settings: Settings) -> None:
    """The last one: nothing runs after it."""
    watching = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "watch"],
        env=os.environ | {"LUXE_STATE_DIR": str(settings.state_dir), "LUXE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(3)
    whole.down()
    _, said = watching.communicate(timeout=120)
    assert watching.returncode == 1
    assert "`luxe up` starts it" in said
    assert len(said.splitlines()) == 1
