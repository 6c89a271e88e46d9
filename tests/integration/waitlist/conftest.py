"""Stores of a test's own with a clinic in them; what practice systems say; coordinators as processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.postgres import policies
from connectors.postgres.pool import Pool
from connectors.postgres.recipients import Recipient, upsert_many
from connectors.postgres.records import Records
from connectors.settings import Settings
from connectors.waitlist.keeping import SlotRows
from streams.catalog import Catalog
from streams.waitlist.coordinator import Coordinator
from tests.conftest import Stack
from tests.integration.stores import own_stores

CLINIC = "c1"
READY_SECONDS = 60.0
WINDOW = timedelta(minutes=30)


@pytest.fixture
def settings(stack: Stack, tmp_path: Path) -> Settings:
    # A busy machine's relay takes longer than a user should wait.
    patience = {"api_request_seconds": 60.0, "api_in_force_seconds": 30.0}
    return own_stores(stack, tmp_path / "state", api_requests_per_second=5_000.0, **patience)


@pytest.fixture
def rows(records: Records) -> SlotRows:
    return SlotRows(records, "http://127.0.0.1:1")


@pytest.fixture
async def coordinator(pool: Pool, records: Records, rows: SlotRows) -> Coordinator:
    """One that is told the time, on a clinic in New York."""
    await clinic(pool, records)
    return Coordinator(pool, records, Catalog.load(), rows, WINDOW)


async def clinic(pool: Pool, records: Records) -> None:
    async with pool.connection() as connection:
        for clinic_id in ("*", CLINIC):
            policy = {"clinic_id": clinic_id, "name": "Luxe", "time_zone": "America/New_York"}
            await policies.put(connection, records, policy, "test")


async def patients(pool: Pool, records: Records, *ids: str, zone: str = "America/New_York", **content: Any) -> None:
    """Patients with a telephone and an email, unless ``content`` says otherwise."""
    everybody = [
        Recipient(
            f"patient:{id_}",
            CLINIC,
            {
                "time_zone": zone,
                "phones": [{"e164": f"+1555123{1000 + number}", "verified": True}],
                "emails": [{"address": f"{number}@example.com", "verified": True}],
                "consents": [],
                **content,
            },
        )
        for number, id_ in enumerate(ids)
    ]
    async with pool.connection() as connection:
        await upsert_many(connection, records, everybody, "test")


def said(event_type: str, slot_id: str, now: datetime, *, version: int = 1, **given: Any) -> dict[str, Any]:
    """What the practice system says of a slot two days ahead."""
    event = {
        "event_id": str(uuid.uuid4()),
        "event_type": event_type,
        "occurred_at": now,
        "schema_version": "1.0",
        "source": "test",
        "correlation_id": f"c-{slot_id}",
        "clinic_id": CLINIC,
        "aggregate_id": slot_id,
        "aggregate_version": version,
        "metadata": {},
        "slot_id": slot_id,
    }
    if event_type == "waitlist.slot_withdrawn":
        return event | {"withdrawn_at": now}
    event |= {"service": "Facial", "provider": "Dr. Smith", "provider_id": None, "time_zone": None}
    event |= {"date": (now + timedelta(days=2)).date(), "time": "14:00"}
    own: dict[str, dict[str, Any]] = {
        "waitlist.slot_available": {"expires_at": now + WINDOW, "duration": 45, "claim_url": None},
        "waitlist.slot_claimed": {"claimed_at": now, "duration": 45, "appointment_id": None, "other_patients": []},
        "waitlist.slot_declined": {
            "declined_at": now,
            "next_patient_id": None,
            "keep_on_waitlist": True,
            "reason": None,
        },
    }
    return event | own[event_type] | given


def now_seconds() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


class Process:
    """A coordinator as `luxe up` runs it, under a name of its own."""

    def __init__(self, settings: Settings, name: str, **environment: str) -> None:
        self._ready = settings.state_dir / "ready" / name
        self._environment = os.environ | {
            "LUXE_STATE_DIR": str(settings.state_dir),
            "LUXE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
            "LUXE_POSTGRES_DSN": settings.postgres_dsn.get_secret_value(),
            "LUXE_SERVICE_NAME": name,
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._ready.unlink(missing_ok=True)
        self._process = subprocess.Popen([sys.executable, "-m", "streams", "coordinator"], env=self._environment)

    def ready(self) -> None:
        until(self._ready.exists, "the coordinator is ready")

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        """As `luxe down` ends it; its exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(READY_SECONDS)


@pytest.fixture
def processes(settings: Settings) -> Iterator[Callable[..., Process]]:
    """Makes coordinators; none outlives the test."""
    made: list[Process] = []

    def make(name: str, **environment: str) -> Process:
        made.append(Process(settings, name, **environment))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.kill()


def until(holds: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.05)
