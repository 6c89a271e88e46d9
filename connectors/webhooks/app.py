"""The webhooks' aiohttp application: verify, take, answer. 2xx only once what was said is safe.

403: not signed by the provider. 400: signed, and yet not its form. 413: too large. 503: Kafka or Postgres is away.
SendGrid posts again then; Twilio as its URL's fragment says (docs/opting-out.md), and the sweep finds what it posted in vain.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import psycopg
from aiohttp import web
from confluent_kafka import KafkaException
from multidict import MultiDict

from connectors.answering.withdrawals import Withdrawals, age_source
from connectors.kafka import LINGER_MS
from connectors.metrics.requests import SOURCES, Requests
from connectors.postgres.in_force import open_in_force
from connectors.postgres.pool import Pool, open_pool
from connectors.postgres.records import Records
from connectors.providers import sendgrid, twilio
from connectors.providers.sendgrid import EVENTS_PATH
from connectors.providers.twilio import STATUS_PATH, TwilioMessages
from connectors.refusal_alarms import AlarmLog, RefusalAlarms
from connectors.serving import Outage, alive, readiness
from connectors.settings import Settings, SettingsError
from connectors.statuses import AcknowledgedProducer, StatusLog
from connectors.time_limit import within
from connectors.webhooks.batches import Misfit, entries, misfit
from connectors.webhooks.counted import Counted
from connectors.webhooks.desk import Desk
from connectors.webhooks.event_log import EventLog
from connectors.webhooks.inbound import INBOUND_PATH, Inbound, InboundDesk, InboundError
from connectors.webhooks.misfits import Misfits
from connectors.webhooks.receipts import Receipt, ReceiptError, from_sendgrid, from_twilio
from connectors.webhooks.replies import Replies
from connectors.webhooks.signatures import (
    SENDGRID_SIGNATURE_HEADER,
    SENDGRID_TIMESTAMP_HEADER,
    TWILIO_SIGNATURE_HEADER,
    SendGridSignatures,
    TwilioSignatures,
)
from connectors.webhooks.sweep import CALL_SECONDS, CONNECTIONS, Sweep, sweep_age

log = logging.getLogger(__name__)

# SendGrid's batches are some hundred events of about 1 KB; a Twilio form is below 4 KB.
MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_FORM_BYTES = 64 * 1024
MAX_FORM_FIELDS = 200
# Twilio gives up on a webhook after 15 s, its retries included; we answer before.
ANSWER_SECONDS = 8.0
KAFKA_TIMEOUT_SECONDS = 7.0
POSTGRES_TIMEOUT_SECONDS = 5.0
RETRY_AFTER_SECONDS = 5
# One of them is the sweep's, while it sweeps.
POOL_CONNECTIONS = 5


SETTINGS = web.AppKey("settings", Settings)
OUTAGE = web.AppKey("outage", Outage)
POOL: web.AppKey[Pool] = web.AppKey("pool")
COUNTED = web.AppKey("counted", Counted)
DESK = web.AppKey("desk", Desk)
MISFITS = web.AppKey("misfits", Misfits)
INBOUND_DESK = web.AppKey("inbound_desk", InboundDesk)
WITHDRAWALS = web.AppKey("withdrawals", Withdrawals)
SWEEP = web.AppKey("sweep", Sweep)
TWILIO = web.AppKey("twilio", TwilioSignatures)
SENDGRID: web.AppKey[SendGridSignatures | None] = web.AppKey("sendgrid")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(settings: Settings) -> web.Application:
    """The application. Raises SettingsError for a key that is none."""
    requests = Requests()
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[requests.middleware, _away])
    app[COUNTED] = Counted()
    app[SOURCES] = [*requests.sources, *app[COUNTED].sources, age_source(lambda: app[WITHDRAWALS])]
    app[SETTINGS] = settings
    app[OUTAGE] = Outage()
    app[TWILIO] = TwilioSignatures(settings.twilio_auth_token.get_secret_value())
    app[SENDGRID] = _sendgrid_signatures(settings)
    app.cleanup_ctx.append(_serving)
    if settings.inbound_sweep_seconds:
        app[SOURCES] = [*app[SOURCES], sweep_age(lambda: app[SWEEP])]
        app.cleanup_ctx.append(_sweeping)
    app.router.add_post(STATUS_PATH, twilio_status)
    app.router.add_post(EVENTS_PATH, sendgrid_events)
    app.router.add_post(INBOUND_PATH, twilio_inbound)
    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", readyz)
    return app


def _sendgrid_signatures(settings: Settings) -> SendGridSignatures | None:
    if settings.sendgrid_webhook_public_key is None:
        return None
    try:
        return SendGridSignatures(settings.sendgrid_webhook_public_key, settings.sendgrid_replay_seconds)
    except ValueError as error:
        raise SettingsError(
            "LUXE_SENDGRID_WEBHOOK_PUBLIC_KEY: not a base64 DER public key; copy it from SendGrid's Mail Settings"
        ) from error


async def _serving(app: web.Application) -> AsyncIterator[None]:
    """Pool, producer and desk for the application's life."""
    settings = app[SETTINGS]
    records = Records.open(settings)
    async with (
        open_pool(
            settings, "webhooks", size=POOL_CONNECTIONS, timeout_seconds=POSTGRES_TIMEOUT_SECONDS, urgent=True
        ) as pool,
        open_in_force(settings, "webhooks") as in_force,
    ):
        producer = AcknowledgedProducer(
            settings, on_failure=_told_later, linger_ms=LINGER_MS, message_timeout_seconds=KAFKA_TIMEOUT_SECONDS
        )
        app[POOL] = pool
        alarms = RefusalAlarms(AlarmLog(producer, records.codec))
        app[DESK] = Desk(settings, pool, records, StatusLog(producer, records.codec), alarms, app[COUNTED])
        app[MISFITS] = Misfits(pool, records, producer, app[COUNTED])
        # A codec of its own: it reads in a thread.
        withdrawals = app[WITHDRAWALS] = Withdrawals(settings, Records.open(settings).codec)
        withdrawals.start()
        events = EventLog(records, producer)
        replies = Replies(pool, records, withdrawals, events)
        app[INBOUND_DESK] = InboundDesk(settings, pool, in_force, records, events, replies)
        parked = asyncio.create_task(app[DESK].retry_parked())
        parked.add_done_callback(_parked_ended)
        yield
        withdrawals.stop()
        parked.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await parked
        await producer.settle(KAFKA_TIMEOUT_SECONDS)


