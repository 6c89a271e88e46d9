"""The control side: what was sent, the faults, simulated people. Not part of any real provider."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connectors.loopback import attachments
from connectors.loopback.faults import EmailEvent, FaultBook, FaultsRefused
from connectors.loopback.receipts import Courier
from connectors.loopback.sendgrid import SendGridMail
from connectors.loopback.signing import EventSigner
from connectors.loopback.store import Channel, Kept, MessageStore, Pace, StoreError
from connectors.loopback.twilio import TwilioMessages

MAX_PAGE = 1000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _Listing(_Strict):
    """Query of GET /messages."""

    channel: Channel | None = None
    to: str | None = None
    status: str | None = None
    since: datetime | None = None
    limit: int = Field(100, ge=1, le=MAX_PAGE)
    cursor: int = Field(0, ge=0)


class _Inbound(_Strict):
    """Body of POST /inbound: a text from a phone."""

    sender: str = Field(alias="from", pattern=r"^\+[1-9]\d{6,14}$")
    to: str = Field(min_length=3, max_length=34)
    body: str = Field(max_length=1600)
    # The provider's id, to post a text again; and whether the provider deals with STOP, START and HELP itself.
    message_sid: str | None = Field(None, pattern=r"^SM[0-9a-f]{32}$")
    handled: bool = True

    def __repr__(self) -> str:
        return f"_Inbound(body=<{len(self.body)} characters>)"


class _Event(_Strict):
    """Body of POST /events: what a person does with an email."""

    message_id: str
    event: EmailEvent | Literal["delivered"]


class Control:
    """The HTTP handlers."""

    def __init__(
        self,
        *,
        store: MessageStore,
        faults: FaultBook,
        courier: Courier | None,
        pace: Pace,
        signer: EventSigner,
        twilio: TwilioMessages,
        sendgrid: SendGridMail,
        inbound_url: str | None,
    ) -> None:
        self._store = store
        self._faults = faults
        self._courier = courier
        self._pace = pace
        self._signer = signer
        self._twilio = twilio
        self._sendgrid = sendgrid
        self._inbound_url = inbound_url

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [
            web.get("/healthz", self.health),
            web.get("/messages", self.messages),
            web.get("/messages/count", self.count),
            web.get("/messages/{message_id}/attachments/{number:\\d{1,3}}", self.attachment),
            web.delete("/messages", self.clear_messages),
            web.get("/faults", self.faults),
            web.post("/faults", self.add_faults),
            web.delete("/faults", self.clear_faults),
            web.delete("/faults/{rule_id:\\d+}", self.clear_faults),
            web.get("/sendgrid/public-key", self.public_key),
            web.post("/inbound", self.inbound),
            web.post("/events", self.event),
        ]

    async def health(self, request: web.Request) -> web.Response:
        """GET /healthz."""
        body: dict[str, Any] = {"status": "ok", "messages": len(self._store), "log_bytes": self._store.log_bytes}
        if self._courier is not None:
            account = self._courier.account
            body["receipts"] = {
                "pending": self._courier.pending,
                "posted": account.posted,
                "retried": account.retried,
                "given_up": account.given_up,
                "dropped": account.dropped,
                "answers": {str(status): number for status, number in sorted(account.answers.items())},
            }
        return _json(200, body)

    async def messages(self, request: web.Request) -> web.Response:
        """GET /messages?channel&to&status&since&limit&cursor: oldest first; go on with next_cursor until it is null.

        Texts from phones only where channel=inbound asks for them.
        Long attachments are named and not quoted; each is at an address of its own.
        """
        try:
            asked = _Listing.model_validate(dict(request.query))
        except ValidationError as error:
            return _problems(error)
        since_ms = 0
        if asked.since is not None:
            since = asked.since if asked.since.tzinfo is not None else asked.since.replace(tzinfo=UTC)
            since_ms = int(since.timestamp() * 1000)
        now_ms = time.time_ns() // 1_000_000
        found: list[dict[str, Any]] = []
        cursor: int | None = None
        for kept in self._store.oldest_first(after_seq=asked.cursor, to=asked.to):
            if kept.channel != (asked.channel or kept.channel) or (kept.channel == "inbound" and not asked.channel):
                continue
            if kept.accepted_ms < since_ms:
                continue
            if asked.status is not None and self._pace.status(kept, now_ms) != asked.status:
                continue
            found.append(self._shown(kept, now_ms))
            if len(found) == asked.limit:
                cursor = kept.seq
                break
        return _json(200, {"messages": found, "next_cursor": cursor})

    async def attachment(self, request: web.Request) -> web.Response:
        """GET /messages/{id}/attachments/{n}: an email's n-th file as it was sent, from 0."""
        kept = self._store.find(request.match_info["message_id"])
        file = None
        if kept is not None and kept.channel == "email":
            file = attachments.opened(self._store.payload(kept), int(request.match_info["number"]))
        if file is None:
            return _json(404, {"problems": [{"field": "path", "problem": "no such file; see GET /messages"}]})
        return web.Response(body=file[0], content_type=file[1], headers={"X-Content-Type-Options": "nosniff"})

    async def count(self, request: web.Request) -> web.Response:
        """GET /messages/count: how many, by channel and status."""
        counted = self._store.counts(self._pace, time.time_ns() // 1_000_000)
        total = sum(counter.total() for counter in counted.values())
        return _json(200, {"total": total, "by_channel": counted})

    async def clear_messages(self, request: web.Request) -> web.Response:
        """DELETE /messages: forget all, owed receipts too."""
        if self._courier is not None:
            self._courier.forget()
        try:
            return _json(200, {"deleted": self._store.clear()})
        except OSError as error:
            return _json(503, {"problems": [{"field": "--state-dir", "problem": f"not writable: {error.strerror}"}]})

    async def faults(self, request: web.Request) -> web.Response:
        """GET /faults: the rules in force with their counters."""
        return _json(200, {"faults": self._faults.listed()})

    async def add_faults(self, request: web.Request) -> web.Response:
        """POST /faults: one rule or a list of rules."""
        try:
            return _json(201, {"ids": self._faults.add(await request.read())})
        except FaultsRefused as refused:
            return _json(422, {"problems": refused.problems})

    async def clear_faults(self, request: web.Request) -> web.Response:
        """DELETE /faults or /faults/{id}."""
        rule_id = request.match_info.get("rule_id")
        removed = self._faults.clear(None if rule_id is None else int(rule_id))
        return _json(200 if removed or rule_id is None else 404, {"deleted": removed})

    async def public_key(self, request: web.Request) -> web.Response:
        """GET /sendgrid/public-key: base64 of the DER key, as SendGrid's settings page shows it."""
        return web.Response(text=self._signer.public_key)

    async def inbound(self, request: web.Request) -> web.Response:
        """POST /inbound {from, to, body[, message_sid, handled]}: a phone texts us."""
        try:
            asked = _Inbound.model_validate_json(await request.read())
        except ValidationError as error:
            return _problems(error)
        if self._inbound_url is None or self._courier is None:
            return _json(
                409, {"problems": [{"field": "--webhook-url", "problem": "start with it, and with receipts on"}]}
            )
        try:
            sid, status = await self._twilio.inbound(
                self._inbound_url, asked.sender, asked.to, asked.body, sid=asked.message_sid, handled=asked.handled
            )
        except StoreError as error:
            return _json(503, {"problems": [{"field": "--state-dir", "problem": str(error)}]})
        return _json(200 if 200 <= status < 300 else 502, {"message_sid": sid, "webhook_status": status})

    async def event(self, request: web.Request) -> web.Response:
        """POST /events {message_id, event}: a person opens, clicks, complains, unsubscribes."""
        try:
            asked = _Event.model_validate_json(await request.read())
        except ValidationError as error:
            return _problems(error)
        kept = self._store.find(asked.message_id)
        if kept is None or kept.channel != "email":
            return _json(404, {"problems": [{"field": "message_id", "problem": "no such email; see GET /messages"}]})
        if self._courier is None or not self._courier.posts_email:
            return _json(
                409, {"problems": [{"field": "--webhook-url", "problem": "start with it, and with receipts on"}]}
            )
        self._sendgrid.simulate(kept, asked.event)
        return _json(202, {"message_id": kept.id})

    def _shown(self, kept: Kept, now_ms: int) -> dict[str, Any]:
        payload = self._store.payload(kept)
        files = {"attachments": attachments.listed(kept.id, payload)} if kept.channel == "email" else {}
        return {
            "seq": kept.seq,
            "id": kept.id,
            "channel": kept.channel,
            "to": kept.to,
            "from": kept.sender,
            "status": self._pace.status(kept, now_ms),
            "error_code": kept.error_code,
            "accepted_at": datetime.fromtimestamp(kept.accepted_ms / 1000, UTC).isoformat(timespec="milliseconds"),
            **files,
            "payload": payload,
        }


def _json(status: int, body: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")


def _problems(error: ValidationError) -> web.Response:
    return _json(
        422,
        {
            "problems": [
                {"field": ".".join(str(part) for part in problem["loc"]) or "body", "problem": problem["msg"]}
                for problem in error.errors(include_input=False, include_url=False)
            ]
        },
    )
