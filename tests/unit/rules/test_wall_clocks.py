"""Reminders lie at the right local minute: every change of clocks of 30 zones in ten years, leap days, rules that changed.

The real catalogue, the real mapping; what is right is found by an oracle that counts minutes (wall_oracle).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from schemas.events import EVENT_TYPES
from streams.catalog import Catalog
from streams.rules.local_time import ClinicTime, OpenDays
from streams.rules.mapping import EventMapping
from streams.rules.slots import times_at
from tests.unit.rules.events import event
from tests.unit.rules.wall_oracle import changes, first_minute_at_or_past, shown

MAPPING = EventMapping("appointment.created", Catalog.load())
# The clinic's zone is another than every appointment's here: the event's own counts.
CLINIC = ClinicTime("Pacific/Auckland", OpenDays({1, 2, 3, 4, 5}, ()))
FIRST, LAST = date(2017, 1, 1), date(2027, 1, 1)
ZONES = (
    *("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "America/Anchorage"),
    *("America/St_Johns", "America/Toronto", "America/Havana", "America/Santiago", "America/Asuncion"),
    *("America/Sao_Paulo", "America/Mexico_City", "America/Nuuk", "Atlantic/Azores", "Africa/Casablanca"),
    *("Africa/Cairo", "Europe/London", "Europe/Dublin", "Europe/Berlin", "Europe/Chisinau"),
    *("Europe/Istanbul", "Asia/Gaza", "Asia/Jerusalem", "Asia/Beirut", "Asia/Tehran"),
    *("Asia/Amman", "Australia/Sydney", "Australia/Lord_Howe", "Pacific/Chatham", "Pacific/Apia"),
)
# Midnight, both sides of where clocks usually jump, opening time, the last of the day.
CLOCKS = (time(0), time(0, 30), time(2, 15), time(2, 30), time(3), time(9), time(14, 45), time(23, 30))


def _due(day: date, clock: time, zone: str) -> dict[str, Any]:
    booked = datetime.combine(day, clock, UTC) - timedelta(days=40)
    made = event(
        "appointment.created",
        appointment_date=day,
        appointment_time=f"{clock:%H:%M}",
        time_zone=zone,
        occurred_at=booked,
    )
    requests = MAPPING.map(made, None, _Nobody(), times_at(int(booked.timestamp() * 1000)), CLINIC).requests
    return {request["notification_type"]: request["due_at"] for request in requests}


class _Nobody:
    def staff_of(self, clinic_id: str, role: str) -> tuple[str, ...]:
        return ()


def _hold(day: date, clock: time, zone: str) -> None:
    where = ZoneInfo(zone)
    due = _due(day, clock, zone)
    begins = first_minute_at_or_past(datetime.combine(day, clock), where)
    # What the clock shows when it begins: a time that the clock skips is the moment after.
    wall = shown(begins, where)
    told = f"{zone} {day} {clock}"
    two_days, one_day = (first_minute_at_or_past(wall - timedelta(days=days), where) for days in (2, 1))
    expected = {
        "appointment_reminder_48h": (two_days, one_day - timedelta(hours=2)),
        "appointment_reminder_24h": (one_day, begins - timedelta(hours=3)),
        "pre_care_24h": (one_day, begins - timedelta(hours=4)),
        "appointment_reminder_2h": (begins - timedelta(hours=2), begins - timedelta(minutes=15)),
        "check_in_ready": (begins - timedelta(minutes=30), begins),
    }
    # One that would be over when it is due is not sent: where a zone left out a whole day, two fall together.
    right = {name: due_at for name, (due_at, expires_at) in expected.items() if due_at < expires_at}
    assert {name: due[name] for name in expected.keys() & due.keys()} == right, told
    prepared = shown(due["pre_visit_instructions"], where)
    assert prepared.date() == (wall - timedelta(days=7)).date(), told
    assert time(10) <= prepared.time() <= time(18), told


def test_the_contract_is_the_one_that_is_mapped() -> None:
    assert EVENT_TYPES["appointment.created"].record == MAPPING.record
    assert len(set(ZONES)) == 30


@pytest.mark.parametrize("zone", ZONES)
def test_around_every_change_of_clocks_in_ten_years(zone: str) -> None:
    for number, change in enumerate(changes(ZoneInfo(zone), FIRST, LAST)):
        changed_on = change.astimezone(ZoneInfo(zone)).date()
        for ahead in (-1, 0, 1, 2, 3):
            # Another pair of times at each, so that all come round in every zone that changes often.
            for clock in (CLOCKS[(number + ahead) % len(CLOCKS)], time(9)):
                _hold(changed_on + timedelta(days=ahead), clock, zone)


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Pacific/Apia", date(2011, 12, 31)),  # the 30th was left out
        ("Pacific/Apia", date(2012, 1, 1)),
        ("Pacific/Apia", date(2021, 4, 5)),  # the last summer time
        ("Europe/Istanbul", date(2016, 10, 31)),  # summer time stayed
        ("Europe/Istanbul", date(2015, 11, 9)),  # two weeks late, for an election
        ("America/Sao_Paulo", date(2019, 2, 18)),
        ("America/Sao_Paulo", date(2019, 11, 4)),  # summer time did not come any more
        ("Africa/Casablanca", date(2026, 2, 16)),  # Ramadan: clocks go back for a month
        ("Africa/Casablanca", date(2026, 3, 23)),
        ("Asia/Gaza", date(2023, 4, 30)),
        ("Asia/Gaza", date(2023, 10, 29)),
        ("Asia/Pyongyang", date(2018, 5, 6)),  # half an hour
        ("America/Caracas", date(2016, 5, 2)),
        ("Asia/Kathmandu", date(2024, 3, 1)),
        *(
            (zone, day)
            for zone in ("America/New_York", "Asia/Kolkata")
            for day in (date(2024, 2, 29), date(2024, 3, 1), date(2028, 3, 2))
        ),
        ("UTC", date(2100, 3, 1)),  # no leap year
    ],
)
@pytest.mark.parametrize("clock", CLOCKS)
def test_zones_that_changed_their_rules_and_leap_days(zone: str, day: date, clock: time) -> None:
    _hold(day, clock, zone)


def test_a_day_that_a_zone_left_out_is_the_moment_after() -> None:
    where = ZoneInfo("Pacific/Apia")
    due = _due(date(2011, 12, 31), time(9), "Pacific/Apia")["appointment_reminder_24h"]
    assert shown(due, where).isoformat() == "2011-12-31T00:00:00"
    assert shown(due - timedelta(minutes=1), where).isoformat() == "2011-12-29T23:59:00"
