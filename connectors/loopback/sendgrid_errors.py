"""What SendGrid refuses of a mail, in its own words (https://www.twilio.com/docs/sendgrid/api-reference/mail-send/errors)."""

from __future__ import annotations

import re
from typing import Any, TypeGuard

import orjson

MAX_PERSONALIZATIONS = 1000
MAX_CUSTOM_ARGS_BYTES = 10_000

_HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#"
_ADDRESS = re.compile(r"[^@\s<>\",]+@[^@\s<>\",]+\.[^@\s<>\",.]+\Z")
_ATTACHMENT_TYPE = re.compile(r"[^;\r\n]*|text/calendar; ?method=[A-Z]+")
_FROM_REQUIRED = (
    "The from object must be provided for every email send. It is an object that requires the email parameter, "
    'but may also contain a name parameter.  e.g. {"email" : "example@example.com"}  or '
    '{"email" : "example@example.com", "name" : "Example Recipient"}.'
)
_SUBJECT_REQUIRED = (
    "The subject is required. You can get around this requirement if you use a template with a subject defined or "
    "if every personalization has a subject defined."
)
_CONTENT_REQUIRED = (
    "Unless a valid template_id is provided, the content parameter is required. There must be at least one defined "
    "content block. We typically suggest both text/plain and text/html blocks are included, but only one block is required."
)
_TO_REQUIRED = (
    "The to array is required for all personalization objects, and must have at least one email object "
    "with a valid email address."
)


class Refused(Exception):
    """Errors to answer with: the HTTP status and SendGrid's list of them."""

    def __init__(self, status: int, errors: list[dict[str, str | None]]) -> None:
        super().__init__(f"SendGrid answers {status} with {len(errors)} errors")
        self.status = status
        self.errors = errors


def error(message: str, field: str | None = None, anchor: str | None = None) -> dict[str, str | None]:
    """One error in SendGrid's form."""
    return {"message": message, "field": field, "help": None if anchor is None else _HELP + anchor}


def check(body: bytes) -> dict[str, Any]:
    """The mail of a request, or Refused with what the real one answers."""
    try:
        mail = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refused(400, [error("Bad Request")]) from None
    if not isinstance(mail, dict):
        raise Refused(400, [error("Bad Request")])
    errors: list[dict[str, str | None]] = []
    personalizations = mail.get("personalizations")
    if not isinstance(personalizations, list) or not personalizations:
        personalizations = []
        errors.append(
            error(
                "The personalizations field is required and must have at least one personalization.",
                "personalizations",
                "-Personalizations-Errors",
            )
        )
    elif len(personalizations) > MAX_PERSONALIZATIONS:
        errors.append(
            error("There is a limit of 1000 personalizations.", "personalizations", "-Personalizations-Errors")
        )
    for index, personalization in enumerate(personalizations[:MAX_PERSONALIZATIONS]):
        errors += _check_personalization(personalization, f"personalizations.{index}")
    sender = mail.get("from")
    if not isinstance(sender, dict) or not sender.get("email"):
        errors.append(error(_FROM_REQUIRED, "from.email", "message.from"))
    elif not _is_address(sender["email"]):
        errors.append(error("Does not contain a valid address.", "from.email", "message.from"))
    templated = bool(mail.get("template_id"))
    subjects = [p.get("subject") for p in personalizations if isinstance(p, dict)]
    if not templated and not mail.get("subject") and not (subjects and all(subjects)):
        errors.append(error(_SUBJECT_REQUIRED, "subject", "message.subject"))
    errors += _check_content(mail.get("content"), templated)
    errors += _check_attachments(mail.get("attachments"))
    errors += _check_custom_args(mail.get("custom_args"), "custom_args")
    if errors:
        raise Refused(400, errors)
    return mail


def _check_personalization(personalization: Any, at: str) -> list[dict[str, str | None]]:
    if not isinstance(personalization, dict):
        return [error("Invalid type. Expected: object.", at, "-Personalizations-Errors")]
    errors = []
    if not isinstance(personalization.get("to"), list) or not personalization["to"]:
        errors.append(error(_TO_REQUIRED, f"{at}.to", "message.personalizations.to"))
    seen: set[str] = set()
    for kind in ("to", "cc", "bcc"):
        people = personalization.get(kind) or []
        if not isinstance(people, list):
            errors.append(error("Invalid type. Expected: array.", f"{at}.{kind}", f"message.personalizations.{kind}"))
            continue
        for index, person in enumerate(people):
            address = person.get("email") if isinstance(person, dict) else None
            if not _is_address(address):
                where = f"{at}.{kind}.{index}.email"
                errors.append(error("Does not contain a valid address.", where, f"message.personalizations.{kind}"))
            elif address.lower() in seen:
                errors.append(
                    error(
                        "Each email address in the personalization block should be unique between to, cc, and bcc. "
                        f"We found the first duplicate instance of [{address}] in the {at}.{kind} field.",
                        at,
                        "message.recipient-errors",
                    )
                )
            else:
                seen.add(address.lower())
    errors += _check_custom_args(personalization.get("custom_args"), f"{at}.custom_args")
    return errors


def _check_custom_args(custom_args: Any, at: str) -> list[dict[str, str | None]]:
    if custom_args is None:
        return []
    if not isinstance(custom_args, dict):
        return [error("Invalid type. Expected: object.", at, "message.custom_args")]
    if len(orjson.dumps(custom_args)) > MAX_CUSTOM_ARGS_BYTES:
        return [error("The custom_args are over 10,000 bytes.", at, "message.custom_args")]
    return []


def _check_content(content: Any, templated: bool) -> list[dict[str, str | None]]:
    if not isinstance(content, list) or not content:
        return [] if templated else [error(_CONTENT_REQUIRED, "content", "message.content")]
    return [
        error(
            "The content value must be a string at least one character in length.",
            f"content.{index}.value",
            "message.content.value",
        )
        for index, block in enumerate(content)
        if not isinstance(block, dict) or not isinstance(block.get("value"), str) or not block["value"]
    ]


def _check_attachments(attachments: Any) -> list[dict[str, str | None]]:
    """A type may have no parameter, but the method of a calendar file: https://github.com/sendgrid/sendgrid-nodejs/issues/1313."""
    return [
        error(
            "The attachment type cannot contain ';', or CRLF characters.",
            f"attachments.{index}.type",
            "message.attachments.type",
        )
        for index, file in enumerate(attachments if isinstance(attachments, list) else ())
        if isinstance(file, dict) and not _ATTACHMENT_TYPE.fullmatch(str(file.get("type", "")))
    ]


def _is_address(address: Any) -> TypeGuard[str]:
    return isinstance(address, str) and len(address) <= 320 and _ADDRESS.match(address) is not None
