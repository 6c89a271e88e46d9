"""Every scheduled occurrence of every type is due at the minute that was counted by hand (due_minutes)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from schemas.events import EVENT_TYPES
from streams.catalog import Catalog
from streams.rules.adjusting import adjustments_of
from streams.rules.event_fields import event_fields
from streams.rules.local_time import ClinicTime, OpenDays, local_time
from streams.rules.mapping import CompiledEntry, EventMapping, compile_mapping
from streams.rules.slots import Skipped, Slot, Times, times_at
from tests.unit.catalog.due_minutes import AT_ONCE, CAMPAIGNS, HOLIDAYS, NEW_YORK, TABLE, Due, Row
from tests.unit.rules.events import event

CATALOG = Catalog.load()
MAPPINGS = compile_mapping(CATALOG)


class _Nobody:
    def staff_of(self, clinic_id: str, role: str) -> tuple[str, ...]:
        return ()


def _instant(local: str, zone: str) -> datetime:
    return datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def _made(row: Row) -> dict[str, Any]:
    fields = event_fields(EVENT_TYPES[row.event].record)
    given: dict[str, Any] = {
        name: _instant(value, row.zone) if value and fields[name].kind == "instant" else value
        for name, value in row.given.items()
    }
    if "time_zone" in fields:
        given["time_zone"] = row.zone
    return event(row.event, occurred_at=_instant(row.happened, row.zone), **given)


def _clinic(row: Row) -> ClinicTime:
    plain: dict[str, Any] = {"services": [], "skip": False, "offset": None, "not_before": None, "not_after": None}
    timings = adjustments_of([{**plain, **timing} for timing in row.timings])
    # In another zone than most events: theirs counts.
    return ClinicTime(NEW_YORK, OpenDays({1, 2, 3, 4, 5}, HOLIDAYS), timings)


def _entry(row: Row, made: dict[str, Any]) -> CompiledEntry:
    """The trigger of the row's type that the event meets."""
    (entry,) = (
        entry
        for entry in _mapping(row).entries_for(made)
        if entry.base["notification_type"] == row.name and (entry.holds is None or entry.holds(made))
    )
    return entry


def _mapping(row: Row) -> EventMapping:
    return MAPPINGS[EVENT_TYPES[row.event].record]


def _at(row: Row) -> Times:
    return times_at(round(_instant(row.happened, row.zone).timestamp() * 1000))


def _read(slot: Slot | Skipped, zone: str) -> Due | str:
    if isinstance(slot, Skipped):
        return str(slot.why)
    minutes, seconds = divmod(slot.spread_seconds, 60)
    assert seconds == 0
    return Due(_shown(slot.due_at, zone) if slot.due_at else AT_ONCE, minutes)


def _shown(instant: datetime, zone: str) -> str:
    wall = instant.astimezone(ZoneInfo(zone))
    assert (wall.second, wall.microsecond) == (0, 0)
    return f"{wall:%Y-%m-%d %H:%M}"


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_each_occurrence_is_due_at_its_minute(row: Row) -> None:
    made = _made(row)
    local = local_time(made, _clinic(row))
    slots = [slot_of(made, local, {}, _at(row)) for slot_of in _mapping(row).slots_for(_entry(row, made), made, local)]
    assert tuple(_read(slot, row.zone) for slot in slots) == row.due


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_intake_asks_for_it_at_that_minute(row: Row) -> None:
    requests = _mapping(row).map(_made(row), None, _Nobody(), _at(row), _clinic(row)).requests
    asked = {one["occurrence"]: one["due_at"] for one in requests if one["notification_type"] == row.name}
    expected = {number: due for number, due in enumerate(row.due) if isinstance(due, Due)}
    assert asked.keys() == expected.keys()
    for number, due in expected.items():
        if due.when == AT_ONCE:
            assert asked[number] is None
        else:
            later = asked[number] - _instant(due.when, row.zone)
            assert 0 <= later.total_seconds() <= due.spread * 60


@pytest.mark.parametrize("row", [row for row in CAMPAIGNS if "send_date" in row.given], ids=str)
def test_a_campaigns_hour_is_that_of_each_recipients_clocks(row: Row) -> None:
    requests = _mapping(row).map(_made(row), None, _Nobody(), _at(row), _clinic(row)).requests
    assert {one["due_zone"] for one in requests if one["notification_type"] == row.name} == {row.zone}


def test_every_schedule_of_the_catalogue_is_in_the_table() -> None:
    """A new type, or a trigger more of an old one, needs its minutes counted."""
    scheduled = {
        (kind.name, trigger.event, number)
        for kind in CATALOG.types.values()
        for number, trigger in enumerate(kind.triggers)
        if trigger.timing != "immediate"
    }
    held = {(row.name, row.event, _trigger_number(row)) for row in TABLE}
    assert scheduled - held == set()


def test_every_occurrence_is_in_the_table_as_one_that_is_sent() -> None:
    scheduled = {
        (kind.name, trigger.event, number, occurrence)
        for kind in CATALOG.types.values()
        for number, trigger in enumerate(kind.triggers)
        if trigger.timing != "immediate"
        for occurrence in range(len(trigger.timing))
    }
    held = {
        (row.name, row.event, _trigger_number(row), occurrence)
        for row in TABLE
        for occurrence, due in enumerate(row.due)
        if isinstance(due, Due)
    }
    assert scheduled - held == set()


def _trigger_number(row: Row) -> int:
    trigger = _entry(row, _made(row)).trigger
    return next(number for number, one in enumerate(CATALOG.types[row.name].triggers) if one is trigger)
