"""The loopback provider against the real SDKs: their requests are accepted, their own exceptions come of its errors.

The provider is a process of its own here, as in the stack; our webhooks are a small server in a thread.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import firebase_admin
import orjson
import pytest
import requests
from firebase_admin import credentials, messaging
from pydantic import SecretStr
from python_http_client import exceptions as sendgrid_exceptions
from sendgrid import SendGridAPIClient
from sendgrid.helpers.eventwebhook import EventWebhook
from sendgrid.helpers.mail import Attachment, CustomArg, FileContent, FileName, FileType, Mail
from twilio.base.exceptions import TwilioRestException
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from connectors.providers.outcome import Refused
from connectors.providers.twilio import TwilioMessages
from connectors.settings import Settings

pytestmark = pytest.mark.integration

ACCOUNT, AUTH_TOKEN, API_KEY = "AC" + "1" * 32, "token-of-the-test", "SG.of-the-test"
CARE, MARKETING, PATIENT = "+15005550006", "+15005550010", "+15551230001"
WAIT_SECONDS = 60

# The SDKs that ship no types, or types that are not so at run time.
TwilioClient: Any = Client
Validator: Any = RequestValidator


class Webhooks:
    """What the provider posted to us. ``answers`` are given in order, then 200."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[int] = []
        received = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.requests.append((self.path, dict(self.headers.items()), body))
                self.send_response(received.answers.pop(0) if received.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: bodies and addresses are no business of the test's output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def statuses(self, sid: str) -> list[dict[str, str]]:
        """Status callbacks of one text, in order of arrival."""
        forms = [dict(parse_qsl(body.decode())) for path, _, body in list(self.requests) if path.startswith("/status")]
        return [form for form in forms if form["MessageSid"] == sid]

    def events(self, message_id: str) -> list[dict[str, Any]]:
        """Email events of one message, in order of arrival."""
        batches = [orjson.loads(body) for path, _, body in list(self.requests) if path == "/webhooks/sendgrid/events"]
        return [event for batch in batches for event in batch if event["sg_message_id"].startswith(message_id)]


class Provider:
    """The loopback provider's process over one state directory."""

    def __init__(self, state_dir: Path, webhook_url: str) -> None:
        self.state_dir = state_dir
        self._webhook_url = webhook_url
        self.start()

    def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LUXE_")}
        environment |= {"LUXE_TWILIO_ACCOUNT_SID": ACCOUNT, "LUXE_TWILIO_AUTH_TOKEN": AUTH_TOKEN}
        environment |= {"LUXE_SENDGRID_API_KEY": API_KEY, "PYTHONPATH": str(Path(__file__).parents[2])}
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "connectors.loopback", "--port", "0"),
                *("--state-dir", str(self.state_dir), "--webhook-url", self._webhook_url),
            ],
            env=environment,
            cwd=self.state_dir.parent,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().rpartition(" ")[2].strip()
        assert self.url.startswith("http://127.0.0.1:")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        self._process.terminate()
        return self._process.wait(WAIT_SECONDS)

    def fault(self, effect: dict[str, Any], **match: Any) -> None:
        answer = requests.post(f"{self.url}/faults", json={"effect": effect, **match}, timeout=30)
        assert answer.status_code == 201

    def messages(self, **filters: Any) -> list[dict[str, Any]]:
        answer = requests.get(f"{self.url}/messages", params=filters, timeout=30)
        found: list[dict[str, Any]] = answer.json()["messages"]
        return found


@pytest.fixture(scope="module")
def webhooks() -> Iterator[Webhooks]:
    server = Webhooks()
    yield server
    server.close()


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, webhooks: Webhooks) -> Iterator[Provider]:
    started = Provider(tmp_path_factory.mktemp("loopback") / "state", webhooks.url)
    yield started
    assert started.stop() == 0


