"""What clinics move of the catalogue's times: another offset or other hours for some services, or not at all.

The catalogue says which timings may be moved, and how far (``adjustable``); a clinic's policy moves them (``timings``). What does
not fit the catalogue any more is as good as not said: policies are checked where they are written, and catalogues change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import time
from types import MappingProxyType
from typing import Any, NamedTuple

from schemas.shapes import Violation, shape_of
from streams.catalog_model import Adjustable, NotificationType, Timing, Trigger
from streams.rules.timing import Duration, DurationError


class Adjustment(NamedTuple):
    """One line of a policy's ``timings``. ``services`` folded; none: all. ``hours`` replace the catalogue's."""

    services: frozenset[str]
    skip: bool
    offset: Duration | None
    hours: tuple[time, time] | None


Adjustments = Mapping[str, tuple[Adjustment, ...]]
"""By notification type, in the policy's order."""
NO_ADJUSTMENTS: Adjustments = MappingProxyType({})


def folded(service: str) -> str:
    """A service's name as it is compared: nobody types capitals and spaces alike twice."""
    return " ".join(service.split()).casefold()


def adjustments_of(timings: Iterable[Mapping[str, Any]]) -> Adjustments:
    """From a ClinicPolicy; what cannot be read is left out."""
    found: dict[str, tuple[Adjustment, ...]] = {}
    for row in timings:
        try:
            adjustment = _read(row)
        except ValueError:
            continue
        name = row["notification_type"]
        found[name] = (*found.get(name, ()), adjustment)
    return found or NO_ADJUSTMENTS


def first_that_fits(adjustments: Iterable[Adjustment], services: frozenset[str]) -> Adjustment | None:
    """The first for all services, or for one of these (folded)."""
    return next((one for one in adjustments if not one.services or one.services & services), None)


def adjusted(trigger: Trigger, adjustment: Adjustment) -> Trigger:
    """The trigger with its timings moved, as far as the catalogue lets them be."""
    if trigger.timing == "immediate":
        return trigger
    return trigger.model_copy(update={"timing": tuple(_moved(timing, adjustment) for timing in trigger.timing)})


def timing_faults(timings: Sequence[Mapping[str, Any]], types: Mapping[str, NotificationType]) -> Iterator[Violation]:
    """What is wrong with a policy's ``timings``, each with its path (``timings.0.offset``)."""
    for number, row in enumerate(timings):
        for field, shape, mend in _row_faults(row, types.get(row["notification_type"])):
            yield Violation(f"timings.{number}.{field}", shape, mend)


def _read(row: Mapping[str, Any]) -> Adjustment:
    """Raises ValueError."""
    earliest, latest = row["not_before"], row["not_after"]
    hours = None if earliest is None else (time.fromisoformat(earliest), time.fromisoformat(latest or ""))
    offset = None if row["offset"] is None else Duration.parse(row["offset"])
    if hours is not None and hours[0] >= hours[1]:
        raise ValueError("hours that end before they begin")
    return Adjustment(frozenset(map(folded, row["services"])), row["skip"], offset, hours)


def _moved(timing: Timing, adjustment: Adjustment) -> Timing:
    bounds = timing.adjustable
    if bounds is None:
        return timing
    changes: dict[str, Any] = {}
    if adjustment.offset is not None and _fits(adjustment.offset, bounds):
        changes["after" if timing.after is not None else "before"] = adjustment.offset
    if adjustment.hours is not None and timing.jitter_fits(*adjustment.hours):
        changes["not_before"], changes["not_after"] = adjustment.hours
    return timing.model_copy(update=changes)


def _fits(offset: Duration, bounds: Adjustable) -> bool:
    return bounds.at_least.total_seconds <= offset.total_seconds <= bounds.at_most.total_seconds


def _row_faults(row: Mapping[str, Any], kind: NotificationType | None) -> Iterator[Violation]:
    name, offset, hours = row["notification_type"], row["offset"], (row["not_before"], row["not_after"])
    timings = (
        []
        if kind is None
        else [t for trigger in kind.triggers if trigger.timing != "immediate" for t in trigger.timing]
    )
    if not timings:
        yield Violation("notification_type", shape_of(name), "name a type of docs/catalogue.md that is due at a time")
        return
    moves = offset is not None or hours != (None, None)
    if row["skip"] == moves:
        yield Violation(
            "skip", "nothing to do" if not moves else "skipped and moved", "say one: skip, or offset and hours"
        )
        return
    bounds = next((timing.adjustable for timing in timings if timing.adjustable is not None), None)
    if moves and bounds is None:
        yield Violation("notification_type", shape_of(name), "its time is the catalogue's; it can only be skipped")
        return
    if offset is not None and bounds is not None:
        try:
            fits = _fits(Duration.parse(offset), bounds)
        except DurationError:
            fits = False
        if not fits:
            yield Violation("offset", shape_of(offset), f"write a duration from {bounds.at_least} to {bounds.at_most}")
    if hours != (None, None):
        yield from _hours_faults(*hours, timings)


def _hours_faults(earliest: str | None, latest: str | None, timings: Sequence[Timing]) -> Iterator[Violation]:
    if earliest is None or latest is None:
        yield Violation("not_after" if latest is None else "not_before", "null", "give both hours, or none")
        return
    try:
        first, last = time.fromisoformat(earliest), time.fromisoformat(latest)
    except ValueError:
        return  # the schema's own check says so
    if first >= last:
        yield Violation("not_after", "not after not_before", "end them later on the same day")
    elif not all(timing.jitter_fits(first, last) for timing in timings):
        yield Violation("not_after", "shorter hours than the type is spread over", "leave an hour between them")
