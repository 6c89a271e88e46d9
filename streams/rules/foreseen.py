"""The calendar that one event causes, told before it happens: what is sent when, what is not and why, what is withdrawn.

Asked of the compiled rules that intake runs, so it cannot say anything else than what intake would do.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from streams.catalog import Catalog
from streams.catalog_model import Trigger, Withdraws
from streams.rules.audience import Recipients, Roster
from streams.rules.local_time import ClinicTime, LocalTime, local_time
from streams.rules.mapping import CompiledEntry, EventMapping
from streams.rules.moments import Anchors, compile_conditions
from streams.rules.slots import Skipped, Times, Why

CONDITION, NOBODY, REMEMBERED = "condition_not_met", "nobody", "earlier_recipients_only"
"""Why an entry calls for nothing, beside ``slots.Why``. The last: it reaches only those whom earlier events named."""


class Foreseen(NamedTuple):
    """One occurrence. ``why`` empty: it is sent to ``recipients``, at ``due_at`` or (None) at once.

    ``their_clocks``: what the zone's clocks show at ``due_at`` is meant by each recipient's own.
    ``why`` given: it is not; ``due_at`` is when it would have been due, where that can be said, and ``fields`` names the event's
    fields whose condition does not hold. Times are UTC.
    """

    notification_type: str
    occurrence: int
    recipients: Recipients
    due_at: datetime | None
    expires_at: datetime | None
    why: str = ""
    fields: tuple[str, ...] = ()
    their_clocks: bool = False


class Withdrawn(NamedTuple):
    """What an event withdraws. ``types``: those that can be waiting for such an aggregate."""

    what: Withdraws
    types: tuple[str, ...]


class Foresight(NamedTuple):
    """``where``: the zone in which the event's dates are read. ``calendar``: by time, what is at once first."""

    where: ZoneInfo
    calendar: tuple[Foreseen, ...]
    not_sent: tuple[Foreseen, ...]
    withdrawn: Withdrawn


def foresee(
    catalog: Catalog, mapping: EventMapping, event: Mapping[str, Any], roster: Roster, times: Times, clinic: ClinicTime
) -> Foresight:
    """What intake would make of the event, were it the first of its aggregate. Raises MappingError, UnknownZoneError."""
    requests = mapping.map(event, None, roster, times, clinic).requests
    local = local_time(event, clinic)
    sent: dict[tuple[str, int, datetime | None, datetime | None, bool], list[str]] = {}
    for request in requests:
        if request["kind"] == "notify":
            times_of = (request["due_at"], request["expires_at"], request["due_zone"] is not None)
            sent.setdefault((request["notification_type"], request["occurrence"], *times_of), []).append(
                request["recipient"]
            )
    rows = [
        Foreseen(name, number, tuple(told), due_at, expires_at, _over(due_at, expires_at, times), their_clocks=theirs)
        for (name, number, due_at, expires_at, theirs), told in sent.items()
    ]
    rows += _not_called_for(mapping, event, roster, times, local)
    calendar = sorted((row for row in rows if not row.why), key=lambda row: row.due_at or times.now)
    return Foresight(
        local.where, tuple(calendar), tuple(row for row in rows if row.why), _withdrawn(catalog, mapping.event_type)
    )


def _over(due_at: datetime | None, expires_at: datetime | None, times: Times) -> str:
    """What is asked for at once and over already is decided, and suppressed."""
    return Why.EXPIRED if due_at is None and expires_at is not None and expires_at <= times.now else ""


def _not_called_for(
    mapping: EventMapping, event: Mapping[str, Any], roster: Roster, times: Times, local: LocalTime
) -> list[Foreseen]:
    anchors: Anchors = {}
    rows = []
    for entry in mapping.entries_for(event):
        name = entry.base["notification_type"]
        if entry.holds is not None and not entry.holds(event):
            rows.append(Foreseen(name, 0, (), None, None, CONDITION, _failing(entry.trigger, event)))
            continue
        recipients = entry.audience(event, roster, (), ())
        if not recipients:
            rows.append(Foreseen(name, 0, (), None, None, _nobody(entry)))
            continue
        for occurrence, slot_of in enumerate(mapping.slots_for(entry, event, local)):
            slot = slot_of(event, local, anchors, times)
            if isinstance(slot, Skipped):
                rows.append(Foreseen(name, occurrence, recipients, slot.due_at, None, slot.why))
    return rows


def _failing(trigger: Trigger, event: Mapping[str, Any]) -> tuple[str, ...]:
    tests = {name: compile_conditions({name: condition}) for name, condition in trigger.when.items()}
    return tuple(name for name, holds in tests.items() if holds is not None and not holds(event))


def _nobody(entry: CompiledEntry) -> str:
    audience = entry.trigger.audience
    return REMEMBERED if audience.remembered or audience.former else NOBODY


def _withdrawn(catalog: Catalog, event_type: str) -> Withdrawn:
    """Types that hang on a time, of events about the same kind of aggregate, are what can be waiting."""
    what = catalog.event(event_type).withdraws
    if what == "none":
        return Withdrawn(what, ())
    about = event_type.partition(".")[0] + "."
    waiting = (
        kind.name
        for kind in catalog.types.values()
        if any(trigger.event.startswith(about) and trigger.timing != "immediate" for trigger in kind.triggers)
    )
    return Withdrawn(what, tuple(waiting))