@pytest.fixture
def provider(process: Provider, webhooks: Webhooks) -> Provider:
    requests.delete(f"{process.url}/faults", timeout=30).raise_for_status()
    requests.delete(f"{process.url}/messages", timeout=30).raise_for_status()
    webhooks.requests.clear()
    webhooks.answers.clear()
    return process


@pytest.fixture
def twilio(provider: Provider) -> Any:
    client = TwilioClient(ACCOUNT, AUTH_TOKEN)
    client.api.base_url = provider.url
    return client


@pytest.fixture
def sendgrid(provider: Provider) -> SendGridAPIClient:
    return SendGridAPIClient(API_KEY, host=provider.url)


@pytest.fixture
def firebase(provider: Provider) -> Iterator[firebase_admin.App]:
    account = credentials.Certificate(str(provider.state_dir / "firebase-service-account.json"))
    app = firebase_admin.initialize_app(account, name="loopback")
    service = messaging._get_messaging_service(app)
    service._fcm_url = f"{provider.url}/v1/projects/{app.project_id}/messages:send"
    # Its own retries of 500 and 503 would only make the errors take seconds to appear.
    service._client.session.mount("http://", requests.adapters.HTTPAdapter(max_retries=0))
    yield app
    firebase_admin.delete_app(app)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {WAIT_SECONDS} s: {what}"
        time.sleep(0.02)


def mail(to: str = "patient@example.com", subject: str = "Your visit") -> Mail:
    message = Mail("care@luxe.example", to, subject, plain_text_content="See you on Tuesday.")
    message.add_custom_arg(CustomArg("delivery_id", "d-1"))
    return message


# Twilio


def test_a_text_is_accepted_listed_fetched_and_kept(provider: Provider, twilio: Any) -> None:
    sent = twilio.messages.create(to=PATIENT, from_=CARE, body="x" * 161)
    assert sent.status == "queued"
    assert sent.num_segments == "2"
    assert sent.error_code is None
    until(lambda: twilio.messages(str(sent.sid)).fetch().status == "delivered", "delivered when asked")
    (kept,) = provider.messages(channel="sms", to=PATIENT)
    assert (kept["id"], kept["status"], kept["payload"]["form"]["Body"]) == (sent.sid, "delivered", "x" * 161)


def test_a_list_filters_by_number_and_time_and_pages_newest_first(twilio: Any) -> None:
    sids = [twilio.messages.create(to=PATIENT, from_=CARE, body=f"text {n}").sid for n in range(5)]
    twilio.messages.create(to="+15551230002", from_=CARE, body="somebody else")
    twilio.messages.create(to=PATIENT, from_=MARKETING, body="another sender")
    until(lambda: twilio.messages(str(sids[-1])).fetch().date_sent is not None, "sent")
    now = datetime.now(UTC)
    listed = twilio.messages.list(
        to=PATIENT, from_=CARE, date_sent_after=now - timedelta(minutes=5), date_sent_before=now, page_size=2
    )
    assert [message.sid for message in listed] == sids[::-1]
    assert twilio.messages.list(to=PATIENT, date_sent_after=now + timedelta(minutes=1)) == []


def test_a_messaging_service_accepts_without_a_number(twilio: Any) -> None:
    sent = twilio.messages.create(to=PATIENT, messaging_service_sid="MG" + "a" * 32, body="hello")
    assert (sent.status, sent.num_segments, sent.from_) == ("accepted", "0", None)


