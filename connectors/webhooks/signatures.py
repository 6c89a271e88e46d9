"""Who posted this: the providers' own signatures, over what really arrived. Pure."""

from __future__ import annotations

import binascii
from datetime import datetime

from multidict import MultiDict
from sendgrid.helpers.eventwebhook import EventWebhook
from twilio.request_validator import RequestValidator

TWILIO_SIGNATURE_HEADER = "X-Twilio-Signature"
SENDGRID_SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
SENDGRID_TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"

# Default of LUXE_SENDGRID_REPLAY_SECONDS. Whoever recorded a signed batch may post it again; a genuine one is young.
SENDGRID_REPLAY_WINDOW_SECONDS = 600


class TwilioSignatures:
    """HMAC over the public URL and the sorted form, by Twilio's own validator."""

    def __init__(self, auth_token: str) -> None:
        self._validator = RequestValidator(auth_token)  # type: ignore[no-untyped-call] # Twilio's, without annotations

    def genuine(self, url: str, form: MultiDict[str], signature: str | None) -> bool:
        """Whether Twilio posted ``form`` to ``url``, which is the URL it was given: public, with its query."""
        if not signature:
            return False
        return bool(self._validator.validate(url, form, signature))  # type: ignore[no-untyped-call] # as above


class SendGridSignatures:
    """ECDSA over timestamp and raw body, by SendGrid's own verifier."""

    def __init__(self, public_key: str, window_seconds: int = SENDGRID_REPLAY_WINDOW_SECONDS) -> None:
        """``public_key``: base64 DER as SendGrid shows it; raises ValueError for anything else. How old a batch may be."""
        self._window_seconds = window_seconds
        self._verifier = EventWebhook(public_key)

    def genuine(self, body: bytes, signature: str | None, timestamp: str | None, now: datetime) -> bool:
        """Whether SendGrid signed this very body, lately."""
        if not signature or not timestamp or not (timestamp.isascii() and timestamp.isdecimal()):
            return False
        if abs(now.timestamp() - int(timestamp)) > self._window_seconds:
            return False
        try:
            return bool(self._verifier.verify_signature(body.decode(), signature, timestamp))
        except (UnicodeDecodeError, binascii.Error, ValueError):
            return False
