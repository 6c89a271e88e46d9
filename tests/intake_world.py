"""Intake without a broker: the real agent on the data plane's real batches, its tables in dictionaries, its store in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from connectors.sealing import DataKey, open_sealed, seal
from schemas.codec import Codec
from schemas.events import EVENT_TYPES
from schemas.registry import FileRegistry
from schemas.topics import POLICIES, RECIPIENTS, REQUESTED
from streams.catalog import Catalog
from streams.intake import intake_on
from streams.roster import StaffRoster
from streams.runtime import Batch, Output, Record
from streams.runtime.clients import TransactionalProducer
from streams.runtime.metrics import Metrics
from streams.runtime.store import Store
from streams.runtime.timers import DueIndex
from tests.notify_world import Collector, MemoryStore, World, new_ring
from tests.unit.rules.events import NOW

NOW_MS = int(NOW.timestamp() * 1000)
CONTENT: dict[str, Any] = {
    "first_name": "Sarah",
    "phones": [{"e164": "+15551234567", "verified": True, "label": "mobile"}],
    "emails": [{"address": "sarah@example.com", "verified": True}],
    "devices": [{"token": "device-1", "platform": "ios", "registered_at": NOW}],
    "preferences": None,
    "consents": [],
}
CATALOG = Catalog.load()


class IntakeWorld:
    """One partition of intake. Clinic `clinic-1` is in New York; staff s1 (staff) and boss (admin) work there.

    ``beside``: a world of notify whose tables it shares, and then its own clinic and people are added to those.
    """

    def __init__(self, folder: Path, beside: World | None = None) -> None:
        self.codec = beside.codec if beside else Codec(FileRegistry())
        self.ring = beside.ring if beside else new_ring(folder)
        self.recipients: dict[bytes, bytes] = beside.recipients if beside else {}
        self.policies: dict[bytes, bytes] = beside.policies if beside else {}
        self.keys: dict[str, DataKey] = beside.keys if beside else {}
        self.roster = StaffRoster(self.codec)
        self.store = MemoryStore()
        self.metrics = Metrics()
        self.now_ms = NOW_MS
        self._offset = 0
        self.intake, self.dead_letters = intake_on(
            self.codec, self.ring, CATALOG, recipients=self.recipients, policies=self.policies, roster=self.roster
        )
        self.add_policy("*", "UTC")
        self.add_policy("clinic-1", "America/New_York")
        self.add_recipient("patient:p1")
        self.add_recipient("staff:s1", roles=["staff"])
        self.add_recipient("staff:boss", roles=["admin"])

    def add_policy(self, clinic_id: str, time_zone: str) -> None:
        """A clinic, with a strangers key."""
        wrapped, self.keys[f"clinic:{clinic_id}"] = self.ring.new_data_key(f"clinic:{clinic_id}", clinic_id)
        policy = {"clinic_id": clinic_id, "version": 1, "name": "Luxe", "time_zone": time_zone, "wrapped_key": wrapped}
        self.policies[clinic_id.encode()] = self.codec.encode(
            POLICIES, "luxe.pipeline.ClinicPolicy", policy | {"updated_at": NOW}
        )

    def add_recipient(self, recipient: str, *, roles: list[str] | None = None, active: bool = True) -> None:
        """A patient or staff member with a data key of their own."""
        wrapped, key = self.ring.new_data_key(recipient, "clinic-1")
        self.keys[recipient] = key
        content = self.codec.encode_content("luxe.pipeline.RecipientContent", CONTENT)
        record = {
            "recipient": recipient,
            "kind": recipient.partition(":")[0],
            "clinic_id": "clinic-1",
            "version": 1,
            "roles": roles or [],
            "active": active,
            "wrapped_key": wrapped,
            "updated_at": NOW,
            "sealed": seal(key, "Recipient", recipient, content),
        }
        value = self.codec.encode(RECIPIENTS, "luxe.pipeline.Recipient", record)
        self.recipients[recipient.encode()] = value
        self.roster.changed(recipient.encode(), value)

    def record(self, event: Mapping[str, Any], **changes: Any) -> Record:
        """An event as it lies in its topic; ``changes``: topic, key, value or headers instead of the right ones."""
        contract = EVENT_TYPES[event["event_type"]]
        self._offset += 1
        return Record(
            changes.get("topic", contract.topic),
            0,
            self._offset,
            changes.get("key", event["aggregate_id"].encode()),
            changes["value"] if "value" in changes else self.codec.encode(contract.topic, contract.record, event),
            self.now_ms,
            changes.get("headers", ()),
        )

    def work(self, *records: Record) -> list[Output]:
        """One batch with these records and what is due; its outputs in their order."""
        producer = Collector()
        store = cast(Store, self.store)
        index = DueIndex(store)
        batch = Batch(
            0,
            list(records),
            index.due(self.now_ms, 1000),
            self.now_ms,
            changelog="intake-state",
            store=store,
            producer=cast(TransactionalProducer, producer),
            dead_letter=self.dead_letters,
            metrics=self.metrics,
        )
        self.intake.work(batch)
        batch.send_held()
        self.store.write([*batch._overlay.items(), *batch._due_changes.items()])
        return producer.outputs

    def ask(self, *events: Mapping[str, Any]) -> list[Output]:
        """One batch with these events."""
        return self.work(*(self.record(event) for event in events))

    def requests(self, outputs: list[Output]) -> list[dict[str, Any]]:
        """The requests among outputs, decoded."""
        return [self.codec.decode(output.value).value for output in outputs if output.topic == REQUESTED]

    def opened(self, request: Mapping[str, Any], key: str) -> dict[str, Any]:
        """The event sealed in a request, opened with the key of a subject."""
        content = open_sealed(self.keys[key], "NotificationRequest", request["notification_id"], request["sealed"])
        return self.codec.decode(content).value