def test_media_make_a_multimedia_message(twilio: Any) -> None:
    sent = twilio.messages.create(to=PATIENT, from_=CARE, media_url=["https://luxe.example/a.png"])
    assert str(sent.sid).startswith("MM")
    assert sent.num_media == "1"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"to": "+15005550001", "from_": CARE, "body": "x"}, 21211),
        ({"to": "not a number", "from_": CARE, "body": "x"}, 21211),
        ({"to": "+15005550002", "from_": CARE, "body": "x"}, 21612),
        ({"to": "+15005550003", "from_": CARE, "body": "x"}, 21408),
        ({"to": "+15005550004", "from_": CARE, "body": "x"}, 21610),
        ({"to": "+15005550009", "from_": CARE, "body": "x"}, 21614),
        ({"to": PATIENT, "from_": "+15005550001", "body": "x"}, 21212),
        ({"to": PATIENT, "from_": "+15005550007", "body": "x"}, 21606),
        ({"to": PATIENT, "body": "x"}, 21603),
        ({"to": PATIENT, "from_": CARE}, 21602),
        ({"to": PATIENT, "from_": CARE, "body": "x" * 1601}, 21617),
        ({"to": PATIENT, "from_": CARE, "body": "x", "status_callback": "nowhere"}, 21609),
    ],
)
def test_twilio_errors_raise_the_sdks_exception(twilio: Any, fields: dict[str, Any], code: int) -> None:
    with pytest.raises(TwilioRestException) as raised:
        twilio.messages.create(**fields)
    assert (raised.value.status, raised.value.code) == (400, code)


def test_twilio_refuses_another_token_and_an_unknown_message(provider: Provider, twilio: Any) -> None:
    stranger = TwilioClient(ACCOUNT, "wrong")
    stranger.api.base_url = provider.url
    with pytest.raises(TwilioRestException) as raised:
        stranger.messages.create(to=PATIENT, from_=CARE, body="x")
    assert (raised.value.status, raised.value.code) == (401, 20003)
    with pytest.raises(TwilioRestException) as raised:
        twilio.messages("SM" + "0" * 32).fetch()
    assert (raised.value.status, raised.value.code) == (404, 20404)


async def test_what_refuses_to_look_a_text_up_is_no_unknown_outcome(provider: Provider, tmp_path: Path) -> None:
    """Twilio's reader of lists raises no error type for it: an account's fault read like a cut connection."""
    settings = Settings(
        state_dir=tmp_path,
        twilio_account_sid=ACCOUNT,
        twilio_auth_token=SecretStr("wrong"),
        twilio_base_url=provider.url,
    )
    messages = TwilioMessages.open(settings, connections=1, timeout_seconds=10)
    try:
        with pytest.raises(Refused, match="account: code 20003, HTTP status 401"):
            await messages.find(to=PATIENT, body="x", since=datetime.now(UTC))
    finally:
        await messages.close()


async def test_the_asynchronous_client_speaks_to_it_too(provider: Provider) -> None:
    async with AsyncTwilioHttpClient() as http:
        client = TwilioClient(ACCOUNT, AUTH_TOKEN, http_client=http)
        client.api.base_url = provider.url
        sent = await client.messages.create_async(to=PATIENT, from_=CARE, body="hello")
        assert sent.status == "queued"
        with pytest.raises(TwilioRestException):
            await client.messages.create_async(to="+15005550001", from_=CARE, body="hello")


def test_status_callbacks_are_signed_and_end_with_the_outcome(
    provider: Provider, webhooks: Webhooks, twilio: Any
) -> None:
    url = f"{webhooks.url}/status?delivery=d-1"
    provider.fault({"kind": "undelivered", "code": 30007}, to="+15551230009")
    good = twilio.messages.create(to=PATIENT, from_=CARE, body="x", status_callback=url)
    bad = twilio.messages.create(to="+15551230009", from_=CARE, body="x", status_callback=url)
    until(lambda: len(webhooks.statuses(str(good.sid)) + webhooks.statuses(str(bad.sid))) == 4, "four callbacks")
    assert [form["MessageStatus"] for form in webhooks.statuses(str(good.sid))] == ["sent", "delivered"]
    undelivered = webhooks.statuses(str(bad.sid))[-1]
    assert (undelivered["MessageStatus"], undelivered["ErrorCode"]) == ("undelivered", "30007")
    assert twilio.messages(str(bad.sid)).fetch().error_code == 30007
    validator = Validator(AUTH_TOKEN)
    tokens = set()
    for path, headers, body in webhooks.requests:
        form = dict(parse_qsl(body.decode(), keep_blank_values=True))
        assert validator.validate(webhooks.url + path, form, headers["X-Twilio-Signature"])
        tokens.add(headers["I-Twilio-Idempotency-Token"])
    assert len(tokens) == 4


