"""Notify without a broker: the real agent on the data plane's real batches, its tables in dictionaries, its store in memory."""

from __future__ import annotations

import base64
import json
import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

from connectors.sealing import DataKey, KeyRing, open_sealed, seal
from connectors.unsubscribing.links import Links
from schemas.codec import Codec
from schemas.ids import notification_id
from schemas.registry import FileRegistry
from schemas.topics import DECISIONS, GATES, POLICIES, RECIPIENTS, REQUESTED, STATUS, TEMPLATES, event_topic
from streams.app import notify_on
from streams.catalog import Catalog
from streams.render.sources import email_html, variables_of
from streams.runtime import Batch, Output, Record
from streams.runtime.clients import TransactionalProducer
from streams.runtime.metrics import Metrics
from streams.runtime.store import Store
from streams.runtime.timers import DueIndex
from streams.tables import Templates

CLINIC = "downtown"
CREATED = "luxe.events.AppointmentCreated"
NOW = datetime(2026, 11, 24, 15, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
CATALOG = Catalog.load()

SMS = (
    "Hi {{ first_name }}! Your appointment at {{ clinic_name }} is confirmed "
    "for {{ appointment_date }} at {{ appointment_time }}."
)
EMAIL_SUBJECT = "Your appointment at {{ clinic_name }} is confirmed"
EMAIL_BODY = """Hi {{ first_name }},

Your {{ service_generic }} with {{ provider }} is confirmed for {{ appointment_date }} at {{ appointment_time }}.

{{ portal_url }}"""


class MemoryStore:
    """What the data plane asks of its store."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self._sorted: list[bytes] | None = []

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def write(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        for key, value in changes:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
        self._sorted = None

    def items(self, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        if self._sorted is None:
            self._sorted = sorted(self.rows)
        for key in self._sorted[bisect_left(self._sorted, start) :]:
            yield key, self.rows[key]

    def first(self, start: bytes) -> bytes | None:
        return next((key for key, _ in self.items(start)), None)


class Collector:
    """A producer that keeps what it is given, in order."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []

    def check_size(self, topic: str, key: bytes | None, value: bytes | None, headers: Any) -> None:
        """Everything fits."""

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        partition: int = -1,
        headers: Any = None,
        _: Any = None,
    ) -> None:
        self.outputs.append(Output(topic, key, value, headers))


def new_ring(folder: Path) -> KeyRing:
    """A key ring of its own."""
    path = folder / "keys.json"
    secret = base64.b64encode(os.urandom(32)).decode()
    path.write_text(json.dumps({"active": "k1", "keys": {"k1": secret}, "address_secret": secret}))
    path.chmod(0o600)
    return KeyRing.load(path)


