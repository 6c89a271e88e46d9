"""Twilio's Messages resource: create, list and fetch, with its own errors, and the status callbacks that follow.

Shapes from Twilio's API reference (https://www.twilio.com/docs/messaging/api/message-resource).
"""

from __future__ import annotations

import hashlib
import secrets
import time
import uuid
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson
from aiohttp import web

from connectors.loopback.faults import FaultBook, Status, TwilioError, Verdict
from connectors.loopback.keywords import OWN_ANSWERS, keyword, twiml_messages
from connectors.loopback.misconduct import Dropped, after_accepting, before_accepting
from connectors.loopback.receipts import Courier, SmsReceipt
from connectors.loopback.segments import segment_count
from connectors.loopback.store import Channel, Kept, MessageStore, Pace, StoreError
from connectors.loopback.twilio_errors import ERRORS, Refused, check, error_body, masked

API = "/2010-04-01"
MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 50
MAX_FIELDS = 200  # the real request has some 30
# Texts from phones are listed beside our own.
INBOUND: Channel = "inbound"
TEXTS = ("sms", INBOUND)


class TwilioMessages:
    """The HTTP handlers."""

    def __init__(
        self,
        *,
        account_sid: str,
        auth_token: str,
        store: MessageStore,
        faults: FaultBook,
        courier: Courier | None,
        pace: Pace,
    ) -> None:
        self._account_sid = account_sid
        self._authorization = "Basic " + b64encode(f"{account_sid}:{auth_token}".encode()).decode()
        self._store = store
        self._faults = faults
        self._courier = courier
        self._pace = pace
        self._collection = f"{API}/Accounts/{account_sid}/Messages"

    def routes(self) -> list[web.RouteDef]:
        """Where the real ones are."""
        return [
            web.post(f"{API}/Accounts/{{account}}/Messages.json", self.create),
            web.get(f"{API}/Accounts/{{account}}/Messages.json", self.list_messages),
            web.get(f"{API}/Accounts/{{account}}/Messages/{{sid}}.json", self.fetch),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """POST Messages.json."""
        try:
            return await self._create(request)
        except Refused as refused:
            return _error(refused.code, **refused.facts)
        except UnicodeDecodeError:
            return _error(20001, what="the body is not UTF-8")
        except ValueError:
            return _error(20001, what="the body is not a form of at most 200 fields")
        except web.HTTPRequestEntityTooLarge:
            return _json(413, error_body(20001, 413, what="the body is over the limit"))
        except StoreError:
            return _error(20503)
        except Dropped:
            return web.Response(status=499)

    async def _create(self, request: web.Request) -> web.Response:
        self._authenticate(request)
        fields = parse_qsl((await request.read()).decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
        form = dict(fields)
        media = [value for name, value in fields if name == "MediaUrl"] if "MediaUrl" in form else []
        to, sender = check(form, media)
        if self._store.is_blocked(sender, to):
            raise Refused(21610)
        verdict = self._faults.judge("sms", to)
        await before_accepting(request, verdict)
        if verdict.refusal is not None:
            return _refusal(verdict, to, sender)
        now_ms = time.time_ns() // 1_000_000
        kept = self._accept(form, media, to, sender, now_ms, verdict)
        await after_accepting(request, verdict)
        return _json(201, orjson.dumps(self._resource(kept, form, now_ms)))

    async def list_messages(self, request: web.Request) -> web.Response:
        """GET Messages.json with To, From, DateSent filters and pages, newest first."""
        try:
            self._authenticate(request)
            query = request.query
            size = min(MAX_PAGE_SIZE, max(1, int(query.get("PageSize", DEFAULT_PAGE_SIZE))))
            page = max(0, int(query.get("Page", 0)))
            below = int(query.get("PageToken", "PA0").removeprefix("PA") or 0)
            span = _sent_between(query)
        except Refused as refused:
            return _error(refused.code)
        except ValueError:
            return _error(20001, what="Page, PageSize, PageToken and DateSent must be well formed")
        now_ms = time.time_ns() // 1_000_000
        found: list[Kept] = []
        more = False
        for kept in self._store.newest_first(to=query.get("To")):
            if below and kept.seq >= below:
                continue
            if kept.channel not in TEXTS or ("From" in query and kept.sender != query["From"]):
                continue
            if span is not None:
                sent_ms = kept.accepted_ms + (0 if kept.channel == INBOUND else self._pace.sent_after_ms)
                if sent_ms > now_ms or not span[0] <= sent_ms < span[1]:
                    continue
            if len(found) == size:
                more = True
                break
            found.append(kept)
        base = {name: value for name, value in query.items() if name not in ("Page", "PageToken", "PageSize")}
        uri = f"{self._collection}.json"
        here = f"{uri}?{urlencode(base | {'PageSize': size, 'Page': page})}"
        token = f"PA{found[-1].seq}" if found else "PA0"
        return _json(
            200,
            orjson.dumps(
                {
                    "messages": [self._resource(kept, self._store.payload(kept)["form"], now_ms) for kept in found],
                    "page": page,
                    "page_size": size,
                    "start": page * size,
                    "end": page * size + max(0, len(found) - 1),
                    "uri": here,
                    "first_page_uri": f"{uri}?{urlencode(base | {'PageSize': size, 'Page': 0})}",
                    "next_page_uri": f"{uri}?{urlencode(base | {'PageSize': size, 'Page': page + 1, 'PageToken': token})}"
                    if more
                    else None,
                    "previous_page_uri": None,
                }
            ),
        )

    async def fetch(self, request: web.Request) -> web.Response:
        """GET Messages/{sid}.json."""
        try:
            self._authenticate(request)
        except Refused as refused:
            return _error(refused.code, **refused.facts)
        kept = self._store.find(request.match_info["sid"])
        if kept is None or kept.channel not in TEXTS:
            return _error(20404, what=request.path)
        refusal = self._faults.judge_look_up(kept.to)
        if refusal is not None:
            return _refusal(Verdict(refusal=refusal), kept.to, kept.sender)
        now_ms = time.time_ns() // 1_000_000
        payload = self._store.payload(kept)
        resource = self._resource(kept, payload["form"], now_ms)
        if "never" in payload.get("receipt_modes", ()) and resource["status"] == kept.outcome == "delivered":
            resource["status"] = "sent"  # the carrier said nothing, so neither can Twilio
        return _json(200, orjson.dumps(resource))

    def resume(self, kept: Kept) -> None:
        """Post again the receipts of a message that was accepted before the last end of the process."""
        payload = self._store.payload(kept)
        self._send_receipts(kept, payload["form"], set(payload.get("receipt_modes", ())), payload.get("late_ms", 0))

    async def inbound(
        self, url: str, sender: str, to: str, body: str, *, sid: str | None = None, handled: bool = True
    ) -> tuple[str, int]:
        """Post a text from a phone to our webhook; (sid, what we answered). Answers to the phone are kept like messages.

        ``handled``: with Twilio's own opt-out handling, else as where Twilio was told to leave that to us.
        """
        kind = keyword(body, blocked=self._store.is_blocked(to, sender)) if handled else None
        if kind in ("STOP", "START"):
            self._store.block(to, sender, blocked=kind == "STOP")
        sid = sid or f"SM{secrets.token_hex(16)}"
        if self._store.find(sid) is None:
            # Whether or not we answer: the provider has it.
            self._keep(sid, INBOUND, {"To": to, "From": sender, "Body": body}, "received")
        form = [
            ("ToCountry", "US"),
            ("SmsMessageSid", sid),
            ("NumMedia", "0"),
            ("SmsSid", sid),
            ("SmsStatus", "received"),
            ("Body", body),
            ("To", to),
            ("NumSegments", str(segment_count(body))),
            ("MessageSid", sid),
            ("AccountSid", self._account_sid),
            ("From", sender),
            ("ApiVersion", "2010-04-01"),
        ]
        if kind is not None:
            form.append(("OptOutType", kind))
        if self._courier is None:
            return sid, 0
        if kind is not None:
            self._answer(to, sender, OWN_ANSWERS[kind])
        posted = await self._courier.post_twilio(url, form, str(uuid.uuid4()))
        for text in twiml_messages(posted):
            if not self._store.is_blocked(to, sender):
                self._answer(to, sender, text)
        return sid, posted.status

    def _answer(self, sender: str, to: str, body: str) -> None:
        """A text to a phone that nobody asked for by the API."""
        form = {"To": to, "From": sender, "Body": body}
        self._keep(f"SM{secrets.token_hex(16)}", "sms", form, "delivered")

    def _keep(self, sid: str, channel: Channel, form: dict[str, str], outcome: str) -> None:
        self._store.accept(
            message_id=sid,
            channel=channel,
            to=form["To"],
            sender=form["From"],
            accepted_ms=time.time_ns() // 1_000_000,
            outcome=outcome,
            error_code=None,
            awaits_receipts=False,
            payload={"form": form},
        )

    def _authenticate(self, request: web.Request) -> None:
        # A stand-in on loopback with a known token: an ordinary comparison is enough.
        if request.headers.get("Authorization") != self._authorization:
            raise Refused(20003)
        if request.match_info["account"] != self._account_sid:
            raise Refused(20404, what=request.path)

    def _accept(
        self, form: dict[str, str], media: list[str], to: str, sender: str, now_ms: int, verdict: Verdict
    ) -> Kept:
        undelivered = verdict.undelivered
        payload: dict[str, Any] = {"form": form}
        if media:
            payload["media"] = media
        if verdict.receipt_modes:
            payload |= {"receipt_modes": sorted(verdict.receipt_modes), "late_ms": verdict.late_ms}
        posts = self._courier is not None and "StatusCallback" in form and "never" not in verdict.receipt_modes
        kept = self._store.accept(
            message_id=("MM" if media else "SM") + secrets.token_hex(16),
            channel="sms",
            to=to,
            sender=sender,
            accepted_ms=now_ms,
            outcome="delivered" if undelivered is None else undelivered.status,
            error_code=None if undelivered is None else undelivered.code,
            awaits_receipts=posts,
            payload=payload,
        )
        if posts:
            self._send_receipts(kept, form, verdict.receipt_modes, verdict.late_ms)
        return kept

    def _send_receipts(self, kept: Kept, form: dict[str, str], modes: set[str], late_ms: int) -> None:
        if self._courier is None:
            return
        statuses = ["sent", kept.outcome] if kept.outcome != "failed" else ["failed"]
        times_ms = [self._pace.sent_after_ms, self._pace.delivered_after_ms][-len(statuses) :]
        if "out_of_order" in modes:
            statuses.reverse()
        due = []
        for status, after_ms in zip(statuses, times_ms, strict=True):
            receipt = SmsReceipt(
                seq=kept.seq,
                url=form["StatusCallback"],
                form=self._receipt_form(kept, form, status),
                token=_idempotency_token(kept.id, status),
                wrong_signature="wrong_signature" in modes,
            )
            at = (kept.accepted_ms + after_ms + late_ms) / 1000
            due.append((at, receipt))
            if "duplicate" in modes:
                due.append((at, replace(receipt)))
        self._courier.send(kept.seq, due)

    def _receipt_form(self, kept: Kept, form: dict[str, str], status: str) -> list[tuple[str, str]]:
        fields = [
            ("ApiVersion", "2010-04-01"),
            ("MessageStatus", status),
            ("SmsSid", kept.id),
            ("SmsStatus", status),
            ("To", kept.to),
            ("MessageSid", kept.id),
            ("AccountSid", self._account_sid),
        ]
        if "From" in form:
            fields.append(("From", form["From"]))
        if "MessagingServiceSid" in form:
            fields.append(("MessagingServiceSid", form["MessagingServiceSid"]))
        if kept.error_code is not None and status == kept.outcome:
            fields.append(("ErrorCode", str(kept.error_code)))
        return fields

    def _resource(self, kept: Kept, form: dict[str, str], now_ms: int) -> dict[str, Any]:
        status = self._pace.status(kept, now_ms)
        settled = status == kept.outcome
        unsent = status in ("queued", "accepted")
        body = form.get("Body", "")
        created = _rfc2822(kept.accepted_ms // 1000)
        inbound = kept.channel == INBOUND
        after_ms = 0 if inbound else self._pace.sent_after_ms
        sent = None if unsent else _rfc2822((kept.accepted_ms + after_ms) // 1000)
        error_code = kept.error_code if settled else None
        uri = f"{self._collection}/{kept.id}"
        media = "1" if kept.id.startswith("MM") else "0"
        return {
            "account_sid": self._account_sid,
            "api_version": "2010-04-01",
            "body": body,
            "date_created": created,
            "date_sent": sent,
            "date_updated": sent or created,
            "direction": "inbound" if inbound else "outbound-api",
            "error_code": error_code,
            "error_message": ERRORS.get(error_code, (0, "Unknown error"))[1] if error_code is not None else None,
            "from": form.get("From"),
            "messaging_service_sid": form.get("MessagingServiceSid"),
            "num_media": media,
            "num_segments": str(segment_count(body)) if "From" in form else "0",
            "price": None,
            "price_unit": "USD",
            "sid": kept.id,
            "status": status,
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": kept.to,
            "uri": f"{uri}.json",
        }


def _idempotency_token(sid: str, status: str) -> str:
    """The same for every try of one receipt, and after a restart."""
    return str(uuid.UUID(bytes=hashlib.blake2b(f"{sid}:{status}".encode(), digest_size=16).digest()))


@lru_cache(maxsize=256)
def _rfc2822(epoch_seconds: int) -> str:
    """Twilio's date form. Cached: messages come many to a second."""
    return format_datetime(datetime.fromtimestamp(epoch_seconds, UTC))


def _sent_between(query: Any) -> tuple[int, int] | None:
    """[from, to) in epoch milliseconds of the DateSent filters, or None. Raises ValueError."""
    if not any(name in query for name in ("DateSent", "DateSent<", "DateSent>")):
        return None
    start, end = 0, 1 << 62
    if "DateSent" in query:
        start, end = _instant(query["DateSent"])
    if "DateSent>" in query:
        start = max(start, _instant(query["DateSent>"])[0])
    if "DateSent<" in query:
        end = min(end, _instant(query["DateSent<"])[1])
    return start, end


def _instant(text: str) -> tuple[int, int]:
    """[start, end) of a UTC day ``YYYY-MM-DD``, or of a second ``YYYY-MM-DDThh:mm:ssZ``."""
    if len(text) == len("YYYY-MM-DD"):
        start = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
        return int(start.timestamp()) * 1000, (int(start.timestamp()) + 86_400) * 1000
    start = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return int(start.timestamp()) * 1000, (int(start.timestamp()) + 1) * 1000


def _json(status: int, body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=body, headers=headers, content_type="application/json")


def _error(code: int, **facts: str) -> web.Response:
    status = ERRORS[code][0]
    return _json(status, error_body(code, status, **facts))


def _refusal(verdict: Verdict, to: str, sender: str) -> web.Response:
    refusal = verdict.refusal
    facts = {"to": masked(to), "from": sender}
    if isinstance(refusal, TwilioError):
        status = ERRORS.get(refusal.code, (400, ""))[0]
        return _json(status, error_body(refusal.code, status, **facts))
    if isinstance(refusal, Status):
        headers = None if refusal.retry_after_seconds is None else {"Retry-After": str(refusal.retry_after_seconds)}
        code = {401: 20003, 404: 20404, 429: 20429, 503: 20503}.get(
            refusal.status, 20500 if refusal.status >= 500 else 20001
        )
        return _json(refusal.status, error_body(code, refusal.status), headers)
    return _error(20500)
