"""The made-up clinic that benchmarks run on: patients who all can be reached and agreed to everything, and their bookings."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import psycopg

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
TOPIC = "events.appointment"
PATIENTS = 500
_RELAY_TIMEOUT_SECONDS = 120.0
_AREA_CODES = 20


def phone_of(patient: int) -> str:
    """A number of its own for each patient."""
    return f"+1{212 + patient // 100 % _AREA_CODES * 10}5550{100 + patient % 100}"


def add_patients(settings: Settings) -> None:
    """Imports the patients, and waits until the relay has published them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "patients.jsonl"
        file.write_text("".join(json.dumps(_patient(number)) + "\n" for number in range(PATIENTS)))

        async def work(connection: psycopg.AsyncConnection, records: Records) -> ImportResult:
            return await import_recipients(connection, records, read_recipients(file), "bench")

        result = in_database(settings, work)
    if result.created != PATIENTS:
        raise RuntimeError(f"{result.created} of {PATIENTS} patients were stored: {result.problems[:1]}")
    deadline = time.monotonic() + _RELAY_TIMEOUT_SECONDS
    with psycopg.connect(settings.postgres_dsn.get_secret_value(), autocommit=True) as connection:
        while connection.execute("SELECT 1 FROM outbox WHERE published_at IS NULL LIMIT 1").fetchone() is not None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the relay has not published the patients within {_RELAY_TIMEOUT_SECONDS:.0f} s")
            time.sleep(0.1)


def _patient(number: int) -> dict[str, Any]:
    return {
        "recipient_id": f"p-{number}",
        "kind": "patient",
        "clinic_id": CLINIC,
        "first_name": "Ada",
        "last_name": f"Example {number}",
        "time_zone": "America/New_York",
        "locale": "en-US",
        "phone": phone_of(number),
        "phone_verified": True,
        "email": f"ada.{number}@example.com",
        "email_verified": True,
        "consent.sms_transactional": "opted_in",
        "consent.email_transactional": "opted_in",
    }


class Appointments:
    """Appointments a month ahead, each event another one. ``created`` calls for eight requests, ``confirmed`` for one."""

    def __init__(self, happened: Literal["created", "confirmed"] = "created") -> None:
        self._happened = happened
        contract = EVENT_TYPES[f"appointment.{happened}"]
        self._encode = Codec(FileRegistry()).encoder(contract.topic, contract.record)
        self._next = 0

    def take(self) -> tuple[int, bytes, bytes]:
        """Patient's number, key and value of the next event, which happens now."""
        number = self._next
        self._next += 1
        patient = number % PATIENTS
        now = datetime.now(UTC)
        appointment = f"a-{number}"
        event = {
            "event_id": f"b00c1e55-0000-4000-8000-{number:012d}",
            "event_type": f"appointment.{self._happened}",
            "occurred_at": now,
            "schema_version": "1",
            "source": "bench",
            "correlation_id": None,
            "clinic_id": CLINIC,
            "aggregate_id": appointment,
            "aggregate_version": 1,
            "metadata": {},
            "appointment_id": appointment,
            "patient_id": f"p-{patient}",
            "service": "Botox",
            "provider": "Dr. Smith",
            "provider_id": "dr-smith",
            "appointment_date": (now + timedelta(days=30)).date(),
            "appointment_time": "14:00",
            "duration": 30,
            "time_zone": None,
        }
        if self._happened == "confirmed":
            return (
                patient,
                appointment.encode(),
                self._encode(event | {"confirmed_via": "portal", "confirmed_by": "patient"}),
            )
        return patient, appointment.encode(), self._encode(event | _booked_by(patient))

    def write(self, settings: Settings, topics: list[str], events: int) -> None:
        """Appends events, the same ones to each of these topics."""
        producer = make_producer(settings, linger_ms=20, queue_buffering_max_messages=events * len(topics) + 1)
        for _, key, value in self._some(events):
            for topic in topics:
                producer.produce(topic, value, key)
            producer.poll(0)
        producer.flush()

    def _some(self, events: int) -> Iterator[tuple[int, bytes, bytes]]:
        return (self.take() for _ in range(events))


def _booked_by(patient: int) -> dict[str, Any]:
    return {
        "patient_name": f"Ada Example {patient}",
        "patient_phone": phone_of(patient),
        "patient_email": f"ada.{patient}@example.com",
        "status": "scheduled",
        "sms_opt_in": True,
        "email_opt_in": True,
        "confirm_url": None,
    }
