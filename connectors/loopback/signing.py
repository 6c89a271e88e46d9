"""Signatures and keys of the provider's side: what our webhooks must be able to verify.

Twilio: HMAC-SHA1 over the URL followed by the sorted form, with the account's auth token.
SendGrid: ECDSA P-256 with SHA-256 over timestamp + raw body.
Google: RS256 over a service account's JWT, in the other direction (the client signs, we verify).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

TWILIO_SIGNATURE_HEADER = "X-Twilio-Signature"
TWILIO_IDEMPOTENCY_HEADER = "I-Twilio-Idempotency-Token"
SENDGRID_SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
SENDGRID_TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"

SENDGRID_KEY_FILE = "sendgrid-webhook-key.pem"
SENDGRID_PUBLIC_KEY_FILE = "sendgrid-webhook-public-key.txt"
GOOGLE_KEY_FILE = "google-service-account-key.pem"
SERVICE_ACCOUNT_FILE = "firebase-service-account.json"

PROJECT_ID = "luxe-loopback"
SERVICE_ACCOUNT_EMAIL = f"notify@{PROJECT_ID}.iam.gserviceaccount.com"
ACCESS_TOKEN_LIFETIME_SECONDS = 3600  # what Google's token endpoint grants
CLOCK_SKEW_SECONDS = 300  # Google allows some; 5 minutes is the usual bound for OAuth assertions


class AssertionRefused(Exception):
    """A JWT assertion was not accepted; the text is the OAuth error description."""


def twilio_signature(auth_token: str, url: str, form: Iterable[tuple[str, str]]) -> str:
    """Base64 HMAC-SHA1 of the URL followed by the form's names and values, sorted, as Twilio's RequestValidator computes it."""
    signed = url + "".join(name + value for name, value in sorted(set(form)))
    # SHA-1 is Twilio's choice, not ours; HMAC-SHA1 is what the verifier expects.
    return base64.b64encode(hmac.new(auth_token.encode(), signed.encode(), hashlib.sha1).digest()).decode()


class EventSigner:
    """SendGrid's signed event webhook: one key for the life of the state directory."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def at(cls, directory: Path) -> EventSigner:
        """Load the key kept in ``directory``, or make it once; also writes the public key beside it."""
        pem = _read_or_create(directory / SENDGRID_KEY_FILE, lambda: _pem(ec.generate_private_key(ec.SECP256R1())))
        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(
                f"{directory / SENDGRID_KEY_FILE}: expected an EC private key; delete the file to make a new one"
            )
        signer = cls(key)
        (directory / SENDGRID_PUBLIC_KEY_FILE).write_text(signer.public_key + "\n")
        return signer

    @property
    def public_key(self) -> str:
        """Base64 of the DER public key: the form SendGrid shows in its settings page."""
        der = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(der).decode()

    def sign(self, timestamp: str, body: bytes) -> str:
        """Base64 ECDSA signature (DER) over timestamp + body."""
        return base64.b64encode(self._key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()


class GoogleAccounts:
    """The token endpoint's side of a throwaway service account: verifies assertions, issues and checks access tokens.

    Access tokens carry their own expiry and proof, so they outlive a restart without being kept.
    """

    def __init__(self, key: rsa.RSAPrivateKey, directory: Path) -> None:
        self._key = key
        self._directory = directory
        private = key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._secret = hashlib.sha256(private).digest()

    @classmethod
    def at(cls, directory: Path) -> GoogleAccounts:
        """Load the key kept in ``directory``, or make it once."""
        path = directory / GOOGLE_KEY_FILE
        pem = _read_or_create(path, lambda: _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)))
        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError(f"{path}: expected an RSA private key; delete the file to make a new one")
        return cls(key, directory)

    def write_service_account(self, base_url: str) -> Path:
        """Write the service account key file whose ``token_uri`` is ours; firebase-admin takes it as it is."""
        path = self._directory / SERVICE_ACCOUNT_FILE
        account = {
            "type": "service_account",
            "project_id": PROJECT_ID,
            "private_key_id": hashlib.sha256(self._secret).hexdigest()[:40],
            "private_key": _pem(self._key).decode(),
            "client_email": SERVICE_ACCOUNT_EMAIL,
            "client_id": "100000000000000000000",
            "token_uri": f"{base_url}/token",
        }
        _write_private(path, orjson.dumps(account, option=orjson.OPT_INDENT_2))
        return path

    def grant(self, assertion: str, now_seconds: int) -> str:
        """An access token for a JWT our service account signed. Raises AssertionRefused."""
        try:
            signed, _, signature = assertion.rpartition(".")
            _, _, claims_part = signed.partition(".")
            claims: dict[str, Any] = orjson.loads(_unbase64url(claims_part))
            self._key.public_key().verify(_unbase64url(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
            issuer, expires = claims["iss"], int(claims["exp"])
        except InvalidSignature as error:
            raise AssertionRefused("Invalid JWT Signature.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise AssertionRefused("Invalid JWT: it must be header.claims.signature with iss and exp.") from error
        if issuer != SERVICE_ACCOUNT_EMAIL:
            raise AssertionRefused("Invalid grant: account not found")
        if expires < now_seconds - CLOCK_SKEW_SECONDS:
            raise AssertionRefused("Invalid JWT: Token must be a short-lived token and in a reasonable timeframe.")
        return self.access_token(now_seconds + ACCESS_TOKEN_LIFETIME_SECONDS)

    def access_token(self, expires_seconds: int) -> str:
        """An access token good until ``expires_seconds`` (epoch)."""
        return f"ya29.{expires_seconds}.{self._proof(str(expires_seconds))}"

    def accepts(self, token: str, now_seconds: int) -> bool:
        """Whether we issued this access token and it has not expired."""
        _, _, rest = token.partition("ya29.")
        expires, _, proof = rest.partition(".")
        return expires.isdecimal() and int(expires) > now_seconds and hmac.compare_digest(proof, self._proof(expires))

    def _proof(self, expires: str) -> str:
        return hmac.new(self._secret, expires.encode(), hashlib.sha256).hexdigest()


def _unbase64url(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url") from error


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read_or_create(path: Path, make: Any) -> bytes:
    if not path.exists():
        _write_private(path, make())
    return path.read_bytes()


def _write_private(path: Path, content: bytes) -> None:
    """Write 0600, whole or not at all."""
    fresh = path.with_suffix(".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(content)
    os.replace(fresh, path)