def test_receipts_can_be_doubled_reversed_withheld_and_forged(
    provider: Provider, webhooks: Webhooks, twilio: Any
) -> None:
    modes = ("duplicate", "out_of_order", "never", "wrong_signature")
    sids: dict[str, str] = {}
    for number, mode in enumerate(modes):
        to = f"+1555123100{number}"
        provider.fault({"kind": "receipts", "mode": mode}, to=to)
        sent = twilio.messages.create(to=to, from_=CARE, body="x", status_callback=f"{webhooks.url}/status")
        sids[mode] = str(sent.sid)
    until(lambda: len(webhooks.requests) == 8, "4 + 2 + 0 + 2 callbacks")
    seen = {mode: [form["MessageStatus"] for form in webhooks.statuses(sid)] for mode, sid in sids.items()}
    assert seen["duplicate"] == ["sent", "sent", "delivered", "delivered"]
    assert seen["out_of_order"] == ["delivered", "sent"]
    assert seen["never"] == []
    # Asked for, what nobody told is not known either; what only the webhook missed is.
    assert twilio.messages(sids["never"]).fetch().status == "sent"
    assert twilio.messages(sids["wrong_signature"]).fetch().status == "delivered"
    for path, headers, body in webhooks.requests:
        form = dict(parse_qsl(body.decode()))
        valid = Validator(AUTH_TOKEN).validate(webhooks.url + path, form, headers["X-Twilio-Signature"])
        assert valid == (form["MessageSid"] != sids["wrong_signature"])


def test_a_late_receipt_comes_after_the_provider_already_knows(
    provider: Provider, webhooks: Webhooks, twilio: Any
) -> None:
    provider.fault({"kind": "receipts", "mode": "late", "late_ms": 15_000}, channel="sms")
    sent = twilio.messages.create(to=PATIENT, from_=CARE, body="x", status_callback=f"{webhooks.url}/status")
    until(lambda: twilio.messages(str(sent.sid)).fetch().status == "delivered", "delivered when asked")
    assert webhooks.statuses(str(sent.sid)) == []
    until(lambda: len(webhooks.statuses(str(sent.sid))) == 2, "late callbacks")


def test_a_receipt_is_tried_again_until_the_webhook_takes_it(
    provider: Provider, webhooks: Webhooks, twilio: Any
) -> None:
    webhooks.answers = [503, 500]
    sent = twilio.messages.create(to=PATIENT, from_=CARE, body="x", status_callback=f"{webhooks.url}/status")
    until(lambda: len(webhooks.statuses(str(sent.sid))) == 4, "two callbacks and two tries again")
    tokens = [headers["I-Twilio-Idempotency-Token"] for _, headers, _ in webhooks.requests]
    assert len(set(tokens)) == 2


def test_stop_blocks_that_sender_only_until_start(provider: Provider, webhooks: Webhooks, twilio: Any) -> None:
    def text(word: str) -> None:
        body = {"from": "+15551232000", "to": MARKETING, "body": word}
        answer = requests.post(f"{provider.url}/inbound", json=body, timeout=30)
        assert answer.json()["webhook_status"] == 200

    text("Stop.")
    path, headers, body = webhooks.requests[-1]
    form = dict(parse_qsl(body.decode()))
    assert (path, form["OptOutType"], form["Body"]) == ("/webhooks/twilio/inbound", "STOP", "Stop.")
    assert Validator(AUTH_TOKEN).validate(webhooks.url + path, form, headers["X-Twilio-Signature"])
    with pytest.raises(TwilioRestException) as raised:
        twilio.messages.create(to="+15551232000", from_=MARKETING, body="sale")
    assert raised.value.code == 21610
    twilio.messages.create(to="+15551232000", from_=CARE, body="your visit")
    text("START")
    twilio.messages.create(to="+15551232000", from_=MARKETING, body="sale")


