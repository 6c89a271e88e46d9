"""Providers' receipts in our words. Pure: form or event in, receipt out; nothing here has verified a signature."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connectors.providers import sendgrid, twilio
from connectors.providers.outcome import error_class, smtp_class

# What Twilio's MessageStatus means to us; its other words (accepted, queued, sending, ...) say nothing we have not said.
# https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks
TWILIO_STATUSES = {
    "sent": "sent",
    "delivered": "delivered",
    "undelivered": "undelivered",
    "failed": "failed",
    "read": "read",
    "canceled": "cancelled",
}

# SendGrid's events; deferred is left out: the message is still on its way.
# https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
SENDGRID_STATUSES = {
    "processed": "sent",
    "delivered": "delivered",
    "bounce": "bounced",
    "dropped": "failed",
    "open": "read",
    "click": "clicked",
    "spamreport": "complained",
    "unsubscribe": "unsubscribed",
    "group_unsubscribe": "unsubscribed",
    "group_resubscribe": "resubscribed",
}
# Said of an address, and no status of the message that it came by.
RESUBSCRIBED = "resubscribed"
IGNORED_SENDGRID_EVENTS = frozenset({"deferred", "account_status_change"})

# Why SendGrid itself did not even try, by how its reason begins, as the code of its error table.
SENDGRID_DROPS = (
    ("bounced address", "bounce"),
    ("invalid", "invalid"),
    ("spam reporting address", "spamreport"),
    ("unsubscribed address", "unsubscribe"),
    ("spam content", "spam_content"),
)


# class.subject.detail of RFC 3463, each of three digits at most.
_ENHANCED_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_ERROR_CODE = re.compile(r"[0-9]{1,6}")
_ATTEMPT = re.compile(r"[1-9][0-9]{0,3}")
_DELIVERY_ID = re.compile(r"[0-9A-Za-z-]{1,64}")


class ReceiptError(Exception):
    """A receipt that is none of its provider's forms. Names the field and its shape, never its value."""


@dataclass(frozen=True, slots=True, repr=False)
class Receipt:
    """One thing a provider says of one message. ``address`` is PHI: never printed."""

    provider: str
    provider_message_id: str
    provider_event_id: str
    status: str
    provider_status: str
    status_at: datetime
    delivery_id: str | None
    address: str
    sender: str
    error_class: str | None = None
    error_code: str | None = None
    attempt: int | None = None  # which of the delivery's; None: it was not sent along

    def __repr__(self) -> str:
        return f"Receipt(provider={self.provider!r}, status={self.status!r})"

    def as_json(self) -> dict[str, Any]:
        """For parking; sealed before it is stored."""
        return {name: getattr(self, name) for name in self.__slots__} | {"status_at": self.status_at.isoformat()}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Receipt:
        """Out of parking."""
        return cls(**{**kept, "status_at": datetime.fromisoformat(kept["status_at"])})


def from_twilio(
    form: Mapping[str, str], *, delivery_id: str | None, attempt: str | None = None, now: datetime
) -> Receipt | None:
    """A status callback's receipt; None for a status that tells nothing new. Raises ReceiptError.

    A message has each status once, so both together are the event's id. Twilio's own token for a callback (the header
    I-Twilio-Idempotency-Token) is not signed: whoever replays a callback may write another one.
    """
    message_id, word = _text(form, "MessageSid"), _text(form, "MessageStatus")
    status = TWILIO_STATUSES.get(word)
    if status is None:
        return None
    code = form.get("ErrorCode") or None
    if code is not None and _ERROR_CODE.fullmatch(code) is None:
        raise ReceiptError(f"ErrorCode: text of {len(code)} characters where up to 6 digits are expected")
    return Receipt(
        provider=twilio.PROVIDER,
        provider_message_id=message_id,
        provider_event_id=f"{message_id}:{word}",
        status=status,
        provider_status=word,
        status_at=now,
        delivery_id=_ours(delivery_id),
        address=form.get("To", ""),
        sender=form.get("MessagingServiceSid") or form.get("From", ""),
        error_class=(error_class(twilio.PROVIDER, code) or "unknown") if code is not None else None,
        error_code=code,
        attempt=_attempt(attempt),
    )


