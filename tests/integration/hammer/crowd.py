"""The patients who are hammered: each changes her mind by one way, and by one channel; and the events that would reach her."""

from __future__ import annotations

import json
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import psycopg
from confluent_kafka import Producer

from cli.database import in_database
from connectors.kafka import make_producer
from connectors.postgres.recipient_file import read_recipients
from connectors.postgres.recipient_import import ImportResult, import_recipients
from connectors.postgres.records import Records
from connectors.settings import Settings
from schemas.codec import Codec
from schemas.events import EVENT_TYPES
from schemas.registry import FileRegistry

CLINIC = "clinic-demo"
RELAY_SECONDS = 120.0
NOON = 12

Channel = Literal["sms", "email"]
Way = Literal["patch", "consent", "stop", "one_click", "marketing"]
WAYS: tuple[Way, ...] = ("patch", "consent", "stop", "one_click", "marketing")
# By which channel each way's patient is reached at all, and so which one her no closes.
CHANNEL: dict[Way, Channel] = {
    "patch": "sms",
    "consent": "sms",
    "stop": "sms",
    "one_click": "email",
    "marketing": "email",
}


@dataclass(slots=True)
class Change:
    """One yes or no. Times in seconds since the epoch: when it was asked for, and when it was answered 200."""

    goes: bool
    asked: float
    answered: float = 0.0


@dataclass(slots=True)
class Patient:
    """One patient, and what she said when. ``way`` None: she never says anything, and gets what others' noise consists of."""

    number: int
    way: Way | None
    changes: list[Change] = field(default_factory=list)
    events: int = 0
    busy: bool = False

    @property
    def id(self) -> str:
        return f"h-{self.number}"

    @property
    def recipient(self) -> str:
        return f"patient:{self.id}"

    @property
    def channel(self) -> Channel:
        return CHANNEL[self.way] if self.way else "sms"

    @property
    def phone(self) -> str:
        return f"+1{212 + self.number // 100}5550{100 + self.number % 100}"

    @property
    def email(self) -> str:
        return f"hammered.{self.number}@example.com"

    @property
    def address(self) -> str:
        return self.phone if self.channel == "sms" else self.email

    @property
    def once(self) -> bool:
        """Marketing comes at most once a day: after the first one that reached her, nothing can be seen any more."""
        return self.way == "marketing"


def noon_zone() -> str:
    """A zone where it is about noon now: neither quiet hours nor the telephone rule stand against anything."""
    ahead = (NOON - datetime.now(UTC).hour + 12) % 24 - 12
    return f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT"  # their sign is the other way round


def add_patients(settings: Settings, patients: list[Patient]) -> None:
    """Imports them, who agreed to everything, and waits until they are in Kafka."""
    zone = noon_zone()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "patients.jsonl"
        file.write_text("".join(json.dumps(_row(patient, zone)) + "\n" for patient in patients))

        async def work(connection: psycopg.AsyncConnection, records: Records) -> ImportResult:
            return await import_recipients(connection, records, read_recipients(file), "hammer")

        result = in_database(settings, work)
    assert result.created == len(patients), result.problems[:1]
    deadline = time.monotonic() + RELAY_SECONDS
    with psycopg.connect(settings.postgres_dsn.get_secret_value(), autocommit=True) as connection:
        while connection.execute("SELECT 1 FROM outbox WHERE published_at IS NULL LIMIT 1").fetchone() is not None:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def _row(patient: Patient, zone: str) -> dict[str, Any]:
    by_channel: dict[str, Any] = (
        {"phone": patient.phone, "phone_verified": True, "consent.sms_transactional": "opted_in"}
        if patient.channel == "sms"
        else {
            "email": patient.email,
            "email_verified": True,
            "consent.email_transactional": "opted_in",
            "consent.email_marketing": "opted_in",
            "email_opt_in.marketing": True,
        }
    )
    return {
        "recipient_id": patient.id,
        "kind": "patient",
        "clinic_id": CLINIC,
        "first_name": "Ada",
        "last_name": f"Example {patient.number}",
        "time_zone": zone,
        "locale": "en-US",
        **by_channel,
    }


class Events:
    """Events about patients, each of which calls for one message at once."""

    def __init__(self, settings: Settings) -> None:
        self._producer: Producer = make_producer(settings, linger_ms=1)
        codec = Codec(FileRegistry())
        self._encoders = {
            name: (EVENT_TYPES[name].topic, codec.encoder(EVENT_TYPES[name].topic, EVENT_TYPES[name].record))
            for name in ("appointment.confirmed", "treatment.documented", "patient.inactive")
        }
        self.sent: dict[str, Patient] = {}

    def tell(self, patient: Patient) -> None:
        """One more event about her."""
        now = datetime.now(UTC)
        aggregate, event_id = f"{patient.id}-{patient.events}", str(uuid.uuid4())
        patient.events += 1
        name, own = _event(patient, aggregate, now)
        event = {
            "event_id": event_id,
            "event_type": name,
            "occurred_at": now,
            "schema_version": "1",
            "source": "hammer",
            "correlation_id": None,
            "clinic_id": CLINIC,
            "aggregate_id": aggregate,
            "aggregate_version": 1,
            "metadata": {},
            "patient_id": patient.id,
            **own,
        }
        topic, encode = self._encoders[name]
        self._producer.produce(topic, encode(event), aggregate.encode())
        self._producer.poll(0)
        self.sent[event_id] = patient

    def flush(self) -> None:
        assert self._producer.flush(30) == 0


def _event(patient: Patient, aggregate: str, now: datetime) -> tuple[str, dict[str, Any]]:
    if patient.way == "marketing":
        return "patient.inactive", {
            "last_visit_date": (now - timedelta(days=200)).date(),
            "days_inactive": 200,
            "offer_code": None,
            "offer_text": None,
            "offer_ends_on": None,
            "time_zone": noon_zone(),  # it keeps to the hours of the event's zone, else to the clinic's
            "booking_url": None,
        }
    if patient.way in ("patch", "one_click"):  # nothing essential: that passes preferences
        return "treatment.documented", {
            "treatment_id": aggregate,
            "appointment_id": f"{aggregate}-a",
            "provider_id": "dr-smith",
            "provider": "Dr. Smith",
            "treatment_type": "facial",
            "document_type": "chart_note",
            "documented_at": now,
            "shared_with_patient": True,
            "staff_ids": [],
            "document_url": None,
        }
    return "appointment.confirmed", {
        "appointment_id": aggregate,
        "service": "Botox",
        "provider": "Dr. Smith",
        "provider_id": "dr-smith",
        "appointment_date": (now + timedelta(days=30)).date(),
        "appointment_time": "14:00",
        "duration": 30,
        "time_zone": None,
        "confirmed_via": "portal",
        "confirmed_by": "patient",
    }


def crowd(cycling: int, once: int, noise: int) -> Iterator[Patient]:
    """``cycling`` patients of each way that can be repeated, ``once`` of the one that cannot, ``noise`` who never change."""
    ways: list[Way | None] = [way for way in WAYS if way != "marketing" for _ in range(cycling)]
    ways += ["marketing"] * once
    ways += [None] * noise
    return (Patient(number, way) for number, way in enumerate(ways))
