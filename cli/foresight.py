"""What `luxe catalog simulate` asks and shows: an event of a file, a clinic's policy, the calendar they make."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click

from cli.policies import read_policies
from connectors.exports.event_file import EventFile
from connectors.exports.publishing import open_text
from connectors.exports.rows import MappedEvent
from connectors.postgres.policies import weekday_faults
from connectors.postgres.records import POLICY
from schemas.codec import Codec, CodecError
from schemas.registry import FileRegistry
from schemas.validation import violations
from streams.catalog import Catalog
from streams.rules.foreseen import CONDITION, NOBODY, REMEMBERED, Foreseen, Foresight, foresee
from streams.rules.local_time import clinic_time
from streams.rules.mapping import EventMapping
from streams.rules.slots import Why, times_at

SWITCHED_OFF = "type_disabled"
CORRELATION_ID = "luxe-catalog-simulate"

WHY: Mapping[str, str] = {
    Why.TOO_LATE: "too late: its time had passed when the event happened",
    Why.TOO_NEAR: "too soon after the event, which told them already",
    Why.EXPIRED: "over: it would mean nothing any more",
    Why.FIELD_EMPTY: "the event leaves the field empty that it hangs on",
    Why.NOT_HERE: "the clinic does not send it for this service",
    SWITCHED_OFF: "the clinic does not send it",
    CONDITION: "its condition is not met",
    NOBODY: "it would reach nobody",
    REMEMBERED: "reaches only those whom earlier events of the same thing named",
}
WITHDRAWS: Mapping[str, str] = {
    "none": "withdraws nothing",
    "older": "withdraws what earlier versions asked for and still waits",
    "all": "withdraws all that still waits, and closes it",
}


class EveryRole:
    """Offline nobody knows who works at the clinic: one stands for all who have a role."""

    def staff_of(self, clinic_id: str, role: str) -> tuple[str, ...]:
        """``staff:(every <role>)``."""
        return (f"staff:(every {role})",)


def read_event(path: Path, now: datetime) -> MappedEvent:
    """The one event of a file that `luxe produce` takes (``-``: standard input). Raises ClickException."""
    with sys.stdin if str(path) == "-" else open_text(path, "utf-8-sig") as file:
        rows = list(islice(EventFile(now, CORRELATION_ID).rows(file), 2))
    if len(rows) != 1:
        raise click.ClickException(f"{'several events' if rows else 'no event'} in the file; simulate one at a time")
    if rows[0].rejected is not None:
        raise click.ClickException(f"line {rows[0].line}: {rows[0].rejected}")
    return rows[0].events[0]


def policy_of(path: Path | None, clinic_id: str) -> dict[str, Any]:
    """The clinic's policy in a file as `luxe policies import` takes it; without a file the defaults. Raises ClickException."""
    listed = [] if path is None else read_policies(path)
    found = next((one for one in listed if one["clinic_id"] == clinic_id), None)
    if found is None and listed:
        raise click.ClickException(
            f"{path}: no policy for the event's clinic_id; it has {len(listed)} of other clinics"
        )
    now = datetime.now(UTC)
    draft = {"clinic_id": clinic_id, "name": "", "time_zone": "UTC", **(found or {})}
    draft |= {"version": 1, "wrapped_key": b"", "updated_at": now, "updated_by": ""}
    codec = Codec(FileRegistry())
    try:
        filled = codec.decode_bare(POLICY, codec.encode_bare(POLICY, draft))
    except CodecError as error:
        raise click.ClickException(f"{path}: {error}") from None
    for violation in (*violations(POLICY, filled), *weekday_faults(filled)):
        raise click.ClickException(f"{path}: {violation}")
    return filled


