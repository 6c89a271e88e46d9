"""Firebase Cloud Messaging's HTTP v1: the SDK's message encoder, credentials and error types over our pooled session.

The SDK's own asynchronous transport fetches its access token with blocking requests, in the event loop (ADR 15).
"""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, Self

import aiohttp
import httpx
import orjson
from firebase_admin import _utils, credentials, exceptions, messaging
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import Request

from connectors.providers.http import judged, provider_session
from connectors.providers.outcome import Accepted, ErrorClass, OutcomeUnknown, Refused, error_class, retry_after_seconds
from connectors.settings import Settings, SettingsError

PROVIDER = "fcm"
DEFAULT_BASE_URL = "https://fcm.googleapis.com"
# What FCM says of itself: a message of notification and data together. https://firebase.google.com/docs/cloud-messaging/concept-options
MAX_PAYLOAD_BYTES = 4096
# FCM keeps no message longer than four weeks. The same page, "lifespan".
MAX_TTL = timedelta(days=28)
# An access token lives an hour. Fetching one takes a moment, so it is done this long before the end.
REFRESH_BEFORE_SECONDS = 300
# Who waits meanwhile is told what the last try came to: a token endpoint that is down is not asked for each message.
REFRESH_PAUSE_SECONDS = 15.0
_TARGET_FIELDS = (b"message.token", b"message.fid")


class FcmMessages:
    """Sends push messages to devices, one call each."""

    def __init__(
        self,
        settings: Settings,
        certificate: credentials.Certificate,
        session: aiohttp.ClientSession,
        timeout_seconds: float,
    ) -> None:
        self._session = session
        # Beside the call's own time: a token endpoint that hangs must not outlast what the call may take by much.
        self._token_seconds = timeout_seconds / 2
        self._tried_at = -math.inf
        self._credential: Any = certificate.get_credential()
        base = (settings.fcm_base_url or DEFAULT_BASE_URL).rstrip("/")
        self._url = f"{base}/v1/projects/{certificate.project_id}/messages:send"
        self._refreshing = asyncio.Lock()
        self._refresh_error = Refused("transient", code="token_endpoint")

    @classmethod
    def open(cls, settings: Settings, *, connections: int, timeout_seconds: float) -> Self:
        """A client with a pool of its own; needs a running event loop. The caller closes it. Raises SettingsError."""
        certificate = service_account(settings)  # before the pool: what fails here must leave none open
        session = provider_session(connections=connections, timeout_seconds=timeout_seconds)
        return cls(settings, certificate, session, timeout_seconds)

    async def close(self) -> None:
        """Close the pool."""
        await self._session.close()

    async def send(self, message: messaging.Message) -> Accepted:
        """Hand one message for one device over. Raises Refused, OutcomeUnknown."""
        body = encoded(message)
        token = await self._access_token()
        status, content, retry_after = await self._post(body, token)
        if status == HTTPStatus.UNAUTHORIZED and self._dropped(token):
            status, content, retry_after = await self._post(body, await self._access_token())
        if status >= 300:
            raise refused(status, content, retry_after)
        try:
            name = orjson.loads(content)["name"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            # An answer that is not FCM's: it may well have been taken.
            raise OutcomeUnknown("no_name") from None
        return Accepted(str(name))

    async def _post(self, body: bytes, token: str) -> tuple[int, bytes, str | None]:
        """Status, body and Retry-After of the answer. Raises Refused, OutcomeUnknown."""
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "X-GOOG-API-FORMAT-VERSION": "2",
        }
        with judged():
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                return answer.status, await answer.read(), answer.headers.get("Retry-After")

    async def _access_token(self) -> str:
        """The service account's, fetched anew before it runs out. Raises Refused."""
        credential = self._credential
        if not _lasts(credential):
            error: Refused | None = None
            try:
                async with asyncio.timeout(self._token_seconds), self._refreshing:
                    error = await self._refresh()
            except TimeoutError:
                error = Refused("transient", code="token_endpoint")
            # The old one may last a while yet.
            if error is not None and not credential.valid:
                raise error
        return str(credential.token)

    async def _refresh(self) -> Refused | None:
        """Once for all who wait, and after a failure not again at once; in a thread, for Google's client blocks."""
        if _lasts(self._credential):
            return None
        if time.monotonic() - self._tried_at < REFRESH_PAUSE_SECONDS:
            return self._refresh_error
        self._tried_at, self._refresh_error = time.monotonic(), Refused("transient", code="token_endpoint")
        try:
            await asyncio.to_thread(self._credential.refresh, partial(Request(), timeout=self._token_seconds))
        except GoogleAuthError as error:
            # A key that is withdrawn is not mended by trying again; an endpoint that is away or overloaded is.
            if not (isinstance(error, TransportError) or getattr(error, "retryable", False)):
                self._refresh_error = Refused("account", code="service_account")
            return self._refresh_error
        return None

    def _dropped(self, token: str) -> bool:
        """After a 401: forget this token, unless it has just been fetched. False: to ask again would be in vain."""
        if self._credential.token == token:
            if time.monotonic() - self._tried_at < REFRESH_PAUSE_SECONDS:
                return False
            self._credential.token = None
        return True


