"""The courier: posts what became of each message to our webhooks, signed, in batches, with bounded retries.

One heap ordered by due time, one task that takes what is due, a fixed number of workers that post. Email events fall due
on ticks, so that those of one tick travel in one batch as SendGrid's do.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson

from connectors.loopback.signing import (
    SENDGRID_SIGNATURE_HEADER,
    SENDGRID_TIMESTAMP_HEADER,
    TWILIO_IDEMPOTENCY_HEADER,
    TWILIO_SIGNATURE_HEADER,
    EventSigner,
    twilio_signature,
)
from connectors.loopback.store import StoreError

log = logging.getLogger(__name__)

MAX_EVENTS_IN_BATCH = 500
EMAIL_TICK_SECONDS = 0.05  # how long events wait for company
DONE_TICK_SECONDS = 0.1  # how often finished receipts are written down: a crash repeats at most this much
FIRST_RETRY_SECONDS = 0.25
LONGEST_RETRY_SECONDS = 30.0
POST_TIMEOUT_SECONDS = 15.0  # Twilio's own limit for a webhook


@dataclass(slots=True)
class SmsReceipt:
    """One status callback. ``token`` is the same in every try of the same receipt, as Twilio's is."""

    seq: int
    url: str
    form: list[tuple[str, str]]
    token: str
    wrong_signature: bool = False
    attempt: int = 0

    def __repr__(self) -> str:
        return f"SmsReceipt(seq={self.seq}, attempt={self.attempt})"


@dataclass(slots=True)
class EmailEvents:
    """One POST of the event webhook."""

    seqs: list[int]
    events: list[dict[str, Any]]
    wrong_signature: bool = False
    attempt: int = 0

    def __repr__(self) -> str:
        return f"EmailEvents({len(self.events)} events, attempt={self.attempt})"


@dataclass(slots=True)
class Posted:
    """What our webhook answered; ``status`` 0: no answer."""

    status: int
    body: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class Account:
    """How the courier's work went, in receipts and events since the start."""

    posted: int = 0
    retried: int = 0
    given_up: int = 0
    dropped: int = 0
    answers: Counter[int] = field(default_factory=Counter)


