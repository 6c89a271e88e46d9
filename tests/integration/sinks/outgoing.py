"""Messages as `notify` would write them: sealed, keyed, on their lane's topic. For the sinks' tests and their benchmark."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg

from connectors.kafka import make_producer
from connectors.postgres import data_keys
from connectors.postgres.data_keys import WrappedKey
from connectors.postgres.pool import open_pool
from connectors.postgres.records import Records, clinic_subject
from connectors.sealing import DataKey, seal
from connectors.settings import Settings
from schemas.ids import delivery_id
from schemas.topics import deliver_topic

CLINIC = "clinic-sinks"
# No two messages of a run share a number: the tests count what each number was sent. (Seven random digits collide by
# the thousandth message.) Where it starts is random, for a provider that outlived an earlier run.
_NUMBERS = itertools.count(random.randrange(10**7))


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message and what is sealed in it."""

    message: dict[str, Any]
    content: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.message["delivery_id"])

    @property
    def topic(self) -> str:
        return deliver_topic(self.message["channel"], self.message["lane"])


@dataclass
class Outbox:
    """Makes recipients with keys, and messages to them."""

    settings: Settings
    records: Records
    keys: dict[str, DataKey] = field(default_factory=dict)

    @classmethod
    async def open(cls, settings: Settings) -> Outbox:
        """With the strangers keys of the system and of one clinic."""
        outbox = cls(settings, Records.open(settings))
        await outbox.make_keys([clinic_subject("*"), clinic_subject(CLINIC)])
        return outbox

    async def make_keys(self, subjects: Sequence[str]) -> None:
        """Data keys, as recipients and clinics get them when they are first stored; those that have one keep it."""
        async with open_pool(self.settings, "tests", size=1) as pool, pool.connection() as connection:
            there = await data_keys.find(connection, subjects)
            fresh = []
            for subject in subjects:
                clinic_id = subject.partition(":")[2] if subject.startswith("clinic:") else CLINIC
                if subject in there:
                    self.keys[subject] = self.records.ring.unwrap(there[subject].wrapped, subject, clinic_id)
                else:
                    wrapped, self.keys[subject] = self.records.ring.new_data_key(subject, clinic_id)
                    fresh.append(WrappedKey(subject, clinic_id, wrapped))
            await data_keys.insert(connection, fresh)

    def outgoing(
        self, channel: str, recipient: str, content: Mapping[str, Any] | None = None, **changes: Any
    ) -> Outgoing:
        """A message of a kind that nothing forbids; ``changes`` to its fields."""
        notification = changes.pop("notification_id", str(uuid.uuid4()))
        now = datetime.now(UTC)
        said = default_content(channel, recipient) | dict(content or {})
        message = {
            "delivery_id": delivery_id(notification, channel, 0),
            "notification_id": notification,
            "event_id": str(uuid.uuid4()),
            "notification_type": "appointment_confirmation",
            "recipient": recipient,
            "clinic_id": CLINIC,
            "aggregate_type": "appointment",
            "aggregate_id": str(uuid.uuid4()),
            "aggregate_version": 1,
            "category": "transactional",
            "lane": "normal",
            "channel": channel,
            "step": 0,
            "attempt": 1,
            "sender_class": "care",
            "essential": False,
            "consent_scope": "",
            "template_id": "appointment_confirmation",
            "template_version": 1,
            "locale": "en",
            "segments": 1 if channel == "sms" else 0,
            "send_not_after": None,
            "expires_at": None,
            "occurred_at": now,
            "created_at": now,
            "correlation_id": None,
        } | changes
        key = self.keys[recipient]
        message["sealed"] = seal(
            key,
            "ChannelMessage",
            message["delivery_id"],
            self.records.codec.encode_content("luxe.pipeline.MessageContent", said),
        )
        return Outgoing(message, said)

    def send(self, outgoing: Iterable[Outgoing]) -> None:
        """Write them to their topics, and wait until Kafka has them."""
        outgoing = list(outgoing)
        self._hold([one for one in outgoing if one.message["channel"] == "push"])
        self.send_as_it_is(outgoing)

    def send_as_it_is(self, outgoing: Iterable[Outgoing]) -> None:
        """The same, whosever the devices are."""
        producer = make_producer(self.settings)
        for one in outgoing:
            value = self.records.codec.encode(one.topic, "luxe.pipeline.ChannelMessage", one.message)
            producer.produce(one.topic, value, one.message["recipient"].encode(), headers=headers_of(one))
            producer.poll(0)
        assert producer.flush(30) == 0

    def _hold(self, outgoing: Sequence[Outgoing]) -> None:
        """Devices are their recipients', as the API registers them."""
        if not outgoing:
            return
        hash_of = self.records.ring.address_hash
        held = [
            (one.message["recipient"], hash_of("push", token))
            for one in outgoing
            for token in one.content["to"].split()
        ]
        with psycopg.connect(self.settings.postgres_dsn.get_secret_value()) as connection:
            cursor = connection.cursor()
            cursor.executemany(
                "INSERT INTO recipients (recipient, clinic_id, version) VALUES (%s, %s, 1) ON CONFLICT DO NOTHING",
                [(recipient, CLINIC) for recipient in {recipient for recipient, _ in held}],
            )
            cursor.executemany(
                "INSERT INTO addresses (channel, recipient, address_hash) VALUES ('push', %s, %s) ON CONFLICT DO NOTHING",
                held,
            )

    def flood(self, channel: str, lane: str, recipients: Sequence[str], count: int) -> None:
        """Write so many messages of one lane, fast: alike but for their ids and whom they are for, all to one address."""
        topic = deliver_topic(channel, lane)
        encode = self.records.codec.encoder(topic, "luxe.pipeline.ChannelMessage")
        model = self.outgoing(channel, recipients[0], lane=lane)
        content = self.records.codec.encode_content("luxe.pipeline.MessageContent", model.content)
        producer = make_producer(self.settings)
        for number in range(count):
            recipient, notification = recipients[number % len(recipients)], str(uuid.uuid4())
            ident = delivery_id(notification, channel, 0)
            message = model.message | {
                "delivery_id": ident,
                "notification_id": notification,
                "recipient": recipient,
                "sealed": seal(self.keys[recipient], "ChannelMessage", ident, content),
            }
            producer.produce(topic, encode(message), recipient.encode())
            if not number % 1_000:
                producer.poll(0)
        assert producer.flush(60) == 0

    def send_raw(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Write a record as it is."""
        producer = make_producer(self.settings)
        producer.produce(topic, value, key)
        assert producer.flush(30) == 0


def headers_of(one: Outgoing) -> list[tuple[str, str | bytes | None]]:
    """What every record of the pipeline carries."""
    return [
        ("traceparent", f"00-{uuid.uuid4().hex}-{'0' * 15}1-01"),
        ("occurred_at_ms", str(int(one.message["occurred_at"].timestamp() * 1000))),
    ]


def default_content(channel: str, recipient: str) -> dict[str, Any]:
    """An address that nobody wrote to yet, and a short text."""
    number = next(_NUMBERS)
    to = {
        "sms": f"+1415{number % 10**7:07d}",
        "email": f"patient-{number}-{uuid.uuid4().hex}@mail.example",
        "push": f"device-{number}:{uuid.uuid4().hex}",
        "in_app": recipient,
    }
    return {
        "to": to[channel],
        "to_name": None,
        "subject": None if channel == "sms" else "Your appointment",
        "body": f"Your appointment is confirmed. Ref {uuid.uuid4().int % 10**9}",
        "html": "<p>Your appointment is confirmed.</p>" if channel == "email" else None,
        "media_urls": [],
        "data": {},
        "headers": {},
        "attachments": [],
        "links": [],
        "asks": None,
        "forms": [],
    }
