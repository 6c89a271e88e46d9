"""Sent and cancelled by hand on the whole stack, the API killed meanwhile; and what an email carries there."""

from __future__ import annotations

import hashlib
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
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import requests
from pypdf import PdfReader, PdfWriter

from connectors.settings import Settings
from connectors.stack.stack import LocalStack
from tests.integration.abroad_and_one_click import one_click, texts_abroad
from tests.integration.desk import (
    WAIT_SECONDS,
    Desk,
    Patient,
    codes,
    connected,
    luxe,
    misbehave,
    outbox,
    pid_of,
    produced,
    requested,
    sent_to,
    standing_still,
)
from tests.integration.hammer.crowd import CLINIC, noon_zone

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

SERVICES = ("relay", "intake", "notify", "webhooks", "api", "sms", "email", "in_app", "clickhouse")


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


@pytest.fixture(scope="module")
def patients(settings: Settings) -> Callable[[], Patient]:
    """Somebody new each time."""
    everybody = [Patient(number) for number in range(20)]
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


def by_both(told: Any) -> bool:
    """Delivered by text and by email; its state is that by the first of them already."""
    return codes(told).count("delivered") == 2


def test_the_whole_way_and_the_same_key_again(settings: Settings, patients: Callable[[], Patient]) -> None:
    desk, patient = Desk(settings), patients()
    status, made = desk.send(patient, "k-1", message="<b>Amoxicillin</b> twice a day")
    assert status == 202, made
    assert desk.send(patient, "k-1", message="<b>Amoxicillin</b> twice a day") == (202, made)
    assert desk.send(patient, "k-1", message="Something else")[0] == 422
    told = desk.until(made["notificationId"], by_both)
    assert told["state"] == "delivered"
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
    day = date.today() + timedelta(days=60)  # noqa: DTZ011 — any day far enough ahead
    data = {"appointment_date": str(day), "appointment_time": "14:00", "provider": "Dr. Smith", "service": "Botox"}
    body = {
        **{"recipient": patient.recipient, "notificationType": "appointment_confirmation"},
        "data": data | {"duration": "30"},
    }
    status, made = desk("POST", "/v1/notifications", body, str(uuid.uuid4()))
    assert status == 202, made
    desk.until(made["notificationId"], lambda one: one.get("state") == "delivered")
    text = "".join(sent_to(settings, patient))
    assert f"{day:%b} {day.day}, {day.year}" in text
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
    desk.until(made["notificationId"], by_both)
    assert requested(settings, patient.recipient) == 1
    assert len(sent_to(settings, patient)) == 2


def test_cancelled_before_it_is_due(settings: Settings, patients: Callable[[], Patient]) -> None:
    desk, patient = Desk(settings), patients()
    began = time.monotonic()
    _, other = desk.send(patients(), sendAt=(datetime.now(UTC) + timedelta(days=1)).isoformat())
    desk.until(other["notificationId"], lambda one: one.get("state") == "waiting")
    # Not due before its cancellation, however slow the machine.
    due = datetime.now(UTC) + timedelta(seconds=8 + 4 * (time.monotonic() - began))
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
    desk.until(made["notificationId"], by_both)
    status, told = desk("POST", f"/v1/notifications/{made['notificationId']}/cancel")
    assert (status, told["outcome"]) == (200, "sent")
    assert {one["channel"] for one in told["messages"]} == {"sms", "email"}
    assert told["sentence"].startswith("It had gone out by text and email before")


def test_what_fails_in_passing_is_tried_again(settings: Settings, patients: Callable[[], Patient]) -> None:
    desk, patient = Desk(settings), patients()
    misbehave(settings, patient.phone, 1, kind="twilio_error", code=30001)
    _, made = desk.send(patient)
    told = desk.until(made["notificationId"], by_both)
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
        connected(watching.pid)  # it begins with what comes from now on, and the command below takes its time to start
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


