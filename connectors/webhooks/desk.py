"""Where verified receipts become statuses: found in the ledger, told to Kafka, parked where the ledger is not that far."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg
from confluent_kafka import KafkaException

from connectors.gathering import Gathered
from connectors.postgres import deliveries, parked, sender_refusals
from connectors.postgres.deliveries import Delivery, Finish
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.providers import twilio
from connectors.refusal_alarms import RefusalAlarms
from connectors.sealing import KeyRingError, SealError
from connectors.settings import Settings
from connectors.statuses import StatusLog, delivery_status
from connectors.suppressing import DeadAddress, email_sender_class, reason_of, reopen, sms_sender_class, suppress
from connectors.unsubscribing.at_providers import Word
from connectors.webhooks import sender_news
from connectors.webhooks.counted import Counted
from connectors.webhooks.receipts import RESUBSCRIBED, Receipt

log = logging.getLogger(__name__)

# Receipts that come in one by one are dealt with together: one query, one batch to Kafka.
BATCH_RECEIPTS = 500
LINGER_MS = 2.0
# A receipt usually beats our own commit by milliseconds; it is looked for again soon, and until it is quarantined.
RETRY_SECONDS = 2.0
FAILED = ("failed", "undelivered", "bounced")
# A status' reason where it is its sender that is refused: notify then has the message wait (streams/rules/retrying.py).
SENDER_REFUSED = "sender_refused"


class Desk:
    """Takes receipts. Everything it does may be repeated: the same receipt always yields the same status."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        records: Records,
        statuses: StatusLog,
        alarms: RefusalAlarms,
        counted: Counted,
    ) -> None:
        self._counted = counted
        self._alarms = alarms
        self._settings = settings
        self._pool = pool
        self._records = records
        self._statuses = statuses
        self._gathered: Gathered[Receipt, None] = Gathered(self._settle, max_items=BATCH_RECEIPTS, linger_ms=LINGER_MS)

    async def take(self, receipts: Sequence[Receipt]) -> None:
        """Return once Kafka, or for unknown messages Postgres, has them all.

        Raises psycopg.Error, KafkaException or BufferError when they are away: SendGrid posts again, of texts the sink asks.
        """
        await asyncio.gather(*(self._gathered.submit(receipt) for receipt in receipts))

    async def retry_parked(self) -> None:
        """Look for parked receipts' messages, for ever. Nothing ends it but cancelling."""
        while True:
            try:
                while await self._settle_parked():
                    pass
            except (psycopg.Error, KafkaException, BufferError, SealError, KeyRingError) as error:
                log.warning("parked receipts wait: %s", type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)

    async def _settle(self, receipts: Sequence[Receipt]) -> list[None]:
        await self._settle_statuses([receipt for receipt in receipts if receipt.status != RESUBSCRIBED])
        # Said of an address: whichever message it came by, and whether that is known here, does not matter.
        again = [_resubscribed(receipt) for receipt in receipts if receipt.status == RESUBSCRIBED]
        await reopen(self._pool, self._records, again, "webhook")
        return [None] * len(receipts)

    async def _settle_statuses(self, receipts: Sequence[Receipt]) -> None:
        found = await self._find(receipts)
        unknown = [receipt for receipt in receipts if _key(receipt) not in found]
        if unknown:
            await parked.park(self._pool, self._records, [_parked(receipt) for receipt in unknown])
            self._counted.parked(unknown)
            log.info("%d receipts parked: their messages are not in the ledger yet", len(unknown))
        await self._tell([(receipt, found[_key(receipt)]) for receipt in receipts if _key(receipt) in found])

    async def _find(self, receipts: Sequence[Receipt]) -> dict[tuple[str, str], Delivery]:
        """(provider, message id) → delivery: by the provider's id, else by ours, which came back with the receipt."""
        found: dict[tuple[str, str], Delivery] = {}
        for provider in {receipt.provider for receipt in receipts}:
            ids = [receipt.provider_message_id for receipt in receipts if receipt.provider == provider]
            known = await deliveries.find_by_provider_ids(self._pool, provider, ids)
            found |= {(provider, message_id): delivery for message_id, delivery in known.items()}
        named = [receipt for receipt in receipts if _key(receipt) not in found and receipt.delivery_id]
        if named:
            by_id = await deliveries.find(self._pool, [str(receipt.delivery_id) for receipt in named])
            ours = {
                _key(receipt): _as_of(receipt, by_id[str(receipt.delivery_id)])
                for receipt in named
                if receipt.delivery_id in by_id
            }
            await self._enter_acceptances(ours, by_id)
            found |= ours
        return found

    async def _enter_acceptances(
        self, ours: Mapping[tuple[str, str], Delivery], present: Mapping[str, Delivery]
    ) -> None:
        """A receipt proves that the provider took the message: an answer that was lost is known after all.

        Of an attempt that a later one has replaced only the message id is remembered: it says nothing of the later one.
        """
        finishes: list[Finish] = []
        earlier: list[tuple[str, int, str]] = []
        for (_, message_id), delivery in ours.items():
            if delivery.attempt < present[delivery.delivery_id].attempt:
                earlier.append((delivery.delivery_id, delivery.attempt, message_id))
            else:
                finishes.append(Finish(delivery.delivery_id, delivery.attempt, "accepted", message_id))
        await deliveries.remember_earlier(self._pool, earlier)
        twice = (await deliveries.finish(self._pool, finishes)).twice
        if twice:
            log.warning("%d deliveries were accepted twice: %s", len(twice), ", ".join(twice))

    async def _tell(self, known: Sequence[tuple[Receipt, Delivery]]) -> None:
        since = await self._known_since(known)
        dead = [address for receipt, of in known if (address := self._dead_address(receipt, of, since)) is not None]
        if dead:
            await suppress(self._pool, self._records, dead, "webhook")
        now = datetime.now(UTC)
        await self._statuses.publish([self._status(receipt, delivery, now) for receipt, delivery in known])
        await self._tell_of_senders(known)
        for receipt, delivery in known:
            if receipt.status in FAILED and receipt.error_class is not None:
                # Most of what carriers and mail servers refuse is told only here: the call had been accepted.
                self._alarms.refused(
                    delivery.clinic_id,
                    channel=delivery.channel,
                    provider=receipt.provider,
                    error_class=receipt.error_class,
                    code=receipt.error_code or "",
                )

    async def _tell_of_senders(self, known: Sequence[tuple[Receipt, Delivery]]) -> None:
        """To the sinks: their calls are accepted, so only receipts say that a sender may not send, or may again."""
        try:
            await sender_refusals.lift(self._pool, twilio.PROVIDER, sender_news.arrived(self._settings, known))
            await sender_refusals.enter(self._pool, twilio.PROVIDER, sender_news.refused(self._settings, known))
        except psycopg.Error as error:  # the next receipt says it again; these have been told of their messages
            log.warning("what receipts say of our senders could not be kept: %s", type(error).__name__)

    async def _known_since(self, known: Sequence[tuple[Receipt, Delivery]]) -> Mapping[str, datetime]:
        """Delivery → when its call ended, of texts to somebody who had said no.

        Twilio's callbacks tell no time, and may be posted again for ever: an old one must not undo a START.
        """
        ids = [
            delivery.delivery_id
            for receipt, delivery in known
            if receipt.provider == twilio.PROVIDER and receipt.error_class == "opted_out"
        ]
        return await deliveries.changed_at(self._pool, ids) if ids else {}

    def _dead_address(self, receipt: Receipt, delivery: Delivery, since: Mapping[str, datetime]) -> DeadAddress | None:
        reason = "complaint" if receipt.status == "complained" else reason_of(receipt.error_class)
        if reason is None or not receipt.address:
            return None
        code = receipt.error_code or ""
        said_at = since.get(delivery.delivery_id, receipt.status_at)
        if receipt.provider == twilio.PROVIDER:
            sender_class = sms_sender_class(self._settings, receipt.sender)
            return DeadAddress("sms", receipt.address, sender_class, reason, receipt.provider, code, said_at)
        return DeadAddress("email", receipt.address, email_sender_class(code), reason, receipt.provider, code, said_at)

    def _status(self, receipt: Receipt, delivery: Delivery, now: datetime) -> dict[str, Any]:
        fields = {name: getattr(delivery, name) for name in Delivery.__slots__}
        return delivery_status(
            fields,
            receipt.status,
            status_at=receipt.status_at,
            recorded_at=now,
            provider=receipt.provider,
            provider_event_id=receipt.provider_event_id,
            provider_message_id=receipt.provider_message_id,
            provider_status=receipt.provider_status,
            reason=SENDER_REFUSED if sender_news.subjects(self._settings, receipt) else receipt.error_class or "",
            error_class=receipt.error_class,
            error_code=receipt.error_code,
        )

    async def _settle_parked(self) -> int:
        async with self._pool.connection() as connection:
            # Published before the transaction that removes them ends: a crash between repeats, never loses.
            claimed = await parked.take_parked(connection, self._records)
            if claimed:
                await self._tell([(Receipt.from_json(orjson.loads(one.receipt.raw)), one.delivery) for one in claimed])
        for one in claimed:
            self._counted.claimed(one.receipt.provider)
        return len(claimed)


def _parked(receipt: Receipt) -> parked.Receipt:
    return parked.Receipt(receipt.provider, receipt.provider_message_id, orjson.dumps(receipt.as_json()))


def _resubscribed(receipt: Receipt) -> Word:
    return Word(receipt.provider, receipt.provider_status, "email", receipt.address, "marketing", receipt.status_at)


def _key(receipt: Receipt) -> tuple[str, str]:
    return receipt.provider, receipt.provider_message_id


def _as_of(receipt: Receipt, delivery: Delivery) -> Delivery:
    """The delivery as of the receipt's attempt. One that does not say which is taken for one before the present."""
    attempt = receipt.attempt or max(1, delivery.attempt - 1)
    if attempt >= delivery.attempt:
        return delivery
    return replace(delivery, attempt=attempt, provider_message_id=receipt.provider_message_id)
