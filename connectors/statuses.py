"""Delivery statuses as events: how one is made, and the producer that says when Kafka has it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message

from connectors.kafka import make_producer
from connectors.settings import Settings
from schemas.codec import Codec
from schemas.ids import status_id
from schemas.topics import STATUS

RECORD = "luxe.pipeline.DeliveryStatus"
Headers = Sequence[tuple[str, bytes | str | None]]

# What a status says of its delivery, taken over from the message or from the ledger's row.
DELIVERY_FIELDS = (
    "delivery_id",
    "notification_id",
    "notification_type",
    "recipient",
    "clinic_id",
    "category",
    "lane",
    "channel",
    "step",
    "attempt",
    "template_id",
    "template_version",
    "occurred_at",
    "correlation_id",
)

# While records are under way, how often their acknowledgements are fetched: a tenth of what a hop takes.
PUMP_SECONDS = 0.002
# While none are, how often the client is heard: it may have to say that Kafka is away.
IDLE_PUMP_SECONDS = 1.0


def delivery_status(
    delivery: Mapping[str, Any],
    status: str,
    *,
    status_at: datetime,
    recorded_at: datetime,
    provider: str = "",
    provider_event_id: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A luxe.pipeline.DeliveryStatus. ``more``: its other fields by name. The same event always has the same status_id."""
    record: dict[str, Any] = {name: delivery[name] for name in DELIVERY_FIELDS}
    record |= {
        "status_id": status_id(record["delivery_id"], record["attempt"], status, provider_event_id),
        "status": status,
        "reason": "",
        "provider": provider,
        "provider_message_id": None,
        "provider_status": None,
        "provider_event_id": provider_event_id,
        "error_class": None,
        "error_code": None,
        "retry_at": None,
        "segments": delivery.get("segments", 0),
        "status_at": status_at,
        "recorded_at": recorded_at,
        "sealed": None,
    }
    return record | more


class AcknowledgedProducer:
    """A producer for one event loop: records go out in batches, and each tells when Kafka has it.

    Nothing is given up while Kafka is away (``message_timeout_seconds`` 0 means never). What Kafka refuses for good ends in
    ``on_failure``: no offset and no answer may count on it. So does an acknowledgement that its callback could not take.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_failure: Callable[[Exception], None],
        linger_ms: float,
        message_timeout_seconds: float = 0,
    ) -> None:
        """Must be made in the running event loop. ``linger_ms``: a partition's records wait that long for company."""
        self._producer = make_producer(
            settings, message_timeout_ms=int(message_timeout_seconds * 1000), linger_ms=linger_ms
        )
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._outstanding = 0
        self._pumping = False
        self._settled = asyncio.Event()
        self._settled.set()
        self._loop.call_later(IDLE_PUMP_SECONDS, self._listen)

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        headers: Headers,
        acknowledged: Callable[[], None] | None = None,
        failed: Callable[[KafkaException], None] | None = None,
    ) -> None:
        """Hand one record over; one of the two is called in the event loop (``failed`` by default: ``on_failure``).

        Raises BufferError when the local queue is full, KafkaException when it is too large.
        """

        def delivered(error: KafkaError | None, _: Message) -> None:
            self._outstanding -= 1
            if error is not None:
                (failed or self._on_failure)(KafkaException(error))
            elif acknowledged is not None:
                acknowledged()

        self._producer.produce(topic, value, key, headers=list(headers), on_delivery=delivered)
        self._outstanding += 1
        self._settled.clear()
        if not self._pumping:
            self._pumping = True
            self._loop.call_later(PUMP_SECONDS, self._pump)

    def _pump(self) -> None:
        try:
            self._producer.poll(0)
        except Exception as error:  # noqa: BLE001 - a callback's; without a next turn nobody would hear of anything any more
            self._loop.call_later(PUMP_SECONDS, self._pump)
            self._on_failure(error)
            return
        self._pumping = self._outstanding > 0
        if self._pumping:
            self._loop.call_later(PUMP_SECONDS, self._pump)
        else:
            self._settled.set()

    def _listen(self) -> None:
        if not self._pumping:
            self._producer.poll(0)
        self._loop.call_later(IDLE_PUMP_SECONDS, self._listen)

    async def settle(self, timeout_seconds: float) -> int:
        """Wait until everything handed over is acknowledged; how many are not after ``timeout_seconds``."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), timeout_seconds)
        return self._outstanding


class StatusLog:
    """Writes DeliveryStatus records, keyed by the recipient."""

    def __init__(self, producer: AcknowledgedProducer, codec: Codec) -> None:
        self._producer = producer
        self._encode = codec.encoder(STATUS, RECORD)

    def write(
        self, status: Mapping[str, Any], headers: Headers = (), acknowledged: Callable[[], None] | None = None
    ) -> None:
        """Hand one status over; ``acknowledged`` is called in the event loop once Kafka has it."""
        self._producer.send(STATUS, status["recipient"].encode(), self._encode(status), headers, acknowledged)

    async def publish(self, statuses: Sequence[Mapping[str, Any]]) -> None:
        """Hand several over and wait until Kafka has them all. Raises KafkaException, BufferError."""
        loop = asyncio.get_running_loop()
        waiting: list[asyncio.Future[None]] = []
        for status in statuses:
            done: asyncio.Future[None] = loop.create_future()
            headers = [("correlation_id", status["correlation_id"])] if status["correlation_id"] else []
            headers.append(("occurred_at_ms", str(int(status["occurred_at"].timestamp() * 1000))))
            self._producer.send(
                STATUS,
                status["recipient"].encode(),
                self._encode(status),
                headers,
                partial(_resolve, done),
                partial(_reject, done),
            )
            waiting.append(done)
        await asyncio.gather(*waiting)


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():  # its request may have been given up meanwhile
        done.set_result(None)


def _reject(done: asyncio.Future[None], error: KafkaException) -> None:
    if not done.done():
        done.set_exception(error)