# Misbehaviour


def test_throttling_server_errors_and_codes_for_a_number(provider: Provider, twilio: Any) -> None:
    provider.fault({"kind": "status", "status": 429, "retry_after_seconds": 7}, to="+15551233000")
    provider.fault({"kind": "status", "status": 503}, to="+15551233001")
    provider.fault({"kind": "twilio_error", "code": 21610}, to="+15551233002")
    seen = []
    for number in range(3):
        with pytest.raises(TwilioRestException) as raised:
            twilio.messages.create(to=f"+1555123300{number}", from_=CARE, body="x")
        seen.append((raised.value.status, raised.value.code))
    assert seen == [(429, 20429), (503, 20503), (400, 21610)]
    answer = requests.post(
        f"{provider.url}/2010-04-01/Accounts/{ACCOUNT}/Messages.json",
        data={"To": "+15551233000", "From": CARE, "Body": "x"},
        auth=(ACCOUNT, AUTH_TOKEN),
        timeout=30,
    )
    assert answer.headers["Retry-After"] == "7"
    assert provider.messages() == []


def test_a_reset_before_keeps_nothing_a_reset_after_keeps_the_message(provider: Provider, twilio: Any) -> None:
    provider.fault({"kind": "reset_before"}, to="+15551234000")
    provider.fault({"kind": "reset_after"}, to="+15551234001")
    provider.fault({"kind": "hang", "seconds": 0.2, "accept": True}, to="+15551234002")
    for number in range(3):
        with pytest.raises(requests.exceptions.ConnectionError):
            twilio.messages.create(to=f"+1555123400{number}", from_=CARE, body="x")
    assert [kept["to"] for kept in provider.messages()] == ["+15551234001", "+15551234002"]


def test_rules_meet_the_nth_request_a_number_of_times_and_a_repeatable_share(provider: Provider, twilio: Any) -> None:
    def refused(to: str, number: int) -> list[bool]:
        outcome = []
        for _ in range(number):
            try:
                twilio.messages.create(to=to, from_=CARE, body="x")
                outcome.append(False)
            except TwilioRestException:
                outcome.append(True)
        return outcome

    provider.fault({"kind": "status", "status": 500}, to="+15551235000", nth=2)
    provider.fault({"kind": "status", "status": 500}, to="+15551235001", count=2)
    for to in ("+15551235002", "+15551235003"):
        provider.fault({"kind": "status", "status": 500}, to=to, probability=0.5, seed=42)
    assert refused("+15551235000", 3) == [False, True, False]
    assert refused("+15551235001", 3) == [True, True, False]
    shares = [refused(to, 12) for to in ("+15551235002", "+15551235003")]
    assert shares[0] == shares[1]
    assert {True, False} == set(shares[0])


def test_wrong_rules_are_refused_with_the_field(provider: Provider) -> None:
    body = [{"effect": {"kind": "latency", "ms": -1}}, {"effect": {"kind": "status", "status": 200}, "chanel": "sms"}]
    answer = requests.post(f"{provider.url}/faults", json=body, timeout=30)
    assert answer.status_code == 422
    fields = {problem["field"] for problem in answer.json()["problems"]}
    assert fields == {"0.effect.latency.ms", "1.effect.status.status", "1.chanel"}
    assert requests.get(f"{provider.url}/faults", timeout=30).json() == {"faults": []}


def test_a_body_over_the_limit_is_413_everywhere(provider: Provider) -> None:
    big = b"x" * (1_048_576 + 1)
    twilio_answer = requests.post(
        f"{provider.url}/2010-04-01/Accounts/{ACCOUNT}/Messages.json", data=big, auth=(ACCOUNT, AUTH_TOKEN), timeout=5
    )
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
    mail = b"x" * (30 * 1_048_576 + 1)  # SendGrid's limit of a mail with its files
    sendgrid_answer = requests.post(f"{provider.url}/v3/mail/send", data=mail, headers=headers, timeout=30)
    faults_answer = requests.post(f"{provider.url}/faults", data=big, timeout=30)
    assert [a.status_code for a in (twilio_answer, sendgrid_answer, faults_answer)] == [413, 413, 413]