def from_sendgrid(event: Any, *, now: datetime) -> Receipt | None:
    """One event's receipt; None for an event that tells nothing new. Raises ReceiptError.

    No event is of the future: one that says so counts as of ``now``, or nothing that follows could be later.
    """
    if not isinstance(event, dict):
        raise ReceiptError(f"an event must be a JSON object, not {type(event).__name__}")
    word = _text(event, "event")
    if word in IGNORED_SENDGRID_EVENTS:
        return None
    status = SENDGRID_STATUSES.get(word)
    if status is None:
        raise ReceiptError(f"event: a word of {len(word)} characters that is not in SendGrid's list")
    timestamp = event.get("timestamp")
    if not isinstance(timestamp, int) or isinstance(timestamp, bool) or not 0 < timestamp < 2**33:
        raise ReceiptError(f"timestamp: {type(timestamp).__name__} where seconds since 1970 are expected")
    code = _sendgrid_code(word, event)
    refused = (error_class(sendgrid.PROVIDER, code) or smtp_class(code) or "unknown") if code is not None else None
    if word == "bounce" and refused != "permanent_recipient":
        status = "undelivered"  # refused for now, or for what it says or how it came; the address stays good
    if word == "open" and event.get("sg_machine_open") is True:
        status, word = "sent", "machine_open"  # a mail program that loads pictures ahead: nobody read it
    return Receipt(
        provider=sendgrid.PROVIDER,
        # sg_message_id is what mail/send answered as X-Message-Id, and a suffix that differs by recipient.
        provider_message_id=_text(event, "sg_message_id").partition(".")[0],
        provider_event_id=_text(event, "sg_event_id"),
        status=status,
        provider_status=word,
        status_at=min(datetime.fromtimestamp(timestamp, UTC), now),
        delivery_id=_ours(event.get(sendgrid.DELIVERY_ARGUMENT)),
        address=_text(event, "email"),
        sender="",
        error_class=refused,
        error_code=code,
        attempt=_attempt(event.get(sendgrid.ATTEMPT_ARGUMENT)),
    )


def _sendgrid_code(word: str, event: Mapping[str, Any]) -> str | None:
    """The event as a code of the error table; None for good news. Of a bounce that is not the address's, the server's code;

    of a block, which never is, that of a server which will not take it another time either: people must look.
    """
    if word == "bounce":
        said = event.get("status")
        known = smtp_class(said) if isinstance(said, str) and _ENHANCED_STATUS.fullmatch(said) else None
        if event.get("type") == "blocked":
            return str(said) if known in ("content_filtered", "account") else "blocked"
        return "bounce" if known in (None, "permanent_recipient") else str(said)
    if word == "dropped":
        reason = str(event.get("reason", "")).lower()
        return next((code for beginning, code in SENDGRID_DROPS if reason.startswith(beginning)), "dropped")
    return word if word in ("spamreport", "unsubscribe", "group_unsubscribe") else None


def _text(source: Mapping[str, Any], field: str) -> str:
    value = source.get(field)
    if not isinstance(value, str) or not value or len(value) > 500:
        shape = f"text of {len(value)} characters" if isinstance(value, str) else type(value).__name__
        raise ReceiptError(f"{field}: {shape} where 1 to 500 characters are expected")
    # A NUL is no text to Postgres, half a surrogate pair none to Kafka: either would end its neighbours' transaction.
    if not value.isprintable():
        raise ReceiptError(f"{field}: text of {len(value)} characters, some of which cannot be printed")
    return value


def _ours(delivery_id: object) -> str | None:
    """The delivery's id that we sent along, if it can be one."""
    return delivery_id if isinstance(delivery_id, str) and _DELIVERY_ID.fullmatch(delivery_id) else None


def _attempt(said: object) -> int | None:
    """The attempt's number that we sent along, if it can be one."""
    return int(said) if isinstance(said, str) and _ATTEMPT.fullmatch(said) else None
