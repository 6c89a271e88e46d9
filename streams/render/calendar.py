"""The ``.ics`` file of an appointment's email: RFC 5545, with the methods of RFC 5546. Pure.

icalendar builds what many messages share (calendar, time zone, clinic), once each; the few lines that differ are put between.
Measured: 9 µs an email that carries one, 500 µs where the library builds it whole; nothing for a type that has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from icalendar import Calendar, Event, Timezone, vCalAddress, vText
from icalendar.parser import Contentline, Parameters

from streams.catalog_model import CalendarFile
from streams.render import email
from streams.render.ceilings import TemplateError, check
from streams.render.variables import KNOWN, RECORDS_WITH_DATA, Facts, declared, event_fields, resolver, value
from streams.rules.event_fields import names_of
from streams.rules.timing import WALLS_CACHED, known_zone, zone

FILENAME = "appointment.ics"
PRODUCT = "-//Luxe Notify//appointments//EN"
# Whose names our UIDs are: a UUID of the clinic and the appointment, the same for ever.
_UIDS = UUID("6f4b7f0e-6a55-5d0e-9f5c-2f3d8b1c7a44")
# SEQUENCE has 31 bits; a producer without versions sends milliseconds since 1970: as seconds since 2020 they fit until 2088.
MAX_SEQUENCE = 2**31 - 1
SECONDS_TO_2020 = 1_577_836_800
# Clinics × zones × years × languages × methods.
FRAMES_CACHED = 4_096
# Calendars are shared with others: the title names the clinic alone, the description says what an email's body may.
_TOLD = ("service_generic", "provider", "clinic_phone")
_PLACE = ("clinic_name", "clinic_address")

Make = Callable[[Facts, "Occasion"], "list[dict[str, Any]]"]


class Occasion(NamedTuple):
    """What a file needs beside the facts. ``organizer``: the address that the clinic writes from."""

    clinic_id: str
    aggregate_id: str
    aggregate_version: int
    to: str
    organizer: str
    now: datetime


def sequence(version: int) -> int:
    """The SEQUENCE of an aggregate's version: rises with it. Two versions in one second are told apart by DTSTAMP."""
    return version if version <= MAX_SEQUENCE else min(max(version // 1000 - SECONDS_TO_2020, 0), MAX_SEQUENCE)


def uid(clinic_id: str, aggregate_id: str) -> str:
    """The UID of an appointment: the same in every file about it."""
    return f"{uuid5(_UIDS, f'{len(clinic_id)}:{clinic_id}:{aggregate_id}')}@luxe-notify"


def bound_to(record: str, file: CalendarFile, where: str) -> Make | None:
    """What makes the file (luxe.pipeline.Attachment) of events of this record; None: asked for by hand, it is of no appointment.

    Raises TemplateError: no date and time in them, or above the ceiling of an email's body.
    """
    if record in RECORDS_WITH_DATA:
        return None
    fields = event_fields(record)
    day = next((name for name in names_of("appointment_date") if name in fields), None)
    clock = next((name for name in names_of("appointment_time") if name in fields), None)
    if day is None or clock is None:
        raise TemplateError(f"{where}: calendar: {record} has no date and time of an appointment")
    names = [name for name in (*_TOLD, *_PLACE) if name in KNOWN or name in fields]
    variables = {name: found for name in (*names, day, clock) if (found := declared(name, record)) is not None}
    check("email", "body", {name: variable.level for name, variable in variables.items()}, f"{where}: calendar")
    resolvers = {name: resolver(name, record, variables[name].type) for name in names}
    minutes = timedelta(minutes=file.minutes)

    def make(facts: Facts, occasion: Occasion) -> list[dict[str, Any]]:
        if facts.event[day] is None or facts.event[clock] is None:
            return []  # an old appointment whose time the producer no longer knows
        said = {name: value(name, resolve, facts) for name, resolve in resolvers.items()}
        where_it_is = zone(known_zone(facts.event.get("time_zone")) or facts.clinic["time_zone"])
        year, times = _times(facts.event[day], facts.event[clock], where_it_is, minutes)
        head, tail = _frame(
            file.method,
            where_it_is,
            year,
            email.words(facts.locale)["appointment"],
            said["clinic_name"],
            ", ".join(said[name] for name in _PLACE if said[name]),
            occasion.organizer,
        )
        own = (
            f"UID:{uid(occasion.clinic_id, occasion.aggregate_id)}\r\n"
            f"SEQUENCE:{sequence(occasion.aggregate_version)}\r\n"
            f"DTSTAMP:{_stamp(occasion.now)}\r\n{times}"
        ).encode()
        description = "\n".join(text for name in _TOLD if (text := said.get(name)))
        return [
            {
                "filename": FILENAME,
                "content_type": f"text/calendar; method={file.method.upper()}",
                "content": b"".join((head, own, _attendee(occasion.to), _description(description), tail)),
            }
        ]

    return make


@lru_cache(maxsize=WALLS_CACHED)
def _times(day: date, clock: str, at: ZoneInfo, length: timedelta) -> tuple[int, str]:
    """The year and the lines of beginning and end, on that zone's clocks. An hour that summer time skips is the one after."""
    begins = datetime.combine(day, time.fromisoformat(clock), at).astimezone(UTC)
    starts_at, ends_at = begins.astimezone(at), (begins + length).astimezone(at)
    return starts_at.year, f"DTSTART{_written(starts_at)}\r\nDTEND{_written(ends_at)}\r\n"


@lru_cache(maxsize=16)  # a batch has one clock
def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _written(moment: datetime) -> str:
    """A moment's value: on the zone's clocks, but in UTC where they show that hour for the second time."""
    if moment.fold:
        return f":{_stamp(moment)}"
    return f";TZID={moment.tzinfo}:{moment:%Y%m%dT%H%M%S}"


@lru_cache(maxsize=FRAMES_CACHED)
def _frame(
    method: str, at: ZoneInfo, year: int, title: str, clinic_name: str, place: str, organizer: str
) -> tuple[bytes, bytes]:
    """What stands before and after the lines of one appointment."""
    calendar = Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("calscale", "GREGORIAN")
    calendar.add("method", method.upper())
    calendar.add_component(
        Timezone.from_tzinfo(at, at.key, first_date=date(year - 1, 1, 1), last_date=date(year + 2, 1, 1))
    )
    event = Event()
    event.add("summary", title.replace("CLINIC", clinic_name))
    event.add("location", place)
    event.add("status", "CANCELLED" if method == "cancel" else "CONFIRMED")
    event.add("class", "PRIVATE")
    event.add("transp", "TRANSPARENT" if method == "cancel" else "OPAQUE")
    sender = vCalAddress(f"mailto:{organizer}")
    sender.params["CN"] = vText(clinic_name)
    event["organizer"] = sender
    calendar.add_component(event)
    whole: bytes = calendar.to_ical()
    end = b"END:VEVENT\r\n"
    before, _, after = whole.rpartition(end)
    return before, end + after


# She booked it: nothing is asked of her calendar program but to note it. Parameters by their names, as icalendar has them.
_GUEST = "ATTENDEE;PARTSTAT=ACCEPTED;ROLE=REQ-PARTICIPANT;RSVP=FALSE:mailto:"
# Addresses whose line only wants folding: nothing in them is escaped or takes two bytes.
_PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9.+_@-]*").fullmatch
# A line's first octets, and those of each line it goes on in, which a space begins (RFC 5545, 3.1; icalendar folds there too).
_LINE_OCTETS = 74


def _attendee(address: str) -> bytes:
    if _PLAIN_ADDRESS(address) is None:
        params = Parameters({"ROLE": "REQ-PARTICIPANT", "PARTSTAT": "ACCEPTED", "RSVP": "FALSE"})
        return _line("ATTENDEE", params, vCalAddress(f"mailto:{address}"))
    line = _GUEST + address
    parts = [line[at : at + _LINE_OCTETS] for at in range(0, len(line), _LINE_OCTETS)]
    return ("\r\n ".join(parts) + "\r\n").encode()


@lru_cache(maxsize=FRAMES_CACHED)
def _description(text: str) -> bytes:
    return _line("DESCRIPTION", Parameters(), vText(text)) if text else b""


def _line(name: str, params: Parameters, said: vCalAddress | vText) -> bytes:
    """One line, escaped and folded."""
    line: bytes = Contentline.from_parts(name, params, said).to_ical()
    return line + b"\r\n"
