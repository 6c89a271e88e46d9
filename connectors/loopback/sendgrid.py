"""SendGrid's v3 mail/send, and the events of its webhook.

Shapes from SendGrid's reference (https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event).
"""

from __future__ import annotations

import hashlib
import secrets
import time
from base64 import b64encode
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from connectors.loopback.faults import FaultBook, Status, Verdict
from connectors.loopback.misconduct import Dropped, after_accepting, before_accepting
from connectors.loopback.receipts import Courier, EmailEvents
from connectors.loopback.sendgrid_errors import Refused, check, error
from connectors.loopback.store import Kept, MessageStore, Pace, StoreError

# SendGrid's own limit of a whole mail, attachments included.
MAX_MAIL_BYTES = 30 * 1024 * 1024
# Events that follow a delivery by this much, so that they never travel with it: enough to see the order.
ENGAGED_AFTER_MS = 100

# event → (outcome of the message, further fields of the event)
_BOUNCE = {
    "type": "bounce",
    "status": "5.1.1",
    "reason": "550 5.1.1 The email account that you tried to reach does not exist.",
}
_BLOCKED = {
    "type": "blocked",
    "status": "5.7.1",
    "reason": "550 5.7.1 The message was refused by the receiving server.",
}


def _is_sandboxed(mail: dict[str, Any]) -> bool:
    """Whether SendGrid was asked to validate only."""
    settings = mail.get("mail_settings")
    sandbox = settings.get("sandbox_mode") if isinstance(settings, dict) else None
    return isinstance(sandbox, dict) and sandbox.get("enable") is True


class _Told(NamedTuple):
    """An event that a rule asked for. In the log it is a list of these; one of an earlier version has no status."""

    event: str
    reason: str | None = None
    status: str | None = None