# SendGrid


def test_an_email_is_accepted_kept_and_its_events_signed(
    provider: Provider, webhooks: Webhooks, sendgrid: SendGridAPIClient
) -> None:
    answer = sendgrid.send(mail())
    message_id = answer.headers["X-Message-Id"]
    assert answer.status_code == 202
    until(lambda: len(webhooks.events(message_id)) == 2, "processed and delivered")
    events = webhooks.events(message_id)
    assert [event["event"] for event in events] == ["processed", "delivered"]
    assert all(event["delivery_id"] == "d-1" and event["email"] == "patient@example.com" for event in events)
    assert len({event["sg_event_id"] for event in events}) == 2
    public_key = requests.get(f"{provider.url}/sendgrid/public-key", timeout=30).text
    assert (provider.state_dir / "sendgrid-webhook-public-key.txt").read_text().strip() == public_key
    verifier = EventWebhook(public_key)
    for _, headers, body in webhooks.requests:
        signature = headers["X-Twilio-Email-Event-Webhook-Signature"]
        timestamp = headers["X-Twilio-Email-Event-Webhook-Timestamp"]
        assert verifier.verify_signature(body.decode(), signature, timestamp)
        assert not verifier.verify_signature(body.decode() + " ", signature, timestamp)
    (kept,) = provider.messages(channel="email", status="delivered")
    assert (kept["id"], kept["payload"]["mail"]["subject"]) == (message_id, "Your visit")


def test_an_email_s_files_are_listed_and_each_can_be_opened(provider: Provider, sendgrid: SendGridAPIClient) -> None:
    """Of three megabytes too, which a listing names and does not quote; a page is not shown as one."""
    big = os.urandom(3_000_001)
    files = [("form.pdf", "application/pdf", big), ("x.html", "text/html", b"<script>1</script>")]
    asked = mail()
    for name, kind, content in reversed(files):  # the SDK puts each before those it has
        asked.add_attachment(
            Attachment(FileContent(base64.b64encode(content).decode()), FileName(name), FileType(kind))
        )
    message_id = sendgrid.send(asked).headers["X-Message-Id"]
    (kept,) = [one for one in provider.messages(channel="email") if one["id"] == message_id]
    assert [(one["filename"], one["type"], one["bytes"]) for one in kept["attachments"]] == [
        (name, kind, len(content)) for name, kind, content in files
    ]
    assert [file["content"] is None for file in kept["payload"]["mail"]["attachments"]] == [True, False]
    form, page = (requests.get(provider.url + one["at"], timeout=30) for one in kept["attachments"])
    assert (form.headers["Content-Type"], form.content) == ("application/pdf", big)
    assert (page.headers["Content-Type"], page.content) == ("application/octet-stream", files[1][2])
    for nothing in (f"{message_id}/attachments/2", "nobody/attachments/0"):
        assert requests.get(f"{provider.url}/messages/{nothing}", timeout=30).status_code == 404


@pytest.mark.parametrize(
    ("told", "seen", "status"),
    [
        (["bounce"], ["processed", "bounce"], "bounce"),
        (["blocked"], ["processed", "bounce"], "blocked"),
        (["dropped"], ["dropped"], "dropped"),
        (["deferred"], ["processed", "deferred", "delivered"], "delivered"),
        (["open", "click"], ["processed", "delivered", "open", "click"], "delivered"),
        (["spamreport"], ["processed", "delivered", "spamreport"], "delivered"),
    ],
)
def test_an_email_can_come_to_another_end(
    provider: Provider,
    webhooks: Webhooks,
    sendgrid: SendGridAPIClient,
    told: list[str],
    seen: list[str],
    status: str,
) -> None:
    for event in told:
        provider.fault({"kind": "email_event", "event": event}, channel="email")
    message_id = sendgrid.send(mail()).headers["X-Message-Id"]
    until(lambda: len(webhooks.events(message_id)) == len(seen), "all events")
    assert [event["event"] for event in webhooks.events(message_id)] == seen
    assert [kept["id"] for kept in provider.messages(status=status)] == [message_id]


