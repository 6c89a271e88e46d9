"""Twilio's Programmable Messaging: its SDK's request builder, page reader and error type over our pooled session."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

import aiohttp
import orjson
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from connectors.providers.http import judged, provider_session
from connectors.providers.outcome import Accepted, ErrorClass, OutcomeUnknown, Refused, error_class, retry_after_seconds
from connectors.settings import Settings

PROVIDER = "twilio"
STATUS_PATH = "/webhooks/twilio/status"
# A messaging service's id instead of a number: https://www.twilio.com/docs/glossary/what-is-a-sid
MESSAGING_SERVICE_PREFIX = "MG"
# Twilio's clock and ours, and its date_created counts whole seconds.
LOOK_UP_MARGIN = timedelta(seconds=60)
# Newest first; one recipient does not get more texts than this between two looks.
LOOK_UP_MESSAGES = 50
# Twilio's largest page.
PAGE_MESSAGES = 1000
# A messaging service has at most 400 numbers, and 100 short codes: https://www.twilio.com/docs/messaging/services
SERVICE_NUMBERS = 500


class Received(NamedTuple):
    """A text from a phone that Twilio has: when it came there, and what its webhook says of it. PHI: never printed."""

    message_id: str
    at: datetime
    form: dict[str, str]

    def __repr__(self) -> str:
        return f"Received({self.message_id!r}, {self.at:%Y-%m-%dT%H:%M:%SZ})"


class PooledTwilioHttpClient(AsyncHttpClient):
    """What Twilio's SDK makes its requests with. Unlike its own, it logs nothing: URLs and forms hold numbers and texts."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        super().__init__(logging.getLogger(__name__), is_async=True)
        self._session = session

    async def request(  # type: ignore[override] # the SDK's own asynchronous base differs from its base in the same way
        self,
        method: str,
        uri: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the SDK's signature; the session's time-out rules
        allow_redirects: bool = False,
    ) -> Response:
        """One request. Raises Refused when throttled (only here is the Retry-After at hand) or not sent, OutcomeUnknown."""
        if auth is not None:
            headers = {**(headers or {}), "Authorization": aiohttp.encode_basic_auth(*auth)}
        with judged():
            async with self._session.request(
                method,
                uri,
                params=None if params is None else {name: str(value) for name, value in params.items()},
                data=None if data is None else urlencode(data, doseq=True).encode(),
                headers=headers,
                allow_redirects=allow_redirects,
            ) as answer:
                text = await answer.text()
                if answer.status == 429:
                    raise Refused(
                        "throttled",
                        code=_code_of(text) or "429",
                        retry_after_seconds=retry_after_seconds(answer.headers.get("Retry-After")),
                        http_status=429,
                    )
                return Response(answer.status, text, answer.headers)