class SendGridMail:
    """The HTTP handler and the events that follow."""

    def __init__(
        self, *, api_key: str, store: MessageStore, faults: FaultBook, courier: Courier | None, pace: Pace
    ) -> None:
        self._authorization = f"Bearer {api_key}"
        self._store = store
        self._faults = faults
        self._courier = courier
        self._pace = pace

    def routes(self) -> list[web.RouteDef]:
        """Where the real one is."""
        return [web.post("/v3/mail/send", self.send)]

    async def send(self, request: web.Request) -> web.Response:
        """POST /v3/mail/send: 202 and X-Message-Id; one kept message for each recipient."""
        try:
            return await self._send(request)
        except Refused as refused:
            return _errors(refused.status, refused.errors)
        except web.HTTPRequestEntityTooLarge:
            return _errors(413, [error("The request body is too large.")])
        except StoreError:
            return _errors(503, [error("Service Unavailable")])
        except Dropped:
            return web.Response(status=499)

    async def _send(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != self._authorization:
            raise Refused(401, [error("The provided authorization grant is invalid, expired, or revoked")])
        if request.content_type != "application/json":
            raise Refused(415, [error("Content-Type should be application/json.")])
        mail = check(await request.clone(client_max_size=MAX_MAIL_BYTES).read())
        recipients = [
            (index, person["email"])
            for index, personalization in enumerate(mail["personalizations"])
            for kind in ("to", "cc", "bcc")
            for person in personalization.get(kind) or ()
        ]
        verdict = self._faults.judge("email", recipients[0][1])
        await before_accepting(request, verdict)
        if isinstance(verdict.refusal, Status):
            return _refusal(verdict.refusal)
        if _is_sandboxed(mail):
            return web.Response(status=200)
        message_id = secrets.token_urlsafe(16)
        now_ms = time.time_ns() // 1_000_000
        for number, (index, address) in enumerate(recipients):
            kept_id = message_id if number == 0 else f"{message_id}.{number}"
            self._accept(kept_id, mail, index, address, now_ms, verdict)
        await after_accepting(request, verdict)
        return web.Response(status=202, headers={"X-Message-Id": message_id})

    def resume(self, kept: Kept) -> None:
        """Post again the events of a message that was accepted before the last end of the process."""
        payload = self._store.payload(kept)
        self._send_events(
            kept,
            _event_base(kept, payload["mail"], payload["personalization"]),
            [_Told(*told) for told in payload.get("events", ())],
            set(payload.get("receipt_modes", ())),
            payload.get("late_ms", 0),
        )

    def simulate(self, kept: Kept, event: str) -> None:
        """Post one event of a kept message now: what a person does with an email long after it was delivered."""
        payload = self._store.payload(kept)
        base = _event_base(kept, payload["mail"], payload["personalization"])
        body = base | _event_fields(kept, _Told(event), time.time_ns() // 1_000_000)
        # A second opening is another event.
        body["sg_event_id"] = _event_id(kept.id, event, str(time.time_ns()))
        if self._courier is not None and self._courier.posts_email:
            self._courier.send(kept.seq, [(time.time(), EmailEvents([kept.seq], [body]))])

    def _accept(
        self, kept_id: str, mail: dict[str, Any], index: int, address: str, now_ms: int, verdict: Verdict
    ) -> None:
        told = [_Told(outcome.event, outcome.reason, outcome.status) for outcome in verdict.email_events]
        payload: dict[str, Any] = {"mail": mail, "personalization": index}
        if told:
            payload["events"] = [list(one) for one in told]
        if verdict.receipt_modes:
            payload |= {"receipt_modes": sorted(verdict.receipt_modes), "late_ms": verdict.late_ms}
        outcome = next((one.event for one in told if one.event in _OUTCOMES), "delivered")
        posts = self._courier is not None and self._courier.posts_email and "never" not in verdict.receipt_modes
        kept = self._store.accept(
            message_id=kept_id,
            channel="email",
            to=address,
            sender=mail["from"]["email"],
            accepted_ms=now_ms,
            outcome=outcome,
            error_code=None,
            awaits_receipts=posts,
            payload=payload,
        )
        if posts:
            base = _event_base(kept, mail, index)
            self._send_events(kept, base, told, verdict.receipt_modes, verdict.late_ms)

    def _send_events(self, kept: Kept, base: dict[str, Any], told: list[_Told], modes: set[str], late_ms: int) -> None:
        if self._courier is None:
            return
        due = []
        for event, after_ms in self._course(told, out_of_order="out_of_order" in modes):
            at_ms = kept.accepted_ms + after_ms
            body = base | _event_fields(kept, event, at_ms)
            at_seconds = (at_ms + late_ms) / 1000
            copies = 2 if "duplicate" in modes else 1
            due += [
                (at_seconds, EmailEvents([kept.seq], [body], wrong_signature="wrong_signature" in modes))
                for _ in range(copies)
            ]
        self._courier.send(kept.seq, due)

    def _course(self, told: list[_Told], *, out_of_order: bool) -> list[tuple[_Told, int]]:
        """(event, after how many ms) of a message's life."""
        end_ms = self._pace.delivered_after_ms
        asked = {one.event: one for one in told}
        if "dropped" in asked:
            return [(asked["dropped"], end_ms)]
        course = [(_Told("processed"), 0)]
        if "deferred" in asked:
            course.append((asked["deferred"], self._pace.sent_after_ms))
        failed = next((asked[event] for event in ("bounce", "blocked") if event in asked), None)
        course.append((failed or _Told("delivered"), end_ms))
        if failed is None:
            engaged = [asked[event] for event in ("open", "click", "spamreport", "unsubscribe") if event in asked]
            course += [(one, end_ms + ENGAGED_AFTER_MS * (number + 1)) for number, one in enumerate(engaged)]
        if out_of_order:
            times = [after_ms for _, after_ms in course]
            course = [(one, after_ms) for (one, _), after_ms in zip(course, reversed(times), strict=True)]
        return course


_OUTCOMES = ("bounce", "blocked", "dropped")


def _event_base(kept: Kept, mail: dict[str, Any], index: int) -> dict[str, Any]:
    """What every event of a message carries; custom_args flattened into it, as SendGrid does."""
    custom_args = (mail.get("custom_args") or {}) | (mail["personalizations"][index].get("custom_args") or {})
    base = {name: value for name, value in custom_args.items() if isinstance(name, str)}
    message_id, _, number = kept.id.partition(".")
    base |= {
        "email": kept.to,
        "smtp-id": f"<{message_id}@geopod-ismtpd-loopback>",
        "sg_message_id": f"{message_id}.recvd-loopback-1-{kept.accepted_ms // 1000:X}-{number or '0'}.0",
    }
    if mail.get("categories"):
        base["category"] = mail["categories"]
    return base


def _event_fields(kept: Kept, told: _Told, at_ms: int) -> dict[str, Any]:
    event, reason, status = told
    fields: dict[str, Any] = {
        "event": "bounce" if event == "blocked" else event,
        "timestamp": at_ms // 1000,
        "sg_event_id": _event_id(kept.id, event, ""),
    }
    match event:
        case "delivered":
            fields["response"] = "250 2.0.0 OK"
        case "bounce":
            fields |= _BOUNCE
        case "blocked":
            fields |= _BLOCKED
        case "dropped":
            fields |= {"reason": "Bounced Address", "status": "5.0.0"}
        case "deferred":
            fields |= {"response": "451 4.7.1 Please try again later", "attempt": "1"}
        case "open" | "click":
            fields |= {"useragent": "Mozilla/5.0", "ip": "127.0.0.1"}
            if event == "click":
                fields["url"] = "https://luxe.example/"
    if status is not None:
        fields |= {"status": status, "reason": f"{status[0]}50 {status} The receiving server says so."}
    if reason is not None:
        fields["reason" if "reason" in fields else "response"] = reason
    return fields


def _event_id(message_id: str, event: str, occasion: str) -> str:
    """The same for every try of one event, and after a restart."""
    digest = hashlib.blake2b(f"{message_id}:{event}:{occasion}".encode(), digest_size=16).digest()
    return b64encode(digest, altchars=b"-_").decode().rstrip("=")


def _errors(status: int, errors: list[dict[str, str | None]], headers: dict[str, str] | None = None) -> web.Response:
    body = orjson.dumps({"errors": errors})
    return web.Response(status=status, body=body, headers=headers, content_type="application/json")


def _refusal(refusal: Status) -> web.Response:
    message = {
        401: "The provided authorization grant is invalid, expired, or revoked",
        403: "access forbidden",
        413: "The request body is too large.",
        429: "too many requests",
    }.get(refusal.status, "Internal Server Error" if refusal.status >= 500 else "Bad Request")
    headers = None
    if refusal.retry_after_seconds is not None:
        headers = {
            "Retry-After": str(refusal.retry_after_seconds),
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(int(time.time()) + refusal.retry_after_seconds),
        }
    return _errors(refusal.status, [error(message)], headers)
