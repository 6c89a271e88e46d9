"""What Twilio refuses a text for: its error codes, its magic numbers, and the checks before anything is accepted.

Codes and messages from its error dictionary (https://www.twilio.com/docs/api/errors), magic numbers from its test
credentials (https://www.twilio.com/docs/iam/test-credentials).
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import orjson

MAX_BODY_CHARACTERS = 1600  # error 21617
MAX_MEDIA = 10  # error 21623

# code → (HTTP status, message). {to} and {from} stand for the masked numbers, as Twilio masks them.
ERRORS: dict[int, tuple[int, str]] = {
    20001: (400, "Invalid parameter: {what}"),
    20003: (401, "Authenticate"),
    20404: (404, "The requested resource {what} was not found"),
    20429: (429, "Too Many Requests"),
    20500: (500, "An internal server error has occurred"),
    20503: (503, "Service unavailable"),
    21211: (400, "Invalid 'To' Phone Number: {to}"),
    21212: (400, "Invalid 'From' Phone Number: {from}"),
    21408: (400, "Permission to send an SMS has not been enabled for the region indicated by the 'To' number: {to}"),
    21602: (400, "Message body is required."),
    21603: (400, "A 'From' phone number is required."),
    21604: (400, "A 'To' phone number is required."),
    21606: (
        400,
        "The From phone number {from} is not a valid, SMS-capable inbound phone number or short code for your account.",
    ),
    21609: (400, "The 'StatusCallback' URL is not a valid URL."),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21611: (429, "This 'From' number has exceeded the maximum number of queued messages"),
    21612: (
        400,
        "Message cannot be sent with the current combination of 'To' ({to}) and/or 'From' ({from}) parameters",
    ),
    21614: (400, "'To' number is not a valid mobile number: {to}"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit"),
    21620: (400, "Invalid media URL(s)"),
    21623: (400, "Number of media files exceeds allowed limit"),
    21703: (400, "The Messaging Service does not have a phone number available to send a message"),
    30001: (429, "Queue overflow"),
    30002: (403, "Account suspended"),
    30003: (400, "Unreachable destination handset"),
    30004: (400, "Message blocked"),
    30005: (400, "Unknown destination handset"),
    30006: (400, "Landline or unreachable carrier"),
    30007: (400, "Message filtered"),
    30008: (400, "Unknown error"),
    30034: (400, "US A2P 10DLC - Message from an Unregistered Number"),
    30410: (400, "Provider timeout error"),
    30610: (400, "Message couldn't be delivered"),
}

MAGIC_TO = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}
MAGIC_FROM = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}

_E164 = re.compile(r"\+[1-9]\d{6,14}\Z")
_CHANNEL_ADDRESS = re.compile(r"(?:whatsapp|messenger|rcs):.+\Z")
_SENDER = re.compile(r"(?:\+[1-9]\d{6,14}|\d{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 +\-_&]{1,11})\Z")
_SERVICE_SID = re.compile(r"MG[0-9a-f]{32}\Z")


class Refused(Exception):
    """A Twilio error to answer with."""

    def __init__(self, code: int, **facts: str) -> None:
        super().__init__(f"Twilio error {code}")
        self.code = code
        self.facts = facts


def masked(number: str) -> str:
    """A number as Twilio shows it in errors: the last four digits hidden."""
    return number[:-4] + "XXXX" if len(number) > 4 else "XXXX"


def error_body(code: int, status: int, **facts: str) -> bytes:
    """Twilio's error form."""
    _, template = ERRORS.get(code, (status, "Twilio error"))
    return orjson.dumps(
        {
            "code": code,
            "message": template.format_map(_Blank(facts)),
            "more_info": f"https://www.twilio.com/docs/errors/{code}",
            "status": status,
        }
    )


class _Blank(dict[str, str]):
    """Facts for a message; those not given are empty."""

    def __missing__(self, key: str) -> str:
        return ""


def check(form: dict[str, str], media: list[str]) -> tuple[str, str]:
    """(to, sender) of a request to send, or Refused with the code the real one answers."""
    to = form.get("To", "")
    if not to:
        raise Refused(21604)
    service = form.get("MessagingServiceSid", "")
    sender = form.get("From", "")
    if not sender and not service:
        raise Refused(21603)
    if service and not _SERVICE_SID.match(service):
        raise Refused(21703)
    if to in MAGIC_TO or not (_E164.match(to) or _CHANNEL_ADDRESS.match(to)):
        raise Refused(MAGIC_TO.get(to, 21211), to=masked(to), **{"from": sender})
    if sender and (sender in MAGIC_FROM or not (_SENDER.match(sender) or _CHANNEL_ADDRESS.match(sender))):
        raise Refused(MAGIC_FROM.get(sender, 21212), **{"from": sender})
    body = form.get("Body", "")
    if not body and not media and "ContentSid" not in form:
        raise Refused(21602)
    if len(body) > MAX_BODY_CHARACTERS:
        raise Refused(21617)
    if len(media) > MAX_MEDIA:
        raise Refused(21623)
    if not all(_is_url(url) for url in media):
        raise Refused(21620)
    callback = form.get("StatusCallback", "")
    if callback and not _is_url(callback):
        raise Refused(21609)
    return to, sender or service


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
