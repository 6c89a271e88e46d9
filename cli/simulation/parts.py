"""How a simulation is divided: as the pipeline is, by recipient. Patients lie in so many partitions, staff in one of their own.

The number is fixed, whoever works on them and with how many processes, and so is what comes of it. What fails in any partition
alarms staff: so the clock of theirs goes behind all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from zlib import crc32

from connectors.demo.script import Happening, Wished
from streams.runtime import Output

PATIENTS = 8
STAFF = PATIENTS
_PATIENT = "patient:"


class Given(NamedTuple):
    """What the first hop gave out at one instant, ms since the epoch."""

    at_ms: int
    outputs: list[Output]


class Alarm(NamedTuple):
    """What a partition told its clinic's administrators: an event, by its key."""

    at_ms: int
    topic: str
    key: bytes
    value: bytes


def partition_of(recipient: str) -> int:
    """Where a recipient lies."""
    return crc32(recipient.encode()) % PATIENTS if recipient.startswith(_PATIENT) else STAFF


class Placed(NamedTuple):
    """What happens, and where: in its recipient's partition, or that of the patient whom an event is about; else with staff."""

    part: int
    happening: Happening


def placed(script: Iterable[Happening]) -> list[Placed]:
    """Everything that happens, in its order."""
    return [Placed(_part_of(one), one) for one in script]


def recipient_of(cells: Mapping[str, str]) -> str:
    """Whom a line of ``luxe recipients import`` is about."""
    return f"{cells.get('kind') or 'patient'}:{cells['recipient_id']}"


def _part_of(one: Happening) -> int:
    if isinstance(one, Wished):
        return partition_of(recipient_of(one.cells))
    patient_id = one.value.get("patient_id")
    return partition_of(f"{_PATIENT}{patient_id}") if patient_id else STAFF
