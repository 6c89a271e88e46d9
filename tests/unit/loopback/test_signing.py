"""Signatures hold by the verifiers our webhooks use, and only over what was signed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.auth import crypt, jwt
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict
from sendgrid.helpers.eventwebhook import EventWebhook
from twilio.request_validator import RequestValidator

from connectors.loopback.signing import (
    SERVICE_ACCOUNT_EMAIL,
    AssertionRefused,
    EventSigner,
    GoogleAccounts,
    twilio_signature,
)

# These ship no types.
Validator: Any = RequestValidator
Signer: Any = crypt.RSASigner
encode: Any = jwt.encode
NOW = 1_800_000_000


@given(
    form=st.dictionaries(st.text(min_size=1), st.text(), max_size=8),
    token=st.text(min_size=1),
    query=st.sampled_from(["", "?delivery=a%20b&n=1"]),
)
def test_twilios_own_validator_agrees(form: dict[str, str], token: str, query: str) -> None:
    url = f"https://luxe.example/status{query}"
    signature = twilio_signature(token, url, form.items())
    assert Validator(token).validate(url, form, signature)
    assert not Validator(token + "x").validate(url, form, signature)
    assert not Validator(token).validate(url, form | {"extra": "1"}, signature)


def test_repeated_form_names_are_signed_sorted() -> None:
    form = [("MediaUrl", "b"), ("MediaUrl", "a"), ("Body", "x")]
    signature = twilio_signature("token", "http://127.0.0.1:8000/in", form)
    assert Validator("token").validate("http://127.0.0.1:8000/in", MultiDict(form), signature)


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_sendgrids_own_verifier_agrees(body: str) -> None:
    signer = EventSigner(_KEY)
    signature = signer.sign("1700000000", body.encode())
    verifier = EventWebhook(signer.public_key)
    assert verifier.verify_signature(body, signature, "1700000000")
    assert not verifier.verify_signature(body + " ", signature, "1700000000")
    assert not verifier.verify_signature(body, signature, "1700000001")


_KEY = ec.generate_private_key(ec.SECP256R1())


def test_the_event_key_is_made_once_and_private(tmp_path: Path) -> None:
    assert EventSigner.at(tmp_path).public_key == EventSigner.at(tmp_path).public_key
    assert (tmp_path / "sendgrid-webhook-key.pem").stat().st_mode & 0o077 == 0


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> GoogleAccounts:
    return GoogleAccounts.at(tmp_path_factory.mktemp("google"))


def assertion(accounts: GoogleAccounts, **claims: Any) -> str:
    account = orjson.loads(accounts.write_service_account("http://127.0.0.1:1").read_bytes())
    signer = Signer.from_service_account_info(account)
    return bytes(encode(signer, {"iss": SERVICE_ACCOUNT_EMAIL, "exp": NOW + 60, **claims})).decode()


def test_a_granted_token_is_accepted_until_it_expires(accounts: GoogleAccounts) -> None:
    token = accounts.grant(assertion(accounts), NOW)
    assert accounts.accepts(token, NOW)
    assert not accounts.accepts(token, NOW + 3600)
    later = accounts.access_token(NOW + 7200)
    forged = ".".join(["ya29", later.split(".")[1], token.split(".")[2]])
    assert not accounts.accepts(forged, NOW)


@pytest.mark.parametrize("token", ["", "ya29", "ya29..", "ya29.x.y", "ya29.9999999999.", "ya29.٣.x"])
def test_tokens_of_no_shape_are_refused(accounts: GoogleAccounts, token: str) -> None:
    assert not accounts.accepts(token, NOW)


def test_assertions_of_others_old_or_broken_are_refused(accounts: GoogleAccounts) -> None:
    for wrong in (
        assertion(accounts, iss="somebody@else.example"),
        assertion(accounts, exp=NOW - 3600),
        assertion(accounts)[:-8] + "AAAAAAAA",
        "a.b.c",
        "",
        "é.é.é",
    ):
        with pytest.raises(AssertionRefused):
            accounts.grant(wrong, NOW)