class Courier:
    """Posts receipts until closed. Start it inside a running loop."""

    def __init__(
        self,
        *,
        auth_token: str,
        signer: EventSigner,
        email_url: str | None,
        on_done: Callable[[list[int]], None],
        concurrency: int,
        max_pending: int,
        max_attempts: int,
    ) -> None:
        self._auth_token = auth_token
        self._signer = signer
        self._email_url = email_url
        self._on_done = on_done
        self._concurrency = concurrency
        self._max_pending = max_pending
        self._max_attempts = max_attempts
        self._heap: list[tuple[float, int, SmsReceipt | EmailEvents]] = []
        self._order = itertools.count()
        self._wake = asyncio.Event()
        # As many ready posts as workers: what waits, waits in the heap.
        self._ready: asyncio.Queue[SmsReceipt | EmailEvents] = asyncio.Queue(maxsize=concurrency)
        self._owed: Counter[int] = Counter()
        self._done: list[int] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None
        self.account = Account()

    async def start(self) -> None:
        """Begin to post."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._concurrency),
            timeout=aiohttp.ClientTimeout(total=POST_TIMEOUT_SECONDS),
        )
        self._tasks = [asyncio.create_task(self._take_due()), asyncio.create_task(self._write_done())]
        self._tasks += [asyncio.create_task(self._work()) for _ in range(self._concurrency)]

    async def close(self) -> None:
        """Stop posting. What is still owed stays owed in the log and is posted after the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._flush_done()
        if self._session is not None:
            await self._session.close()

    @property
    def pending(self) -> int:
        """Receipts and batches that wait for their time or a worker."""
        return len(self._heap) + self._ready.qsize()

    @property
    def posts_email(self) -> bool:
        """Whether there is an address for email events."""
        return self._email_url is not None

    def forget(self) -> None:
        """Drop everything pending."""
        self._heap.clear()
        self._owed.clear()

    def send(self, seq: int, due: Iterable[tuple[float, SmsReceipt | EmailEvents]]) -> None:
        """Post all these receipts of one message, each at its time (epoch seconds); the message is done after the last."""
        receipts = list(due)
        if len(self._heap) + len(receipts) > self._max_pending:
            self.account.dropped += len(receipts)
            return
        self._owed[seq] += len(receipts)
        for due_seconds, receipt in receipts:
            self._push(due_seconds, receipt)

    def _push(self, due_seconds: float, receipt: SmsReceipt | EmailEvents) -> None:
        if isinstance(receipt, EmailEvents):
            due_seconds = (due_seconds // EMAIL_TICK_SECONDS + 1) * EMAIL_TICK_SECONDS
        if not self._heap or due_seconds < self._heap[0][0]:
            self._wake.set()
        heapq.heappush(self._heap, (due_seconds, next(self._order), receipt))

    async def _take_due(self) -> None:
        while True:
            now = time.time()
            events: dict[bool, EmailEvents] = {}
            while self._heap and self._heap[0][0] <= now:
                receipt = heapq.heappop(self._heap)[2]
                if isinstance(receipt, SmsReceipt) or receipt.attempt:
                    await self._ready.put(receipt)
                    continue
                batch = events.setdefault(receipt.wrong_signature, EmailEvents([], [], receipt.wrong_signature))
                batch.seqs += receipt.seqs
                batch.events += receipt.events
                if len(batch.events) >= MAX_EVENTS_IN_BATCH:
                    await self._ready.put(events.pop(receipt.wrong_signature))
            for batch in events.values():
                await self._ready.put(batch)
            self._wake.clear()
            wait_seconds = max(0.0, self._heap[0][0] - time.time()) if self._heap else None
            try:
                async with asyncio.timeout(wait_seconds):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _work(self) -> None:
        while True:
            receipt = await self._ready.get()
            posted = await self._post(receipt)
            self.account.answers[posted.status] += 1
            size = 1 if isinstance(receipt, SmsReceipt) else len(receipt.events)
            if 200 <= posted.status < 300:
                self.account.posted += size
                self._finish(receipt)
            elif receipt.attempt + 1 >= self._max_attempts:
                self.account.given_up += size
                log.warning(
                    "a receipt was given up after %d tries: the webhook answered %d (0: not at all)",
                    receipt.attempt + 1,
                    posted.status,
                )
                self._finish(receipt)
            else:
                self.account.retried += size
                pause = min(FIRST_RETRY_SECONDS * 2**receipt.attempt, LONGEST_RETRY_SECONDS)
                receipt.attempt += 1
                self._push(time.time() + pause, receipt)

    def _finish(self, receipt: SmsReceipt | EmailEvents) -> None:
        for seq in [receipt.seq] if isinstance(receipt, SmsReceipt) else receipt.seqs:
            self._owed[seq] -= 1
            if self._owed[seq] <= 0:
                del self._owed[seq]
                self._done.append(seq)

    async def _write_done(self) -> None:
        while True:
            await asyncio.sleep(DONE_TICK_SECONDS)
            self._flush_done()

    def _flush_done(self) -> None:
        if not self._done:
            return
        try:
            self._on_done(self._done)
        except StoreError as error:
            # Kept for the next tick; a crash before then posts these receipts once more, with the same tokens.
            log.warning("finished receipts could not be written down: %s", error)
            return
        self._done = []

    async def _post(self, receipt: SmsReceipt | EmailEvents) -> Posted:
        if isinstance(receipt, SmsReceipt):
            return await self.post_twilio(
                receipt.url, receipt.form, receipt.token, wrong_signature=receipt.wrong_signature
            )
        if self._email_url is None:
            return Posted(0)
        body = orjson.dumps(receipt.events)
        timestamp = str(int(time.time()))
        signed = body + b" " if receipt.wrong_signature else body
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "SendGrid Event API",
            SENDGRID_SIGNATURE_HEADER: self._signer.sign(timestamp, signed),
            SENDGRID_TIMESTAMP_HEADER: timestamp,
        }
        return await self._request(self._email_url, body, headers)

    async def post_twilio(
        self, url: str, form: list[tuple[str, str]], token: str, *, wrong_signature: bool = False
    ) -> Posted:
        """Post one signed form, as Twilio posts status callbacks and inbound texts."""
        auth_token = f"{self._auth_token}-wrong" if wrong_signature else self._auth_token
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            "User-Agent": "TwilioProxy/1.1",
            TWILIO_SIGNATURE_HEADER: twilio_signature(auth_token, url, form),
            TWILIO_IDEMPOTENCY_HEADER: token,
        }
        return await self._request(url, urlencode(form).encode(), headers)

    async def _request(self, url: str, body: bytes, headers: dict[str, str]) -> Posted:
        if self._session is None:
            return Posted(0)
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                return Posted(answer.status, await answer.read())
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return Posted(0)