def test_a_person_unsubscribes_later(provider: Provider, webhooks: Webhooks, sendgrid: SendGridAPIClient) -> None:
    message_id = sendgrid.send(mail()).headers["X-Message-Id"]
    answer = requests.post(
        f"{provider.url}/events", json={"message_id": message_id, "event": "unsubscribe"}, timeout=30
    )
    assert answer.status_code == 202
    until(lambda: "unsubscribe" in {event["event"] for event in webhooks.events(message_id)}, "unsubscribed")


def test_sendgrid_errors_raise_the_sdks_exceptions(provider: Provider, sendgrid: SendGridAPIClient) -> None:
    with pytest.raises(sendgrid_exceptions.BadRequestsError) as raised:
        sendgrid.send(mail(subject=""))
    assert [error["field"] for error in raised.value.to_dict["errors"]] == ["subject"]
    with pytest.raises(sendgrid_exceptions.BadRequestsError) as raised:
        sendgrid.send({"from": {"email": "care"}, "personalizations": [{"to": [{"email": "nobody"}]}], "subject": "s"})
    fields = [error["field"] for error in raised.value.to_dict["errors"]]
    assert fields == ["personalizations.0.to.0.email", "from.email", "content"]
    with pytest.raises(sendgrid_exceptions.UnauthorizedError):
        SendGridAPIClient("SG.wrong", host=provider.url).send(mail())
    for status, kind in (
        (403, sendgrid_exceptions.ForbiddenError),
        (429, sendgrid_exceptions.TooManyRequestsError),
        (500, sendgrid_exceptions.InternalServerError),
        (503, sendgrid_exceptions.ServiceUnavailableError),
    ):
        provider.fault({"kind": "status", "status": status, "retry_after_seconds": 3}, channel="email", count=1)
        with pytest.raises(kind) as refused:
            sendgrid.send(mail())
        assert refused.value.headers["Retry-After"] == "3"
    assert provider.messages() == []


# Firebase


def test_a_push_is_accepted_and_kept(provider: Provider, firebase: firebase_admin.App) -> None:
    note = messaging.Notification("Luxe", "You have a new message")
    message = messaging.Message(fid="device1", notification=note, data={"delivery_id": "d"})
    name = messaging.send(message, app=firebase)
    (kept,) = provider.messages(channel="push")
    assert (kept["id"], kept["to"], kept["status"]) == (name, "device1", "accepted")
    assert kept["payload"]["message"]["data"] == {"delivery_id": "d"}
    messaging.send(message, dry_run=True, app=firebase)
    assert len(provider.messages(channel="push")) == 1


@pytest.mark.filterwarnings("ignore:Message.token is deprecated")
def test_a_push_to_a_registration_token_is_accepted_too(provider: Provider, firebase: firebase_admin.App) -> None:
    messaging.send(messaging.Message(token="device:1"), app=firebase)
    assert [kept["to"] for kept in provider.messages(channel="push")] == ["device:1"]