class World:
    """A clinic with recipients, texts and gates, and one partition of notify."""

    def __init__(self, folder: Path) -> None:
        self.codec = Codec(FileRegistry())
        self.ring = new_ring(folder)
        self.recipients: dict[bytes, bytes] = {}
        self.policies: dict[bytes, bytes] = {}
        self.gates: dict[bytes, bytes] = {}
        self.keys: dict[str, DataKey] = {}
        self.templates = Templates(self.codec)
        self.store = MemoryStore()
        self.now_ms = NOW_MS
        self._offset = 0
        self.worked_seconds = 0.0  # of notify's own work; what the store and these tests do is not in it
        self.notify, self.dead_letters = notify_on(
            self.codec,
            self.ring,
            CATALOG,
            recipients=self.recipients,
            policies=self.policies,
            gates=self.gates,
            templates=self.templates,
            links=Links(self.ring, "https://luxe.example", unsubscribe_days=180),
            email_from="care@luxe.example",
        )
        self.add_policy("*")
        self.add_policy(CLINIC)

    # -- tables -------------------------------------------------------------------------------------------------------

    def add_policy(self, clinic_id: str, **changes: Any) -> None:
        wrapped, key = self.ring.new_data_key(f"clinic:{clinic_id}", clinic_id)
        self.keys[f"clinic:{clinic_id}"] = key
        policy = {
            "clinic_id": clinic_id,
            "version": 1,
            "name": "Luxe Medical Spa",
            "phone": "+15550100100",
            "email": "care@luxe.example",
            "address": "1 Main Street",
            "website": "https://luxe.example",
            "portal_url": "https://portal.luxe.example",
            "booking_url": "https://luxe.example/book",
            "logo_url": None,
            "privacy_url": "https://luxe.example/privacy",
            "time_zone": "America/New_York",
            "service_names": {"Botox": "cosmetic treatment"},
            "wrapped_key": wrapped,
            "updated_at": NOW,
        }
        self.policies[clinic_id.encode()] = self.codec.encode(POLICIES, "luxe.pipeline.ClinicPolicy", policy | changes)

    def add_recipient(self, recipient: str, *, version: int = 1, active: bool = True, **content: Any) -> None:
        wrapped, key = self.ring.new_data_key(recipient, CLINIC)
        self.keys[recipient] = key
        whole = {
            "first_name": "Sarah",
            "last_name": "Lee",
            "phones": [{"e164": "+15551234567", "verified": True, "label": "mobile"}],
            "emails": [{"address": "sarah@example.com", "verified": True}],
            "preferences": None,
            "consents": [],
        } | content
        plain = self.codec.encode_content("luxe.pipeline.RecipientContent", whole)
        record = {
            "recipient": recipient,
            "kind": recipient.partition(":")[0],
            "clinic_id": CLINIC,
            "version": version,
            "active": active,
            "wrapped_key": wrapped,
            "updated_at": NOW,
            "sealed": seal(key, "Recipient", recipient, plain),
        }
        self.recipients[recipient.encode()] = self.codec.encode(RECIPIENTS, "luxe.pipeline.Recipient", record)

    def add_template(
        self,
        template_id: str,
        channel: str,
        body: str,
        *,
        subject: str | None = None,
        html: str | None = None,
        locale: str = "en",
        version: int = 1,
        status: str = "active",
        records: tuple[str, ...] = (CREATED,),
    ) -> None:
        texts = {"subject": subject, "body": body, "html": html}
        row = {
            "template_id": template_id,
            "channel": channel,
            "locale": locale,
            "version": version,
            "status": status,
            "name": template_id,
            "category": "transactional",
            **texts,
            "variables": variables_of(texts, records),
            "created_at": NOW,
            "created_by": "test",
        }
        key = f"{template_id}/{channel}/{locale}/{version}".encode()
        self.templates.changed(key, self.codec.encode(TEMPLATES, "luxe.pipeline.Template", row))

    def add_confirmation(self, template_id: str = "appointment_confirmation") -> None:
        self.add_template(template_id, "sms", SMS)
        html = email_html(EMAIL_BODY, None)
        self.add_template(template_id, "email", EMAIL_BODY, subject=EMAIL_SUBJECT, html=html)

    def add_gate(self, gate_key: str, expires_at: datetime | None = None) -> None:
        gate = {
            "gate_key": gate_key,
            "kind": gate_key.partition(":")[0],
            "reason": "manual",
            "source": "operator",
            "created_at": NOW,
            "expires_at": expires_at,
        }
        self.gates[gate_key.encode()] = self.codec.encode(GATES, "luxe.pipeline.Gate", gate)

    # -- input --------------------------------------------------------------------------------------------------------

    def created(self, number: int, patient: str = "1", **changes: Any) -> dict[str, Any]:
        """An appointment.created event."""
        return {
            "event_id": f"00000000-0000-4000-8000-{number:012d}",
            "event_type": "appointment.created",
            "occurred_at": NOW,
            "schema_version": "1",
            "source": "test",
            "correlation_id": None,
            "clinic_id": CLINIC,
            "aggregate_id": f"A-{number}",
            "aggregate_version": 1,
            "metadata": {},
            "appointment_id": f"A-{number}",
            "patient_id": patient,
            "patient_name": "Sarah Lee",
            "patient_phone": "+15551234567",
            "patient_email": "sarah@example.com",
            "service": "Botox",
            "provider": "Dr. Smith",
            "provider_id": "d1",
            "appointment_date": date(2026, 12, 24),
            "appointment_time": "14:00",
            "duration": 30,
            "status": "scheduled",
            "sms_opt_in": True,
            "email_opt_in": True,
            "time_zone": None,
            "confirm_url": None,
        } | changes

    def request(
        self,
        event: Mapping[str, Any],
        recipient: str | None = None,
        kind: str = "appointment_confirmation",
        **changes: Any,
    ) -> dict[str, Any]:
        """The request that intake makes of an event; ``record`` names the event's record."""
        record = changes.pop("record", CREATED)
        recipient = recipient or f"patient:{event['patient_id']}"
        found = CATALOG.types[kind]
        identity = notification_id(event["event_id"], kind, recipient, 0)
        request = {
            "notification_id": identity,
            "kind": "notify",
            "event_id": event["event_id"],
            "event_type": event["event_type"],
            "notification_type": kind,
            "recipient": recipient,
            "clinic_id": event["clinic_id"],
            "aggregate_type": "appointment",
            "aggregate_id": event["aggregate_id"],
            "aggregate_version": event["aggregate_version"],
            "occurrence": 0,
            "category": found.category,
            "lane": found.lane,
            "withdraws": "none",
            "due_at": None,
            "expires_at": None,
            "occurred_at": event["occurred_at"],
            "requested_at": NOW,
            "correlation_id": event["correlation_id"],
            "catalog_version": CATALOG.version,
            "sealed": None,
        } | changes
        if request["kind"] == "notify":
            wire = self.codec.encode(event_topic(event["event_type"]), record, event)
            clinic = event["clinic_id"] if event["clinic_id"].encode() in self.policies else "*"
            known = recipient.encode() in self.recipients
            key = self.keys[recipient] if known else self.keys[f"clinic:{clinic}"]
            request["sealed"] = seal(key, "NotificationRequest", request["notification_id"], wire)
        return request

    def record_of(self, request: Mapping[str, Any]) -> Record:
        wire = self.codec.encode(REQUESTED, "luxe.pipeline.NotificationRequest", request)
        return self.record(REQUESTED, request["recipient"], wire)

    def record(self, topic: str, key: str | None, value: bytes | None) -> Record:
        self._offset += 1
        headers = (("traceparent", b"00-0-0-01"), ("correlation_id", b""), ("occurred_at_ms", b"1"))
        return Record(topic, 0, self._offset, key.encode() if key else None, value, self.now_ms, headers)

    def status(self, message: Mapping[str, Any], status: str, status_at: datetime = NOW, **changes: Any) -> Record:
        """A receipt about a channel message."""
        names = (
            "delivery_id", "notification_id", "notification_type", "recipient", "clinic_id", "category", "lane",
            "channel", "step", "attempt", "occurred_at",
        )  # fmt: skip
        value = {name: message[name] for name in names} | {
            "status_id": notification_id(message["delivery_id"], status, str(status_at), 0),
            "status": status,
            "provider": "twilio",
            "status_at": status_at,
            "recorded_at": NOW,
        }
        wire = self.codec.encode(STATUS, "luxe.pipeline.DeliveryStatus", value | changes)
        return self.record(STATUS, message["recipient"], wire)

    # -- work ---------------------------------------------------------------------------------------------------------

    def work(self, *records: Record, now_ms: int | None = None) -> list[Output]:
        """One batch with these records and every due timer; its outputs."""
        self.now_ms = self.now_ms if now_ms is None else now_ms
        due = DueIndex(cast("Store", self.store))
        producer = Collector()
        batch = Batch(
            0,
            list(records),
            due.due(self.now_ms, 1000),
            self.now_ms,
            changelog="notify-state",
            store=cast("Store", self.store),
            producer=cast("TransactionalProducer", producer),
            dead_letter=self.dead_letters,
            metrics=Metrics(),
        )
        began = time.process_time()
        self.notify.work(batch)
        batch.send_held()
        self.worked_seconds += time.process_time() - began
        self.store.write([*batch._overlay.items(), *batch._due_changes.items()])
        return producer.outputs

    def ask(self, *requests: Mapping[str, Any], now_ms: int | None = None) -> list[Output]:
        """One batch with these requests."""
        return self.work(*(self.record_of(request) for request in requests), now_ms=now_ms)

    def arrive(self, outputs: Iterable[Output]) -> list[Output]:
        """One batch that says of all these messages that they arrived."""
        return self.work(*(self.status(message, "delivered") for message in self.messages(outputs)))

    # -- output -------------------------------------------------------------------------------------------------------

    def read(self, output: Output) -> dict[str, Any]:
        return self.codec.decode(output.value).value

    def decisions(self, outputs: Iterable[Output]) -> list[dict[str, Any]]:
        return [self.read(output) for output in outputs if output.topic == DECISIONS]

    def messages(self, outputs: Iterable[Output]) -> list[dict[str, Any]]:
        found = (self.codec.decode(output.value) for output in outputs if output.topic.startswith("deliver."))
        return [decoded.value for decoded in found if decoded.name == "luxe.pipeline.ChannelMessage"]

    def letters(self, outputs: Iterable[Output]) -> list[dict[str, Any]]:
        return [self.read(output) for output in outputs if output.topic == "dead-letters"]

    def content(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """What a message says, opened."""
        known = message["recipient"].encode() in self.recipients
        clinic = message["clinic_id"] if message["clinic_id"].encode() in self.policies else "*"
        key = self.keys[message["recipient"]] if known else self.keys[f"clinic:{clinic}"]
        plain = open_sealed(key, "ChannelMessage", message["delivery_id"], message["sealed"])
        return self.codec.decode_content("luxe.pipeline.MessageContent", plain)