async def _sweeping(app: web.Application) -> AsyncIterator[None]:
    """The sweep, beside what is posted."""
    messages = TwilioMessages.open(app[SETTINGS], connections=CONNECTIONS, timeout_seconds=CALL_SECONDS)
    app[SWEEP] = Sweep(app[SETTINGS], app[POOL], messages, app[INBOUND_DESK], app[COUNTED])
    sweeping = asyncio.create_task(app[SWEEP].run())
    sweeping.add_done_callback(_sweep_ended)
    yield
    sweeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sweeping
    await messages.close()


def _sweep_ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        name = type(error).__name__
        log.error("texts that the webhook missed are not looked for any more (%s); restart this process", name)


def _told_later(error: Exception) -> None:
    """Every record of a request has its own waiter, who answers 503; nothing else is sent."""
    name = error.args[0].name() if isinstance(error, KafkaException) else type(error).__name__
    log.warning("Kafka refused a record: %s", name)


def _parked_ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("parked receipts are not looked at any more (%s); restart this process", type(error).__name__)


@web.middleware
async def _away(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What we depend on is away: SendGrid posts again, and Twilio is asked."""
    try:
        return await handler(request)
    except (psycopg.OperationalError, KafkaException, BufferError, TimeoutError) as error:
        request.app[OUTAGE].note(error)
        return web.Response(status=503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


async def twilio_status(request: web.Request) -> web.Response:
    """A status callback of one text."""
    form = await _twilio_form(request)
    if form is None:
        return web.Response(status=403)
    try:
        receipt = from_twilio(
            form,
            delivery_id=request.query.get("delivery_id"),
            attempt=request.query.get("attempt"),
            now=datetime.now(UTC),
        )
    except ReceiptError as error:
        log.warning("a Twilio callback is not in its form: %s", error)
        request.app[COUNTED].refused(twilio.PROVIDER, "form")
        return web.Response(status=400)
    await _take(request, [receipt])
    return web.Response(status=204)


async def twilio_inbound(request: web.Request) -> web.Response:
    """A text from a phone. 200 with TwiML once what it says is in force, or is an event in Kafka."""
    form = await _twilio_form(request)
    if form is None:
        return web.Response(status=403)
    try:
        inbound = Inbound.read(form)
        answer = await within(ANSWER_SECONDS, request.app[INBOUND_DESK].take(inbound, datetime.now(UTC)))
    except InboundError as error:
        log.warning("a text from a phone is not in its form: %s", error)
        request.app[COUNTED].refused(twilio.PROVIDER, "form")
        return web.Response(status=400)
    return web.Response(text=answer, content_type="text/xml")


async def _twilio_form(request: web.Request) -> MultiDict[str] | None:
    """A form that Twilio signed, over the public URL and all its fields; None for anything else."""
    body = await _body(request, twilio.PROVIDER, MAX_FORM_BYTES)
    try:
        form = MultiDict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS))
    except ValueError:
        request.app[COUNTED].refused(twilio.PROVIDER, "signature")
        return None  # nothing that could have been signed
    url = request.app[SETTINGS].public_base_url.rstrip("/") + request.raw_path
    if not request.app[TWILIO].genuine(url, form, request.headers.get(TWILIO_SIGNATURE_HEADER)):
        log.warning("a form with a wrong signature was refused; is LUXE_PUBLIC_BASE_URL what Twilio posts to?")
        request.app[COUNTED].refused(twilio.PROVIDER, "signature")
        return None
    return form


async def _body(request: web.Request, provider: str, most_bytes: int) -> bytes:
    """The raw body. Raises HTTPRequestEntityTooLarge: before it is read, where its length is told."""
    size_bytes = request.content_length or 0
    if size_bytes <= most_bytes:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:  # longer than any of ours may be: it ends there
            size_bytes = MAX_BODY_BYTES + 1
        else:
            if len(body) <= most_bytes:
                return body
            size_bytes = len(body)
    request.app[COUNTED].refused(provider, "size")
    raise web.HTTPRequestEntityTooLarge(most_bytes, size_bytes)


async def sendgrid_events(request: web.Request) -> web.Response:
    """A batch of events, signed over the raw body. One bad event does not drop the others."""
    body = await _body(request, sendgrid.PROVIDER, MAX_BODY_BYTES)
    signatures = request.app[SENDGRID]
    if signatures is None or not signatures.genuine(
        body,
        request.headers.get(SENDGRID_SIGNATURE_HEADER),
        request.headers.get(SENDGRID_TIMESTAMP_HEADER),
        datetime.now(UTC),
    ):
        log.warning("a SendGrid batch with a wrong or old signature was refused; is its public key ours?")
        request.app[COUNTED].refused(sendgrid.PROVIDER, "signature")
        return web.Response(status=403)
    try:
        batch = entries(body)
    except ReceiptError as error:
        log.warning("a signed SendGrid batch is none: %s", error)
        request.app[COUNTED].refused(sendgrid.PROVIDER, "form")
        return web.Response(status=400)
    now = datetime.now(UTC)
    receipts: list[Receipt | None] = []
    misfits: list[Misfit] = []
    for number, entry in enumerate(batch):
        try:
            receipts.append(from_sendgrid(entry, now=now))
        except ReceiptError as error:
            misfits.append(misfit(sendgrid.PROVIDER, number, entry, error))
    await _take(request, receipts, misfits)
    return web.Response(status=204)


async def _take(request: web.Request, receipts: list[Receipt | None], misfits: list[Misfit] | None = None) -> None:
    """Return once all of them are durable: what is understood first, for what is wrong with others must not keep it waiting."""
    news = [receipt for receipt in receipts if receipt is not None]

    async def taken() -> None:
        if news:
            await request.app[DESK].take(news)
            request.app[COUNTED].taken(news)
        await request.app[MISFITS].keep(misfits or [])

    await within(ANSWER_SECONDS, taken())


async def readyz(request: web.Request) -> web.Response:
    """Postgres and Kafka answer, and what was withdrawn is known; else 503 with what is away."""
    return await readiness(request.app[SETTINGS], request.app[POOL], request.app[WITHDRAWALS].wait_until_current)