def test_a_payment_s_email_carries_its_receipt(settings: Settings, patients: Callable[[], Patient]) -> None:
    patient = patients()
    produced(
        settings,
        patient,
        "payment.received",
        {"payment_id": "P-77", "amount": "120.00", "remaining_balance": "30.00", "method": "card Botox"},
        receipt_url="https://pay.example/r/77",
    )
    ((at, told),) = files_sent_to(settings, patient)
    assert (told["filename"], told["type"]) == ("receipt-P-77.pdf", "application/pdf")
    file = requests.get(f"{settings.loopback_url}{at}", timeout=10)
    assert file.headers["Content-Type"] == "application/pdf"
    text = " ".join(PdfReader(BytesIO(file.content), strict=True).pages[0].extract_text().split())
    assert "Reference P-77 Date" in text
    assert "Amount paid $120.00 Remaining balance $30.00" in text
    assert "Botox" not in text
    assert "Ada" not in text


def test_a_clinic_s_form_goes_with_the_email_that_names_it(
    settings: Settings, patients: Callable[[], Patient], tmp_path: Path
) -> None:
    form, other = tmp_path / "health.pdf", tmp_path / "peel.pdf"
    blank = PdfWriter()
    blank.add_blank_page(200, 200)
    blank.write(form)
    blank.write(other)
    policy = tmp_path / "policy.yaml"
    policy.write_text(json.dumps({"clinic_id": CLINIC, "name": "Luxe", "time_zone": "UTC"}))
    assert luxe(settings, "policies", "import", str(policy)).returncode == 0
    wrong = tmp_path / "notes.pdf"
    wrong.write_text("notes")
    for clinic, file, said in (("nowhere", form, "clinic: it has no policy here"), (CLINIC, wrong, "not a whole PDF")):
        refused = luxe(settings, "documents", "add", "--clinic", clinic, "--form", "Health", str(file))
        assert (refused.returncode, said in refused.stderr) == (1, True), refused.stderr
    told = luxe(settings, "documents", "add", "--clinic", CLINIC, "--form", "Health", "--level", "2", str(form))
    assert (told.returncode, "added; level 2 goes with emails" in told.stdout) == (0, True), told.stderr
    told = luxe(settings, "documents", "add", "--clinic", CLINIC, "--form", "Peel consent", str(other))
    assert "level 3 stays behind sign-in" in told.stdout
    listed = luxe(settings, "documents", "list", "--clinic", CLINIC).stdout
    assert [word in listed for word in ("Health", "Peel", "carry it", "never")] == [True] * 4

    patient = patients()
    fields = {"assignment_id": "F-1", "form_names": ["Peel consent", "health", "Not on file"]}
    produced(settings, patient, "forms.due", fields, forms_url="https://forms.example/1")
    ((at, sent),) = files_sent_to(settings, patient)
    assert (sent["filename"], sent["type"]) == ("health.pdf", "application/pdf")
    assert requests.get(f"{settings.loopback_url}{at}", timeout=10).content == form.read_bytes()

    assert luxe(settings, "documents", "remove", "--clinic", CLINIC, "--form", "HEALTH").returncode == 0
    ever = luxe(settings, "documents", "history", "--clinic", CLINIC, "--form", "health").stdout
    assert hashlib.sha256(form.read_bytes()).hexdigest()[:12] in ever
    assert "now" not in ever
    assert "no form of that name" in luxe(settings, "documents", "remove", "--clinic", CLINIC, "--form", "x").stderr


def files_sent_to(settings: Settings, patient: Patient) -> list[tuple[str, dict[str, Any]]]:
    """The files of the first email that reaches the patient, and where each lies at the provider."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        emails = [one for text in sent_to(settings, patient) if (one := json.loads(text))["channel"] == "email"]
        if emails:
            return [(file["at"], file) for file in emails[0]["attachments"]]
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_text_abroad_costs_what_its_country_costs_and_without_a_price_nothing_is_told(settings: Settings) -> None:
    texts_abroad(settings)


def test_a_mail_program_s_button_stops_offers_and_not_what_is_about_care(settings: Settings) -> None:
    one_click(settings)


def test_luxe_watch_says_so_when_kafka_goes_away(whole: LocalStack, settings: Settings) -> None:
    """The last one: nothing runs after it."""
    watching = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "watch"],
        env=os.environ | {"LUXE_STATE_DIR": str(settings.state_dir), "LUXE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    connected(watching.pid)
    whole.down()
    _, said = watching.communicate(timeout=120)
    assert watching.returncode == 1
    assert "`luxe up` starts it" in said
    assert len(said.splitlines()) == 1
