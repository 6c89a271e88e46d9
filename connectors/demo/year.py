"""A made-up clinic over many days, in the order in which things happen. The same seed, the same days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any

from connectors.demo.beside import Beside
from connectors.demo.bookings import SUNDAY, Bookings
from connectors.demo.envelopes import Envelopes
from connectors.demo.minds import changes_of
from connectors.demo.people import make_patients, patient_rows, staff_rows
from connectors.demo.script import Happening, Wished


def script_of(seed: int, first: date, days: int, patients: int, appointments_a_day: int) -> list[Happening]:
    """All that happens from midnight (UTC) of ``first`` on. Appointments are booked, and so lie, up to 90 days after the last."""
    random = Random(seed)  # noqa: S311 - made-up people
    people = make_patients(random, patients)
    begins_ms = round(datetime.combine(first, time(), UTC).timestamp() * 1000)
    found: list[Happening] = [
        Wished(begins_ms, cells_of(row)) for row in (*patient_rows(random, people), *staff_rows())
    ]
    run = f"year-{seed}"
    make = Envelopes(run)
    found += changes_of(random, first, days, people)
    beside, bookings = Beside(random, run, make, people), Bookings(random, run, make, people)
    found += beside.memberships(first, days)
    for number in range(days):
        day = first + timedelta(days=number)
        share = 0.1 if day.isoweekday() == SUNDAY else random.uniform(0.7, 1.3)
        found += bookings.of_day(day, round(appointments_a_day * share))
        found += beside.of_day(day)
    found.sort(key=lambda one: one.at_ms)  # stable: what happens at once keeps its order
    return found


def cells_of(row: Mapping[str, Any]) -> dict[str, str]:
    """A row of ``luxe recipients import`` as the text of its cells."""
    return {name: _text(value) for name, value in row.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ";".join(value) if isinstance(value, list) else str(value)
