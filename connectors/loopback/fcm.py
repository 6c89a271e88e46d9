"""Firebase Cloud Messaging's v1 send, and Google's OAuth token endpoint for service accounts.

Shapes from https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send and
https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Any
from urllib.parse import parse_qs

import orjson
from aiohttp import web

from connectors.loopback.faults import FaultBook, FcmError, Status
from connectors.loopback.misconduct import Dropped, after_accepting, before_accepting
from connectors.loopback.signing import ACCESS_TOKEN_LIFETIME_SECONDS, AssertionRefused, GoogleAccounts
from connectors.loopback.store import MessageStore, StoreError

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
MAX_DATA_BYTES = 4096  # of notification and data together; more is INVALID_ARGUMENT
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_TOKEN = re.compile(r"[A-Za-z0-9_:\-]{1,4096}\Z")
_TARGETS = ("fid", "token", "topic", "condition")

# FCM error code → (HTTP status, google.rpc status, message)
ERRORS: dict[str, tuple[int, str, str]] = {
    "UNREGISTERED": (404, "NOT_FOUND", "Requested entity was not found."),
    "QUOTA_EXCEEDED": (429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Send requests'."),
    "SENDER_ID_MISMATCH": (403, "PERMISSION_DENIED", "SenderId mismatch"),
    "THIRD_PARTY_AUTH_ERROR": (401, "UNAUTHENTICATED", "Request is missing required authentication credential."),
    "INVALID_ARGUMENT": (400, "INVALID_ARGUMENT", "The registration token is not a valid FCM registration token"),
    "UNAVAILABLE": (503, "UNAVAILABLE", "The service is currently unavailable."),
    "INTERNAL": (500, "INTERNAL", "Internal error encountered."),
}
_RPC_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Refused(Exception):
    """An error to answer with, in google.rpc form."""

    def __init__(
        self, status: int, rpc_status: str, message: str, *, code: str | None = None, field: str | None = None
    ) -> None:
        super().__init__(f"FCM answers {status} {rpc_status}")
        self.status = status
        self.rpc_status = rpc_status
        self.message = message
        self.code = code
        self.field = field


def check(body: bytes) -> tuple[str, dict[str, Any], bool]:
    """(target, message, validate only) of a request, or Refused."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _invalid("Invalid JSON payload received.", None) from None
    message = asked.get("message") if isinstance(asked, dict) else None
    if not isinstance(message, dict):
        raise _invalid("The message is required.", "message")
    targets = [message[name] for name in _TARGETS if message.get(name)]
    if len(targets) != 1 or not isinstance(targets[0], str):
        raise _invalid("Exactly one of fid, token, topic or condition must be given.", "message")
    for name in ("fid", "token"):
        if message.get(name) and not _TOKEN.match(targets[0]):
            raise _invalid(ERRORS["INVALID_ARGUMENT"][2], f"message.{name}")
    data = message.get("data") or {}
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise _invalid("Every value of data must be a string.", "message.data")
    if len(orjson.dumps([message.get("notification"), data])) > MAX_DATA_BYTES:
        raise _invalid("The message is over 4096 bytes.", "message")
    return targets[0], message, asked.get("validate_only") is True


def _invalid(message: str, field: str | None) -> Refused:
    return Refused(400, "INVALID_ARGUMENT", message, code="INVALID_ARGUMENT", field=field)


class FcmMessages:
    """The HTTP handlers."""

    def __init__(self, *, accounts: GoogleAccounts, store: MessageStore, faults: FaultBook) -> None:
        self._accounts = accounts
        self._store = store
        self._faults = faults

    def routes(self) -> list[web.RouteDef]:
        """Where the real ones are."""
        return [
            web.post("/v1/projects/{project}/messages:send", self.send),
            web.post("/token", self.token),
        ]

    async def token(self, request: web.Request) -> web.Response:
        """POST /token: an access token for a service account's signed assertion."""
        try:
            form = parse_qs((await request.read()).decode(), max_num_fields=20)
            if form.get("grant_type") != [JWT_GRANT]:
                return _json(400, {"error": "unsupported_grant_type", "error_description": f"Use {JWT_GRANT}."})
            token = self._accounts.grant(form.get("assertion", [""])[0], int(time.time()))
        except AssertionRefused as refused:
            return _json(400, {"error": "invalid_grant", "error_description": str(refused)})
        except (ValueError, web.HTTPRequestEntityTooLarge):
            return _json(400, {"error": "invalid_request", "error_description": "The body is not a form."})
        return _json(200, {"access_token": token, "expires_in": ACCESS_TOKEN_LIFETIME_SECONDS, "token_type": "Bearer"})

    async def send(self, request: web.Request) -> web.Response:
        """POST messages:send."""
        try:
            return await self._send(request)
        except Refused as refused:
            return _refusal(refused)
        except web.HTTPRequestEntityTooLarge:
            return _refusal(Refused(413, "INVALID_ARGUMENT", "The request is too large."))
        except StoreError:
            return _refusal(Refused(503, "UNAVAILABLE", ERRORS["UNAVAILABLE"][2]))
        except Dropped:
            return web.Response(status=499)

    async def _send(self, request: web.Request) -> web.Response:
        now_ms = time.time_ns() // 1_000_000
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not self._accounts.accepts(token, now_ms // 1000):
            raise Refused(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        target, message, validate_only = check(await request.read())
        verdict = self._faults.judge("push", target)
        await before_accepting(request, verdict)
        if isinstance(verdict.refusal, FcmError | Status):
            return _refusal(_refused_by(verdict.refusal), verdict.refusal.retry_after_seconds)
        project = request.match_info["project"]
        name = f"projects/{project}/messages/0:{now_ms * 1000}%{secrets.token_hex(8)}"
        if not validate_only:
            self._store.accept(
                message_id=name,
                channel="push",
                to=target,
                sender=project,
                accepted_ms=now_ms,
                outcome="accepted",
                error_code=None,
                awaits_receipts=False,
                payload={"message": message},
            )
        await after_accepting(request, verdict)
        return _json(200, {"name": name})


def _refused_by(fault: FcmError | Status) -> Refused:
    if isinstance(fault, FcmError):
        status, rpc_status, message = ERRORS[fault.code]
        return Refused(status, rpc_status, message, code=fault.code)
    return Refused(fault.status, _RPC_STATUS.get(fault.status, "UNKNOWN"), f"The service answers {fault.status}.")


def _json(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), headers=headers, content_type="application/json")


def _refusal(refused: Refused, retry_after_seconds: int | None = None) -> web.Response:
    details: list[dict[str, Any]] = []
    if refused.code is not None:
        details.append({"@type": _FCM_ERROR, "errorCode": refused.code})
    if refused.field is not None:
        violation = {"field": refused.field, "description": refused.message}
        details.append({"@type": _BAD_REQUEST, "fieldViolations": [violation]})
    body: dict[str, Any] = {"code": refused.status, "message": refused.message, "status": refused.rpc_status}
    if details:
        body["details"] = details
    headers = None if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    return _json(refused.status, {"error": body}, headers)