@pytest.mark.parametrize(
    ("code", "exception"),
    [
        ("UNREGISTERED", messaging.UnregisteredError),
        ("QUOTA_EXCEEDED", messaging.QuotaExceededError),
        ("SENDER_ID_MISMATCH", messaging.SenderIdMismatchError),
        ("INVALID_ARGUMENT", firebase_admin.exceptions.InvalidArgumentError),
        ("UNAVAILABLE", firebase_admin.exceptions.UnavailableError),
        ("INTERNAL", firebase_admin.exceptions.InternalError),
    ],
)
def test_fcm_errors_raise_the_sdks_exceptions(
    provider: Provider, firebase: firebase_admin.App, code: str, exception: type[Exception]
) -> None:
    provider.fault({"kind": "fcm_error", "code": code}, to="gone")
    with pytest.raises(exception):
        messaging.send(messaging.Message(fid="gone"), app=firebase)
    assert provider.messages() == []


def test_an_apns_error_raises_the_third_party_exception(provider: Provider, firebase: firebase_admin.App) -> None:
    # google-auth takes a 401 for an expired token and asks twice more before it lets the error through.
    provider.fault({"kind": "fcm_error", "code": "THIRD_PARTY_AUTH_ERROR"}, to="ios")
    with pytest.raises(messaging.ThirdPartyAuthError):
        messaging.send(messaging.Message(fid="ios"), app=firebase)


def test_fcm_refuses_a_token_it_never_had(firebase: firebase_admin.App) -> None:
    with pytest.raises(firebase_admin.exceptions.InvalidArgumentError):
        messaging.send(messaging.Message(fid="not a token"), app=firebase)


def test_the_token_endpoint_refuses_a_forged_assertion(provider: Provider) -> None:
    claims = base64.urlsafe_b64encode(orjson.dumps({"iss": "stranger", "exp": int(time.time()) + 60})).decode()
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": f"e30.{claims}.c2ln"}
    answer = requests.post(f"{provider.url}/token", data=form, timeout=30)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


# What lasts


def test_what_was_answered_survives_kill_and_owed_receipts_follow(tmp_path: Path, webhooks: Webhooks) -> None:
    webhooks.requests.clear()
    webhooks.answers = [503] * 40
    provider = Provider(tmp_path / "state", webhooks.url)
    try:
        client = TwilioClient(ACCOUNT, AUTH_TOKEN)
        client.api.base_url = provider.url
        callback = f"{webhooks.url}/status"
        sids = [
            str(client.messages.create(to=PATIENT, from_=CARE, body=f"text {n}", status_callback=callback).sid)
            for n in range(20)
        ]
        key = requests.get(f"{provider.url}/sendgrid/public-key", timeout=30).text
        provider.kill()
        webhooks.answers = []
        webhooks.requests.clear()
        provider.start()
        assert [kept["id"] for kept in provider.messages(limit=1000)] == sids
        count = requests.get(f"{provider.url}/messages/count", timeout=30).json()
        assert count == {"total": 20, "by_channel": {"sms": {"delivered": 20}}}
        assert requests.get(f"{provider.url}/sendgrid/public-key", timeout=30).text == key
        until(lambda: all(len(webhooks.statuses(sid)) == 2 for sid in sids), "owed receipts")
        assert provider.stop() == 0
        webhooks.requests.clear()
        provider.start()
        assert requests.get(f"{provider.url}/healthz", timeout=30).json()["receipts"]["pending"] == 0
        assert (provider.state_dir / "messages.jsonl").stat().st_mode & 0o077 == 0
        assert requests.delete(f"{provider.url}/messages", timeout=30).json() == {"deleted": 20}
        assert provider.messages() == []
    finally:
        provider.kill()


def test_a_second_provider_on_the_same_directory_is_told_so(provider: Provider) -> None:
    other = subprocess.run(
        [sys.executable, "-m", "connectors.loopback", "--port", "0", "--state-dir", str(provider.state_dir)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert other.returncode == 1
    assert "another loopback provider runs on it" in other.stderr


def test_a_taken_port_is_one_clear_line(provider: Provider, tmp_path: Path) -> None:
    port = provider.url.rpartition(":")[2]
    other = subprocess.run(
        [sys.executable, "-m", "connectors.loopback", "--port", port, "--state-dir", str(tmp_path / "state")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert other.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in other.stderr.splitlines()[-1]
