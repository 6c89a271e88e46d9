"""The provider put together: one aiohttp application over one store, and how it starts and stops."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from connectors.loopback.control import Control
from connectors.loopback.faults import FaultBook
from connectors.loopback.fcm import FcmMessages
from connectors.loopback.messaging_services import MessagingServices
from connectors.loopback.receipts import Courier
from connectors.loopback.sendgrid import SendGridMail
from connectors.loopback.signing import EventSigner, GoogleAccounts
from connectors.loopback.store import MessageStore, Pace
from connectors.loopback.twilio import TwilioMessages

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1 << 20  # 1 MiB, but for emails, which carry files; more is answered 413
SHUTDOWN_SECONDS = 2.0  # for requests in flight; a hanging one (a fault) is dropped
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Options:
    """How to run. Times in milliseconds unless the name says otherwise."""

    host: str
    port: int
    state_dir: Path
    account_sid: str
    auth_token: str
    api_key: str
    receipts: bool = True
    webhook_url: str | None = None
    sendgrid_webhook_path: str = "/webhooks/sendgrid/events"
    inbound_webhook_path: str = "/webhooks/twilio/inbound"
    sent_after_ms: int = 20
    delivered_after_ms: int = 100
    max_messages: int = 1_000_000
    max_log_bytes: int = 8 << 30
    receipt_concurrency: int = 32
    max_pending_receipts: int = 1_000_000
    max_receipt_attempts: int = 10
    messaging_services: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Options(host={self.host!r}, port={self.port}, state_dir={str(self.state_dir)!r})"


async def serve(options: Options) -> None:
    """Run until SIGTERM or SIGINT. Raises StoreError or OSError when it cannot start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    store = MessageStore(options.state_dir, max_messages=options.max_messages, max_log_bytes=options.max_log_bytes)
    try:
        await _serve_store(options, store, stop)
    finally:
        store.close()


async def _serve_store(options: Options, store: MessageStore, stop: asyncio.Event) -> None:
    pace = Pace(options.sent_after_ms, options.delivered_after_ms)
    signer = EventSigner.at(options.state_dir)
    accounts = GoogleAccounts.at(options.state_dir)
    faults = FaultBook()
    base = None if options.webhook_url is None else options.webhook_url.rstrip("/")
    courier = None
    if options.receipts:
        courier = Courier(
            auth_token=options.auth_token,
            signer=signer,
            email_url=None if base is None else base + options.sendgrid_webhook_path,
            on_done=store.receipts_done,
            concurrency=options.receipt_concurrency,
            max_pending=options.max_pending_receipts,
            max_attempts=options.max_receipt_attempts,
        )
    twilio = TwilioMessages(
        account_sid=options.account_sid,
        auth_token=options.auth_token,
        store=store,
        faults=faults,
        courier=courier,
        pace=pace,
    )
    sendgrid = SendGridMail(api_key=options.api_key, store=store, faults=faults, courier=courier, pace=pace)
    fcm = FcmMessages(accounts=accounts, store=store, faults=faults)
    control = Control(
        store=store,
        faults=faults,
        courier=courier,
        pace=pace,
        signer=signer,
        twilio=twilio,
        sendgrid=sendgrid,
        inbound_url=None if base is None else base + options.inbound_webhook_path,
    )
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    services = MessagingServices(
        account_sid=options.account_sid, auth_token=options.auth_token, numbers=options.messaging_services
    )
    app.add_routes([*twilio.routes(), *services.routes(), *sendgrid.routes(), *fcm.routes(), *control.routes()])
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, options.host, options.port, backlog=BACKLOG)
        await site.start()
        host, port = runner.addresses[0][:2]
        base_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        accounts.write_service_account(base_url)
        if courier is not None:
            if not courier.posts_email:
                log.info("no --webhook-url: email events and inbound texts are not posted")
            await courier.start()
            owed = store.owed_receipts()
            for kept in owed:
                (twilio if kept.channel == "sms" else sendgrid).resume(kept)
            if owed:
                log.info("receipts of %d messages were still owed: posting them", len(owed))
        # What was replayed stays: no need for the collector to walk through it again and again.
        gc.freeze()
        print(f"loopback provider listens on {base_url}", flush=True)  # the line a supervisor waits for
        await stop.wait()
    finally:
        if courier is not None:
            await courier.close()
        await runner.cleanup()
    log.info("stopped; %d messages are kept in %s", len(store), options.state_dir)
