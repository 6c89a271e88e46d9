"""Inboxes with something in them, for the API's tests; and what makes other processes' connections look."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Message

from connectors.inbox_changes import InboxChanges
from connectors.kafka import make_producer
from connectors.postgres import data_keys, inbox_arrivals, text_questions
from connectors.postgres.inbox_arrivals import Arrival
from connectors.postgres.pool import Pool
from connectors.postgres.recipients import Recipient, upsert_many
from connectors.postgres.records import Records
from connectors.postgres.text_questions import Question
from connectors.sealing import DataKey, seal
from connectors.settings import Settings
from connectors.statuses import AcknowledgedProducer
from schemas.topics import AGGREGATE_GATES
from streams.catalog import Catalog
from streams.render.in_app import said as behaviour
from tests.integration.api.people import CLINIC


async def person(pool: Pool, records: Records, kind: str = "patient", clinic_id: str = CLINIC) -> tuple[str, DataKey]:
    """Somebody with a key: their recipient key, and that."""
    recipient = f"{kind}:{kind[0]}-{uuid.uuid4()}"
    async with pool.connection() as connection:
        await upsert_many(connection, records, [Recipient(recipient, clinic_id, {"first_name": "Jane"})], "test")
        key = (await data_keys.find(connection, [recipient]))[recipient]
    return recipient, records.keys.get(key.wrapped, recipient, clinic_id)


def arrival(
    records: Records, recipient: str, key: DataKey, title: str = "Appointment confirmed", **changes: Any
) -> Arrival:
    """A message as the sink puts it. ``changes``: of its content (body, html, data) or of its row."""
    now = datetime.now(UTC)
    said = {
        "to": recipient,
        "to_name": None,
        "subject": title,
        "body": changes.pop("body", "Your appointment is confirmed."),
        "html": changes.pop("html", None),
        "media_urls": [],
        "data": changes.pop("data", {}),
        "headers": {},
        "attachments": [],
    }
    row: dict[str, Any] = {
        "recipient": recipient,
        "notification_id": str(uuid.uuid4()),
        "delivery_id": str(uuid.uuid4()),
        "event_id": str(uuid.uuid4()),
        "clinic_id": CLINIC,
        "notification_type": "appointment_confirmation",
        "category": "transactional",
        "lane": "high",
        "step": 0,
        "attempt": 1,
        "template_id": "appointment_confirmation",
        "template_version": 1,
        "correlation_id": None,
        "occurred_at": now,
        "group_key": "appointment:a1",
        "acknowledge": "none",
        "locale": "en",
        "expires_at": now + timedelta(days=1),
    } | changes
    content = records.codec.encode_content("luxe.pipeline.MessageContent", said)
    return Arrival(**row, sealed=seal(key, "ChannelMessage", row["delivery_id"], content))


async def asking(
    pool: Pool,
    records: Records,
    recipient: str,
    key: DataKey,
    *,
    version: int = 3,
    starts_in: timedelta = timedelta(days=2),
) -> tuple[Arrival, Question]:
    """A reminder that asks for confirmation, and its question as the sink stores it before it puts the message."""
    appointment = f"A-{uuid.uuid4()}"
    item = arrival(
        records,
        recipient,
        key,
        "See you soon",
        data=dict(behaviour(Catalog.load().types["appointment_reminder_24h"].in_app, "en")),
        notification_type="appointment_reminder_24h",
        group_key=f"appointment:{appointment}",
    )
    starts_at = datetime.now(UTC).replace(microsecond=0) + starts_in
    facts = {
        "appointment_date": starts_at.date(),
        "appointment_time": "14:00",
        "starts_at": starts_at,
        "service": "Botox Injection",
        "provider": "Dr. Smith",
        "provider_id": "prov-1",
        "duration": 45,
        "time_zone": "America/New_York",
    }
    question = Question(
        delivery_id=item.delivery_id,
        address_hash=records.ring.address_hash("in_app", recipient),
        sender_class="care",
        recipient=recipient,
        clinic_id=CLINIC,
        aggregate_type="appointment",
        aggregate_id=appointment,
        aggregate_version=version,
        correlation_id=None,
        starts_at=starts_at,
        sealed=seal(
            key,
            "AskedAppointment",
            item.delivery_id,
            records.codec.encode_content("luxe.pipeline.AskedAppointment", facts),
        ),
    )
    await text_questions.keep(pool, [question])
    return item, question


ITS_OWN = -1  # confluent_kafka's PARTITION_UA: the partition that the key says


async def overtaken(
    settings: Settings, records: Records, question: Question, version: int, partition: int = ITS_OWN
) -> int:
    """The gate that intake shuts when an appointment moves; its partition, which is its key's own if none is given."""
    key = f"aggregate:{question.clinic_id}:{question.aggregate_type}:{question.aggregate_id}"
    gate = {
        "gate_key": key,
        "kind": "aggregate",
        "reason": "superseded",
        "source": "intake",
        "aggregate_version": version,
        "created_at": datetime.now(UTC),
        "expires_at": None,
    }
    producer = make_producer(settings)
    value = records.codec.encode(AGGREGATE_GATES, "luxe.pipeline.Gate", gate)
    written: list[Message] = []
    producer.produce(
        AGGREGATE_GATES, value, key.encode(), partition, on_delivery=lambda _, message: written.append(message)
    )
    assert producer.flush(30) == 0
    return written[0].partition() or 0


class Inboxes:
    """Puts messages, and tells connections of it as the sink does."""

    def __init__(self, pool: Pool, records: Records, changes: InboxChanges) -> None:
        self.pool = pool
        self.records = records
        self._changes = changes

    async def put(self, arrivals: Sequence[Arrival], *, told: bool = True) -> None:
        placed = await inbox_arrivals.put(self.pool, self.records, arrivals)
        if told:
            await asyncio.gather(
                *(
                    self._changes.arrived(one.recipient, one.notification_id, at.version)
                    for one, at in zip(arrivals, placed, strict=True)
                )
            )


@asynccontextmanager
async def inboxes_of(settings: Settings, pool: Pool, records: Records) -> AsyncIterator[Inboxes]:
    failures: list[Exception] = []
    producer = AcknowledgedProducer(settings, on_failure=failures.append, linger_ms=0)
    yield Inboxes(pool, records, InboxChanges(producer, records.codec))
    await producer.settle(10)
    assert failures == []