def simulated(catalog: Catalog, event: MappedEvent, now: datetime, policy: Mapping[str, Any]) -> Foresight:
    """The event's calendar at a clinic. Raises MappingError, UnknownZoneError; ClickException for what no record can hold."""
    mapping = EventMapping(event.event_type, catalog)
    codec = Codec(FileRegistry())
    try:
        # As intake gets it.
        happened = codec.decode(codec.encode(mapping.topic, mapping.record, event.value)).value
    except CodecError as error:
        raise click.ClickException(str(error)) from None
    times = times_at(round(now.timestamp() * 1000))
    found = foresee(catalog, mapping, happened, EveryRole(), times, clinic_time(policy))
    # What the clinic does not send is asked for all the same, and suppressed when it is decided.
    off = frozenset(policy["disabled_types"])
    switched_off = (one._replace(why=SWITCHED_OFF) for one in found.calendar if one.notification_type in off)
    return found._replace(
        calendar=tuple(one for one in found.calendar if one.notification_type not in off),
        not_sent=(*found.not_sent, *switched_off),
    )


def as_json(event: Mapping[str, Any], found: Foresight, now: datetime) -> dict[str, Any]:
    """For programs: instants in the zone of the event's dates, with their offset."""

    def local(instant: datetime | None) -> str | None:
        return None if instant is None else instant.astimezone(found.where).isoformat(timespec="seconds")

    def row(one: Foreseen) -> dict[str, Any]:
        return {
            "notification_type": one.notification_type,
            "occurrence": one.occurrence,
            "recipients": list(one.recipients),
            "due_at": local(one.due_at),
            "by_their_clocks": one.their_clocks,
            "expires_at": local(one.expires_at),
        }

    return {
        "event_type": event["event_type"],
        "aggregate_id": event["aggregate_id"],
        "time_zone": found.where.key,
        "now": local(now),
        "sent": [row(one) for one in found.calendar],
        "not_sent": [row(one) | {"why": one.why, "fields": list(one.fields)} for one in found.not_sent],
        "withdraws": {"what": found.withdrawn.what, "types": list(found.withdrawn.types)},
    }


def as_lines(event: Mapping[str, Any], found: Foresight, now: datetime) -> Iterator[str]:
    """For people: one line an occurrence, in the zone of the event's dates."""

    def local(instant: datetime | None) -> str:
        return "" if instant is None else _shown(instant.astimezone(found.where))

    yield f"{event['event_type']} {event['aggregate_id']}, times in {found.where.key}, where it is {local(now)}"
    rows = [
        (_due(one, local(one.due_at)), _name(one), _to(one), f"until {local(one.expires_at) or 'for ever'}")
        for one in found.calendar
    ]
    yield from _columns(rows)
    if found.not_sent:
        yield "not sent:"
        yield from _columns([(f"  {_name(one)}", _why(one, local(one.due_at))) for one in found.not_sent])
    what, types = found.withdrawn
    yield WITHDRAWS[what] + (f": {', '.join(types)}" if types else "")


def _shown(wall: datetime) -> str:
    """Seconds only where there are some; the offset tells summer time from winter time."""
    clock = f"{wall:%H:%M}" if wall.second == 0 else f"{wall:%H:%M:%S}"
    return f"{wall:%a %Y-%m-%d} {clock} {wall.isoformat()[-6:]}"


def _due(one: Foreseen, local: str) -> str:
    if one.their_clocks:
        return local[:-7] + ", their clocks"
    return local or "at once"


def _name(one: Foreseen) -> str:
    return f"{one.notification_type} #{one.occurrence + 1}" if one.occurrence else one.notification_type


def _to(one: Foreseen) -> str:
    first = ", ".join(one.recipients[:3])
    return first if len(one.recipients) <= 3 else f"{first} and {len(one.recipients) - 3} more"


def _why(one: Foreseen, due: str) -> str:
    told = WHY[one.why] + (f" ({', '.join(one.fields)})" if one.fields else "")
    return f"{told}; due {due}" if due else told


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Padded to the widest of each column, the last one excepted."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]) - 1)] if rows else []
    for row in rows:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