def aimed(message: messaging.Message, device: str) -> messaging.Message:
    """The message, for one device: a registration token (``<installation>:<secret>``), or an installation id, which is taking
    the tokens' place. https://firebase.google.com/docs/reference/admin/node/firebase-admin.messaging.fidmessage
    """
    if ":" in device:
        message.token = device  # not by the constructor: it warns at each call that tokens are to go
    else:
        message.fid = device
    return message


def encoded(message: messaging.Message) -> bytes:
    """The request's body as the SDK makes it. Raises Refused for a message that FCM would not take."""
    try:
        body: dict[str, Any] = messaging._MessagingService.encode_message(message)
    except ValueError:
        # Its text may quote what it refuses.
        raise Refused("content_filtered", code="INVALID_ARGUMENT") from None
    return orjson.dumps({"message": body})


def refused(status: int, content: bytes, retry_after: str | None) -> Refused:
    """What an answer that is no success means, by the SDK's own reading of it."""
    response = httpx.Response(status, content=content, request=httpx.Request("POST", DEFAULT_BASE_URL))
    error = _utils.handle_platform_error_from_httpx(
        httpx.HTTPStatusError("", request=response.request, response=response),
        messaging._MessagingService._build_fcm_error_httpx,
    )
    code = _code_of(error, content)
    return Refused(
        class_of(code, status), code=code, retry_after_seconds=retry_after_seconds(retry_after), http_status=status
    )


def class_of(code: str, status: int) -> ErrorClass:
    """By FCM's code, else by the HTTP status."""
    known = error_class(PROVIDER, code)
    if known is not None:
        return known
    return "transient" if status >= 500 else "unknown"


def ttl_until(expires_at: datetime | None, now: datetime) -> timedelta:
    """How long FCM may keep a message for a device that is not reached: until it is of no use, four weeks at the most."""
    if expires_at is None:
        return MAX_TTL
    return min(MAX_TTL, max(timedelta(0), expires_at - now))


_OWN_CODES: dict[type[exceptions.FirebaseError], str] = {
    messaging.UnregisteredError: "UNREGISTERED",
    messaging.SenderIdMismatchError: "SENDER_ID_MISMATCH",
    messaging.QuotaExceededError: "QUOTA_EXCEEDED",
    messaging.ThirdPartyAuthError: "THIRD_PARTY_AUTH_ERROR",
}


def _code_of(error: exceptions.FirebaseError, content: bytes) -> str:
    own = _OWN_CODES.get(type(error))
    if own is not None:
        return own
    code = str(error.code)
    # The SDK does not say which field: a token of no valid form is the device's fault, anything else the message's.
    if code == exceptions.INVALID_ARGUMENT and any(field in content for field in _TARGET_FIELDS):
        return "INVALID_TOKEN"
    return code


def _lasts(credential: Any) -> bool:
    if credential.token is None or credential.expiry is None:
        return False
    # Google's library keeps it in UTC without saying so.
    left: timedelta = credential.expiry - datetime.now(UTC).replace(tzinfo=None)
    return left.total_seconds() > REFRESH_BEFORE_SECONDS


def service_account(settings: Settings) -> credentials.Certificate:
    """The Firebase project's, by its key file. Raises SettingsError when it cannot be used."""
    path = settings.fcm_service_account_file
    if path is None:
        raise SettingsError(
            "LUXE_FCM_SERVICE_ACCOUNT_FILE: not set; name the JSON key file of the Firebase project's service account"
        )
    try:
        return credentials.Certificate(str(path))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"LUXE_FCM_SERVICE_ACCOUNT_FILE: cannot be used ({type(error).__name__}); "
            "it must be a service account's JSON key file, readable by this process"
        ) from None