class TwilioMessages:
    """Sends texts and finds them again."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._session = session
        client = Client(  # type: ignore[no-untyped-call] # its constructor is the one thing the SDK leaves unannotated
            settings.twilio_account_sid,
            settings.twilio_auth_token.get_secret_value(),
            http_client=PooledTwilioHttpClient(session),
        )
        if settings.twilio_base_url is not None:
            client.api.base_url = client.messaging.base_url = settings.twilio_base_url
        self._messages = client.messages
        self._services = client.messaging.v1.services

    @classmethod
    def open(cls, settings: Settings, *, connections: int, timeout_seconds: float) -> Self:
        """A client with a pool of its own; needs a running event loop. The caller closes it."""
        return cls(settings, provider_session(connections=connections, timeout_seconds=timeout_seconds))

    async def close(self) -> None:
        """Close the pool."""
        await self._session.close()

    async def send(
        self, *, sender: str, to: str, body: str, media_urls: Sequence[str], status_callback: str
    ) -> Accepted:
        """Create a message. ``sender``: a number, or a messaging service's id. Raises Refused, OutcomeUnknown."""
        origin = "messaging_service_sid" if sender.startswith(MESSAGING_SERVICE_PREFIX) else "from_"
        options: dict[str, Any] = {origin: sender, "body": body, "status_callback": status_callback}
        if media_urls:
            options["media_url"] = list(media_urls)
        try:
            message = await self._messages.create_async(to=to, **options)
        except TwilioRestException as error:
            if error.status >= 500 and error_class(PROVIDER, error.code) is None:
                # Not in Twilio's own words: something before it gave up waiting, and the message may well have been created.
                raise OutcomeUnknown(f"http_{error.status}") from None
            raise Refused(class_of(error), code=str(error.code), http_status=error.status) from None
        except (TwilioException, ValueError, KeyError) as error:
            # An answer that is not Twilio's (a proxy's page with status 201, cut JSON): it may well have been created.
            raise OutcomeUnknown(type(error).__name__) from None
        if not message.sid:
            raise OutcomeUnknown("no_sid")
        return Accepted(message.sid, str(message.status))

    async def find(self, *, to: str, body: str, since: datetime) -> list[Accepted]:
        """Messages of ours to ``to`` with this very text, created since then, oldest first. Raises Refused, OutcomeUnknown."""
        with _listed():
            page = await self._messages.list_async(to=to, limit=LOOK_UP_MESSAGES, page_size=LOOK_UP_MESSAGES)
        earliest = since - LOOK_UP_MARGIN
        found = [
            Accepted(message.sid, str(message.status))
            for message in page
            if message.sid and message.body == body and message.date_created and message.date_created >= earliest
        ]
        return found[::-1]

    async def fetch(self, sid: str) -> dict[str, str] | None:
        """What Twilio says of one message, in the words of its status callback; None: it has none of that id (any more).

        Raises Refused, OutcomeUnknown.
        """
        try:
            message = await self._messages(sid).fetch_async()
        except TwilioRestException as error:
            if error.status == 404:
                return None
            raise Refused(class_of(error), code=str(error.code), http_status=error.status) from None
        except (TwilioException, ValueError, KeyError) as error:
            raise OutcomeUnknown(type(error).__name__) from None
        said = {
            "MessageSid": message.sid,
            "MessageStatus": message.status,
            "To": message.to,
            "From": message.from_,
            "MessagingServiceSid": message.messaging_service_sid,
            "ErrorCode": message.error_code,
        }
        return {name: str(value) for name, value in said.items() if value is not None}

    async def received(
        self, *, to: str, service: str | None, since: datetime, until: datetime, limit: int
    ) -> list[Received]:
        """Texts from phones to a number of ours within [since, until) of Twilio's clock; ``limit`` at most, the newest.

        ``service``: the messaging service that the number is of, where the message itself does not say. Raises Refused,
        OutcomeUnknown.
        """
        with _listed():
            page = await self._messages.list_async(
                to=to, date_sent_after=since, date_sent_before=until, limit=limit, page_size=min(limit, PAGE_MESSAGES)
            )
        found: list[Received] = []
        for message in page:
            at = message.date_sent or message.date_created
            if str(message.direction) != "inbound" or not message.sid or at is None:
                continue
            said = {
                "MessageSid": message.sid,
                "From": message.from_,
                "To": message.to,
                "Body": message.body,
                "NumMedia": message.num_media,
                "MessagingServiceSid": message.messaging_service_sid or service,
            }
            form = {name: str(value) for name, value in said.items() if value is not None}
            found.append(Received(message.sid, at, form))
        return found

    async def numbers_of(self, service: str) -> list[str]:
        """The numbers and short codes of a messaging service. Raises Refused, OutcomeUnknown."""
        context = self._services(service)
        with _listed():
            numbers = await context.phone_numbers.list_async(limit=SERVICE_NUMBERS, page_size=SERVICE_NUMBERS)
            codes = await context.short_codes.list_async(limit=SERVICE_NUMBERS, page_size=SERVICE_NUMBERS)
        found = [*(one.phone_number for one in numbers), *(one.short_code for one in codes)]
        return [number for number in found if number]


@contextlib.contextmanager
def _listed() -> Iterator[None]:
    """Turn what the SDK raises over a page of a list into Refused, or OutcomeUnknown for what is no page of Twilio's."""
    try:
        yield
    except TwilioException as error:
        # The SDK's reader of pages has no error type for what was refused: it hands the answer on as it came.
        answer = error.args[1] if len(error.args) > 1 else None
        if not isinstance(answer, Response):
            raise OutcomeUnknown(type(error).__name__) from None
        code = _code_of(answer.text) or str(answer.status_code)
        raise Refused(error_class(PROVIDER, code) or "unknown", code=code, http_status=answer.status_code) from None
    except (ValueError, KeyError) as error:
        raise OutcomeUnknown(type(error).__name__) from None


def class_of(error: TwilioRestException) -> ErrorClass:
    """By Twilio's code; a code we do not know by its HTTP status."""
    known = error_class(PROVIDER, error.code)
    if known is not None:
        return known
    if error.status >= 500:
        return "transient"
    return "account" if error.status in (401, 403, 404) else "unknown"


def _code_of(text: str) -> str | None:
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    code = body.get("code") if isinstance(body, dict) else None
    return str(code) if isinstance(code, int) else None
