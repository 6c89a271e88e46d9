"""The daily look: how long 100,000 patients take, by their sealed records and by their sealed standings, and what memory."""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from connectors.postgres import policies, recipients
from connectors.postgres.migrate import migrate
from connectors.postgres.pool import connect_async
from connectors.postgres.recipients import Recipient
from connectors.postgres.records import Records
from connectors.sealing import ensure_key_ring
from connectors.segments import standings
from connectors.segments.definitions import load
from connectors.segments.runs import Tally, clinics
from connectors.segments.scanner import Look, Scanner
from connectors.segments.standing import Standing
from connectors.settings import Settings
from tests.bench.report import Figure, rate
from tests.conftest import Stack

PATIENTS = 100_000
BATCH = 500
DAY = date(2026, 5, 6)
# A clinic group's whole list within half a minute.
PATIENTS_PER_SECOND = 3_300


def figures(stack: Stack, say: Callable[[str], None]) -> list[Figure]:
    """Store them, then look at all of them twice; a minute and a half, most of it for storing."""
    with tempfile.TemporaryDirectory(prefix="luxe-bench-") as folder:
        settings = stack.settings_for(Path(folder), postgres_dsn=SecretStr(stack.new_database()))
        migrate(settings, say=lambda line: None)
        ensure_key_ring(settings)
        birthdays, inactive = asyncio.run(_looks(settings, say))
    return [
        rate("patients looked at for birthdays", [birthdays], [PATIENTS_PER_SECOND], "patients/s", 1.0),
        rate("patients looked at for absences", [inactive], [PATIENTS_PER_SECOND], "patients/s", 1.0),
    ]


async def _looks(settings: Settings, say: Callable[[str], None]) -> tuple[float, float]:
    records = Records.open(settings)
    async with await connect_async(settings, "bench") as connection:
        say(f"storing {PATIENTS:,} patients")
        async with connection.transaction():
            policy = {"clinic_id": "north", "name": "Luxe", "time_zone": "America/New_York"}
            await policies.put(connection, records, policy, "bench")
        for start in range(0, PATIENTS, BATCH):
            people = [_patient(number) for number in range(start, start + BATCH)]
            async with connection.transaction():
                await recipients.upsert_many(connection, records, people)
                seen = {person.recipient: _seen(start + place) for place, person in enumerate(people)}
                await standings.change(
                    connection,
                    records,
                    {recipient: partial(_visited, at) for recipient, at in seen.items()},
                    dict.fromkeys(seen, "north"),
                )
                await connection.execute("DELETE FROM outbox")  # nobody publishes it here
        await connection.execute("ANALYZE")
        (clinic,) = await clinics(connection)
        scanner, found = Scanner(connection, records), []
        for name in ("birthday", "inactive_90"):
            held = [_resident_mib()]
            started = time.perf_counter()
            look = Look(next(one for one in load() if one.name == name), clinic, DAY, None)
            tally = await scanner.scan(look, progress=partial(_note, held))
            seconds = time.perf_counter() - started
            say(
                f"{name}: {tally.scanned:,} in {seconds:.1f} s, {tally.emitted:,} told; "
                f"the process had {held[0]} MiB before, at most {max(held)} MiB meanwhile"
            )
            found.append(tally.scanned / seconds)
    return found[0], found[1]


def _note(held: list[int], _: Tally) -> None:
    held.append(_resident_mib())


def _resident_mib() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 2**20


def _patient(number: int) -> Recipient:
    content = {
        "first_name": "Ann",
        "birthday": date(1950, 1, 1) + timedelta(days=number % 20_000),
        "phones": [{"e164": f"+1500{number:07d}", "verified": True}],
        "emails": [{"address": f"ann.{number}@example.com", "verified": True}],
    }
    return Recipient(f"patient:{number:06d}", "north", content)


def _visited(at: datetime, _: Standing) -> Standing:
    return Standing(at)


def _seen(number: int) -> datetime:
    return datetime(2026, 5, 1, 12, tzinfo=UTC) - timedelta(days=number % 400)
