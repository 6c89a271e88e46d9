"""Domain events for the ClickHouse sink."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from schemas.codec import Codec
from schemas.events import EVENT_TYPES
from schemas.registry import FileRegistry


@pytest.fixture
def event_factory() -> Callable[..., tuple[str, bytes]]:
    """``event_factory(event_type, **changes)`` → event id and wire bytes; fields not given take a value of their type."""
    codec = Codec(FileRegistry())

    def make(event_type: str, **changes: Any) -> tuple[str, bytes]:
        contract = EVENT_TYPES[event_type]
        event_id = str(uuid.uuid4())
        value: dict[str, Any] = {
            "event_id": event_id,
            "event_type": event_type,
            "occurred_at": datetime(2026, 3, 1, 12, tzinfo=UTC),
            "schema_version": "1",
            "source": "test",
            "correlation_id": None,
            "clinic_id": "clinic-demo",
            "aggregate_id": "apt-1",
            "aggregate_version": 1,
            "metadata": {},
            "appointment_id": "apt-1",
            "patient_id": "p-1",
            "patient_name": "Sarah Lee",
            "patient_phone": "+15551234567",
            "patient_email": None,
            "service": "Botox",
            "provider": "Dr. Smith",
            "provider_id": "d-1",
            "appointment_date": date(2026, 3, 9),
            "appointment_time": "14:00",
            "duration": 30,
            "status": "scheduled",
            "sms_opt_in": True,
            "email_opt_in": True,
            "time_zone": None,
            "confirm_url": None,
        }
        return event_id, codec.encode(contract.topic, contract.record, value | changes)

    return make
