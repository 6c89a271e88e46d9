"""What a provider's answer means to us, in words common to all providers."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

import yaml

ErrorClass = Literal[
    "transient",  # the same message may succeed later
    "throttled",  # we send too fast: later, when the provider says
    "permanent_recipient",  # nothing reaches this address, ever
    "opted_out",  # this person told the provider not to be written to by this sender
    "content_filtered",  # refused for what it says or how it is made
    "media",  # its picture cannot be fetched, or is none that carriers take; without it the text may go
    "account",  # our account, credentials or configuration; every message will fail alike
    "unknown",  # a code we have no rule for
]
ERROR_CLASSES: tuple[str, ...] = get_args(ErrorClass)
Reach = Literal["account", "sender", "message"]
# Those after which the same message may succeed by itself.
PASSING = ("transient", "throttled")


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took the message; receipts may follow under this id.

    ``dead_addresses``: of a message to several, those that nothing reaches any more. PHI: never printed.
    """

    provider_message_id: str
    provider_status: str | None = None
    dead_addresses: tuple[str, ...] = field(default=(), repr=False)


class Refused(Exception):
    """The provider did not take the message."""

    def __init__(
        self,
        error_class: ErrorClass,
        *,
        code: str,
        retry_after_seconds: float | None = None,
        http_status: int | None = None,
        dead_addresses: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"{error_class}: code {code}, HTTP status {http_status}")
        self.error_class: ErrorClass = error_class
        self.code = code
        self.retry_after_seconds = retry_after_seconds
        self.dead_addresses = dead_addresses  # as of Accepted


class OutcomeUnknown(Exception):
    """The request may have arrived, the answer did not: the message may or may not be on its way."""

    def __init__(self, code: str) -> None:
        super().__init__(f"no answer after the request was sent: {code}")
        self.code = code


def error_class(provider: str, code: int | str | None) -> ErrorClass | None:
    """The class of a provider's error code by the committed table; None for a code that is not in it."""
    return _table(provider).get(str(code))


def smtp_class(status: str) -> ErrorClass | None:
    """The class of an enhanced status code (``5.1.1``): its own, else that of ``5.1``, else of ``5``; None where none has one."""
    while status:
        found = error_class("smtp", status)
        if found is not None:
            return found
        status = status.rpartition(".")[0]
    return None


def reach(provider: str, error_class: ErrorClass, code: str) -> Reach:
    """Whether a refusal would meet every message of the account, every one of its sender, or is this message's alone."""
    if error_class not in ("account", "throttled"):
        return "message"
    return _reaches(provider).get(code, "account")


@cache
def _reaches(provider: str) -> dict[str, Reach]:
    """``reach.yaml`` of one provider, code → reach."""
    document = yaml.safe_load((files(__package__) / "reach.yaml").read_text())
    return {str(code): name for name, entries in document.get(provider, {}).items() for code in entries}


@cache
def _table(provider: str) -> dict[str, ErrorClass]:
    """``errors.yaml`` of one provider, code → class. Raises ValueError for a class that is not ours or a code named twice."""
    document = yaml.safe_load((files(__package__) / "errors.yaml").read_text())
    table: dict[str, ErrorClass] = {}
    for name, entries in document[provider].items():
        if name not in ERROR_CLASSES:
            raise ValueError(f"errors.yaml: {provider}.{name} is no error class; use one of {', '.join(ERROR_CLASSES)}")
        for code in entries:
            if str(code) in table:
                raise ValueError(f"errors.yaml: {provider} code {code} stands under two classes; leave one")
            table[str(code)] = name
    return table


def retry_after_seconds(header: str | None) -> float | None:
    """Seconds of a Retry-After header in its delta form (the only one these providers send); None for anything else."""
    return float(header) if header is not None and header.isascii() and header.isdecimal() else None
