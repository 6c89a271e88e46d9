"""The .ics file of every type that carries one: parsed back, across summer time, at an email's ceiling."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dateutil.tz import tzical
from hypothesis import example, given
from hypothesis import strategies as st
from icalendar import Calendar, vCalAddress
from icalendar.parser import Contentline, Parameters

from schemas.events import EVENT_TYPES
from streams.catalog import Catalog
from streams.catalog_model import CalendarFile
from streams.render import calendar
from streams.render.ceilings import AboveCeilingError, TemplateError
from streams.render.variables import Facts, event_fields
from streams.rules.event_fields import names_of
from streams.rules.person import Person

CATALOG = Catalog.load()
NOW = datetime(2026, 2, 1, 17, 0, tzinfo=UTC)
CLINIC: dict[str, Any] = {
    "name": "Luxe, Spa; & Co",
    "phone": "(555) 010-0100",
    "address": "1 Main Street\nSuite 2",
    "time_zone": "America/New_York",
    "service_names": {"Botox": "cosmetic treatment"},
    "generic_service_name": "appointment",
    "currency": "USD",
}
CARRIERS = [(name, trigger.event) for name, kind in CATALOG.types.items() if kind.calendar for trigger in kind.triggers]
REQUEST = CalendarFile(method="request")
CREATED = EVENT_TYPES["appointment.created"].record


def facts(event: dict[str, Any], locale: str = "en-US") -> Facts:
    return Facts(event, Person("patient:1", 1, first_name="Ana"), CLINIC, "A-1", locale, "America/New_York")


def occasion(version: int = 3, **changes: Any) -> calendar.Occasion:
    base = calendar.Occasion("c1", "A-1", version, "ana@mail.example", "care@luxe.example", NOW)
    return base._replace(**changes)


def event_of(record: str, day: date, clock: str, **fields: Any) -> dict[str, Any]:
    known = event_fields(record)
    said: dict[str, Any] = {"service": "Botox", "provider": "Dr. Kim", "duration": 45, "time_zone": None, **fields}
    for wanted, found in (("appointment_date", day), ("appointment_time", clock)):
        said[next(name for name in names_of(wanted) if name in known)] = found
    return said


def entry(content: bytes) -> tuple[Any, Any]:
    whole = Calendar.from_ical(content)
    return whole, whole.walk("VEVENT")[0]


def made(record: str, file: CalendarFile, event: dict[str, Any], told: calendar.Occasion, locale: str = "en-US") -> Any:
    make = calendar.bound_to(record, file, "type x")
    assert make is not None
    (attachment,) = make(facts(event, locale), told)
    return attachment


@pytest.mark.parametrize(("name", "event_type"), CARRIERS)
@pytest.mark.parametrize("day", [date(2026, 3, 7), date(2026, 3, 8), date(2026, 10, 31), date(2026, 11, 1)])
def test_every_type_that_carries_one(name: str, event_type: str, day: date) -> None:
    record = EVENT_TYPES[event_type].record
    file = CATALOG.types[name].calendar
    assert file is not None
    attachment = made(record, file, event_of(record, day, "14:30"), occasion())
    method = file.method.upper()
    assert attachment["content_type"] == f"text/calendar; method={method}"
    whole, told = entry(attachment["content"])
    assert (whole["method"], told["status"]) == (method, "CANCELLED" if method == "CANCEL" else "CONFIRMED")
    begins = datetime.combine(day, time(14, 30), ZoneInfo("America/New_York"))
    assert told["dtstart"].params["tzid"] == "America/New_York"
    assert told["dtstart"].dt.astimezone(UTC) == begins.astimezone(UTC)
    assert told["dtend"].dt - told["dtstart"].dt == timedelta(minutes=60)  # never the appointment's own 45
    assert told["uid"] == calendar.uid("c1", "A-1")
    assert told["sequence"] == 3
    assert told["organizer"] == "mailto:care@luxe.example"
    assert told["attendee"] == "mailto:ana@mail.example"
    assert told["summary"] == "Appointment at Luxe, Spa; & Co"
    assert told["location"] == "Luxe, Spa; & Co, 1 Main Street\nSuite 2"
    assert told["description"] == "cosmetic treatment\nDr. Kim\n(555) 010-0100"
    assert b"Botox" not in attachment["content"]


def test_only_emails_of_appointments_carry_one() -> None:
    assert {name for name, _ in CARRIERS} == {
        "appointment_confirmation",
        "appointment_rescheduled",
        "appointment_cancelled",
        "appointment_entry_removed",
        "appointment_restored",
        "appointment_reminder_48h",
        "appointment_reminder_24h",
        "appointment_reminder_2h",
    }
    assert calendar.bound_to("luxe.events.NotificationRequested", REQUEST, "x") is None
    with pytest.raises(TemplateError, match="no date and time"):
        calendar.bound_to("luxe.events.PaymentReceived", REQUEST, "x")


def test_the_event_s_zone_stands_before_the_clinic_s_and_the_title_is_in_the_reader_s_language() -> None:
    event = event_of(CREATED, date(2026, 7, 1), "09:00", time_zone="America/Los_Angeles")
    _, told = entry(made(CREATED, REQUEST, event, occasion(), "es-MX")["content"])
    assert told["dtstart"].dt == datetime(2026, 7, 1, 9, tzinfo=ZoneInfo("America/Los_Angeles"))
    assert told["summary"] == "Cita en Luxe, Spa; & Co"


def test_one_without_a_time_has_none() -> None:
    make = calendar.bound_to(CREATED, REQUEST, "x")
    assert make is not None
    assert make(facts({**event_of(CREATED, date(2026, 7, 1), "09:00"), "appointment_time": None}), occasion()) == []


def test_a_field_above_the_ceiling_refuses_the_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "_TOLD", ("service",))
    with pytest.raises(AboveCeilingError):
        calendar.bound_to(CREATED, REQUEST, "x")


def test_changes_of_one_appointment_are_changes_of_one_entry() -> None:
    assert calendar.uid("c1", "A-1") == calendar.uid("c1", "A-1")
    assert len({calendar.uid(*pair) for pair in (("c1", "A-1"), ("c2", "A-1"), ("c1", "A-2"), ("c", "1A-1"))}) == 4


@given(st.lists(st.integers(0, 2**31 - 1) | st.integers(1_700_000_000_000, 3_600_000_000_000), min_size=2))
def test_sequence_rises_with_the_version_and_fits(versions: list[int]) -> None:
    for producer in (
        [one for one in versions if one < 2**31],
        [one for one in versions if one >= 2**31],
    ):
        numbers = [calendar.sequence(one) for one in sorted(producer)]
        assert numbers == sorted(numbers)
        assert all(0 <= number < 2**31 for number in numbers)


@given(
    st.dates(date(2024, 1, 1), date(2035, 12, 31)),
    st.times().map(lambda found: f"{found:%H:%M}"),
    st.sampled_from(
        ["America/New_York", "America/Los_Angeles", "America/Phoenix", "Europe/Madrid", "Australia/Lord_Howe", "UTC"]
    ),
    st.text(max_size=200).filter(str.isprintable),
)
@example(date(2026, 11, 1), "01:30", "America/New_York", "Dr. Sam")
@example(date(2026, 4, 5), "01:45", "Australia/Lord_Howe", "Dr. Sam")
def test_every_hour_of_the_year_reads_back(day: date, clock: str, zone: str, provider: str) -> None:
    """By the file's own VTIMEZONE, as a program without the zone's name reads it."""
    event = event_of(CREATED, day, clock, time_zone=zone, provider=provider)
    content = made(CREATED, REQUEST, event, occasion())["content"]
    assert all(len(line) <= 75 for line in content.split(b"\r\n"))
    _, told = entry(content)
    begins = datetime.combine(day, time.fromisoformat(clock), ZoneInfo(zone)).astimezone(UTC)
    own = tzical(StringIO(content.decode().split("BEGIN:VEVENT")[0] + "END:VCALENDAR\r\n")).get()
    for field, moment in (("dtstart", begins), ("dtend", begins + timedelta(minutes=60))):
        wall = told[field].dt
        # The second of autumn's two equal hours has no name on a wall clock: it is written as an instant.
        read = wall if wall.tzname() == "UTC" else wall.replace(tzinfo=own)
        assert read.astimezone(UTC) == moment
    assert told["description"] == "\n".join(part for part in ("cosmetic treatment", provider, "(555) 010-0100") if part)


@given(st.text("abcXYZ019.+_-@", max_size=200) | st.emails())
def test_the_guests_line_is_icalendars_own(address: str) -> None:
    params = Parameters({"ROLE": "REQ-PARTICIPANT", "PARTSTAT": "ACCEPTED", "RSVP": "FALSE"})
    line = Contentline.from_parts("ATTENDEE", params, vCalAddress(f"mailto:{address}")).to_ical()
    make = calendar.bound_to(CREATED, REQUEST, "test")
    assert make is not None
    told = facts(event_of(CREATED, date(2026, 3, 2), "14:00"))
    assert line + b"\r\n" in make(told, occasion(to=address))[0]["content"]
