"""Only what the provider signed is genuine."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from multidict import MultiDict

from connectors.loopback.signing import twilio_signature
from connectors.webhooks.signatures import SENDGRID_REPLAY_WINDOW_SECONDS, SendGridSignatures, TwilioSignatures

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
URL = "https://luxe.example/webhooks/twilio/status?delivery_id=d-1"
FORM = [("MessageSid", "SM1"), ("MessageStatus", "delivered"), ("Body", "ünïcode")]
KEY = ec.generate_private_key(ec.SECP256R1())
DER = KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
SENDGRID = SendGridSignatures(base64.b64encode(DER).decode())
BODY = b'[{"event":"open"}]'


def sign(body: bytes, timestamp: str) -> str:
    return base64.b64encode(KEY.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()


def at(seconds: float = 0) -> str:
    return str(int((NOW + timedelta(seconds=seconds)).timestamp()))


def test_twilio_signs_url_query_and_every_field() -> None:
    signatures = TwilioSignatures("token")
    signature = twilio_signature("token", URL, FORM)
    assert signatures.genuine(URL, MultiDict(FORM), signature)
    assert not signatures.genuine(URL.replace("d-1", "d-2"), MultiDict(FORM), signature)
    assert not signatures.genuine(URL, MultiDict([*FORM, ("Extra", "1")]), signature)
    assert not signatures.genuine(URL, MultiDict(FORM), twilio_signature("other token", URL, FORM))
    assert not signatures.genuine(URL, MultiDict(FORM), None)


def test_sendgrid_signs_timestamp_and_raw_body() -> None:
    assert SENDGRID.genuine(BODY, sign(BODY, at()), at(), NOW)
    assert not SENDGRID.genuine(BODY + b" ", sign(BODY, at()), at(), NOW)
    assert not SENDGRID.genuine(BODY, sign(BODY, at()), at(1), NOW)


@pytest.mark.parametrize("seconds", [-SENDGRID_REPLAY_WINDOW_SECONDS - 1, SENDGRID_REPLAY_WINDOW_SECONDS + 1])
def test_a_signature_from_another_time_is_a_replay(seconds: float) -> None:
    assert not SENDGRID.genuine(BODY, sign(BODY, at(seconds)), at(seconds), NOW)


@pytest.mark.parametrize("timestamp", [None, "", "now", "²", "-1"])
def test_a_timestamp_that_is_none(timestamp: str | None) -> None:
    assert not SENDGRID.genuine(BODY, sign(BODY, at()), timestamp, NOW)


@pytest.mark.parametrize("signature", [None, "", "not base64!", "AAAA", base64.b64encode(b"x" * 70).decode()])
def test_a_signature_that_is_none(signature: str | None) -> None:
    assert not SENDGRID.genuine(BODY, signature, at(), NOW)


def test_a_body_that_is_not_utf8_was_never_signed() -> None:
    assert not SENDGRID.genuine(b"\xff", sign(b"\xff", at()), at(), NOW)
