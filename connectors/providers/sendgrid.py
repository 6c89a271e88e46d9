"""SendGrid's mail/send: its SDK's message builder, headers and error types over our pooled session.

The SDK's own transport is blocking urllib without kept connections; docs/adr/0010 has the figures.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import aiohttp
import orjson
from python_http_client.exceptions import HTTPError, err_dict
from sendgrid import SendGridAPIClient
from sendgrid.helpers.mail import (
    Attachment,
    Category,
    ClickTracking,
    Content,
    CustomArg,
    Disposition,
    FileContent,
    FileName,
    FileType,
    From,
    Header,
    Mail,
    MimeType,
    OpenTracking,
    SubscriptionTracking,
    To,
    TrackingSettings,
)

from connectors.providers.http import judged, provider_session
from connectors.providers.outcome import Accepted, ErrorClass, OutcomeUnknown, Refused, error_class, retry_after_seconds
from connectors.settings import Settings

PROVIDER = "sendgrid"
EVENTS_PATH = "/webhooks/sendgrid/events"
DEFAULT_HOST = "https://api.sendgrid.com"
MESSAGE_ID_HEADER = "X-Message-Id"
# Files of so much are encoded beside the event loop: megabytes take some 10 ms each.
BUILT_ASIDE_BYTES = 256 * 1024
# Said by what stands before SendGrid, and gave up waiting for it: the message may well have been taken.
_GATEWAYS = (502, 504)
# Come back with every event: ours, and no PHI (custom arguments are kept by SendGrid in clear).
DELIVERY_ARGUMENT = "delivery_id"
ATTEMPT_ARGUMENT = "attempt"


@dataclass(frozen=True, slots=True, repr=False)
class EmailFile:
    """One attachment."""

    filename: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Email:
    """One email to one person. Carries PHI: never printed."""

    sender: str
    to: str
    subject: str
    text: str
    delivery_id: str
    attempt: int
    category: str
    to_name: str | None = None
    html: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[EmailFile] = ()

    def __repr__(self) -> str:
        return f"Email(delivery_id={self.delivery_id!r})"


class SendGridMail:
    """Sends emails."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession, files_timeout_seconds: float) -> None:
        self._session = session
        self._with_files = aiohttp.ClientTimeout(total=files_timeout_seconds)
        sdk = SendGridAPIClient(
            settings.sendgrid_api_key.get_secret_value(), host=settings.sendgrid_base_url or DEFAULT_HOST
        )
        endpoint = sdk.client.mail.send
        self._url: str = endpoint._build_url(None)
        self._headers: dict[str, str] = {**endpoint.request_headers, "Content-Type": "application/json"}

    @classmethod
    def open(
        cls, settings: Settings, *, connections: int, timeout_seconds: float, files_timeout_seconds: float
    ) -> Self:
        """A client with a pool of its own; needs a running event loop. The caller closes it.

        ``files_timeout_seconds``: of an email with attachments.
        """
        session = provider_session(connections=connections, timeout_seconds=timeout_seconds)
        return cls(settings, session, files_timeout_seconds)

    async def close(self) -> None:
        """Close the pool."""
        await self._session.close()

    async def send(self, email: Email) -> Accepted:
        """Hand one email over. Raises Refused, OutcomeUnknown."""
        try:
            if sum(len(file.content) for file in email.files) > BUILT_ASIDE_BYTES:
                body = await asyncio.to_thread(_body, email)
            else:
                body = _body(email)
            return await self._post(body, self._with_files if email.files else self._session.timeout)
        except HTTPError as error:
            if error.status_code in _GATEWAYS:
                raise OutcomeUnknown(f"http_{error.status_code}") from None
            raise Refused(
                class_of(error.status_code),
                code=str(error.status_code),
                retry_after_seconds=retry_after_seconds(error.headers.get("Retry-After")),
                http_status=error.status_code,
            ) from None

    async def _post(self, body: bytes, timeout: aiohttp.ClientTimeout) -> Accepted:  # noqa: ASYNC109 - aiohttp's own
        """As the SDK's client does it: python_http_client's errors for anything but success."""
        with judged():
            async with self._session.post(
                self._url, data=body, headers=self._headers, allow_redirects=False, timeout=timeout
            ) as answer:
                content = await answer.read()
                if answer.status >= 300:
                    kind = err_dict.get(answer.status, HTTPError)
                    raise kind(answer.status, answer.reason, content, answer.headers)
                message_id = answer.headers.get(MESSAGE_ID_HEADER)
        if not message_id:
            raise OutcomeUnknown("no_message_id")
        return Accepted(message_id)


def _body(email: Email) -> bytes:
    return orjson.dumps(build(email).get())


def build(email: Email) -> Mail:
    """The SDK's message of one email."""
    mail = Mail(from_email=From(email.sender), to_emails=To(email.to, email.to_name), subject=email.subject)
    mail.add_content(Content(MimeType.text, email.text))
    if email.html is not None:
        mail.add_content(Content(MimeType.html, email.html))
    for name, value in email.headers.items():
        mail.add_header(Header(name, value))
    for file in reversed(email.files):  # the SDK puts each before those it has
        mail.add_attachment(
            Attachment(
                FileContent(base64.b64encode(file.content).decode()),
                FileName(file.filename),
                FileType(file.content_type),
                Disposition("attachment"),
            )
        )
    mail.add_custom_arg(CustomArg(DELIVERY_ARGUMENT, email.delivery_id))
    mail.add_custom_arg(CustomArg(ATTEMPT_ARGUMENT, str(email.attempt)))
    mail.add_category(Category(email.category))
    # Whatever the account is set to: SendGrid rewrites no link, counts no opening, and adds no unsubscribe line of its own.
    tracking = TrackingSettings()
    tracking.click_tracking = ClickTracking(enable=False, enable_text=False)
    tracking.open_tracking = OpenTracking(enable=False)
    tracking.subscription_tracking = SubscriptionTracking(enable=False)
    mail.tracking_settings = tracking
    return mail


def class_of(status: int) -> ErrorClass:
    """What an HTTP status of mail/send means, by the table, else by its hundreds."""
    known = error_class(PROVIDER, status)
    if known is not None:
        return known
    return "transient" if status >= 500 else "unknown"
