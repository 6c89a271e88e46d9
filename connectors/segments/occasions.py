"""When somebody belongs to a segment: pure rules over what is known of a person and a day of the clinic's calendar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from connectors.segments.definitions import Segment
from connectors.segments.standing import Standing

# Somebody inactive, or a person's birthday: no more than so far back is asked for, whatever was missed.
LONGEST_LOOK_BACK_DAYS = 400


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why somebody is told of something. ``period``: within it once. ``due_on``: the clinic's day from which it is told.

    ``aggregate_id``: of the event; empty: the patient's own id. ``fields``: what the event says beside envelope and patient.
    Prints without what it says.
    """

    period: str
    due_on: date
    fields: Mapping[str, Any]
    aggregate_id: str = ""
    aggregate_version: int | None = None

    def __repr__(self) -> str:
        return "<Occasion>"


@dataclass(frozen=True, slots=True)
class Person:
    """What a selection may look at. ``birthday`` is only known where the selection asks for it."""

    birthday: date | None
    standing: Standing

    def __repr__(self) -> str:
        return "<Person>"


Verdict = Literal["due", "missed"]


def hour_has_come(now: datetime, zone: ZoneInfo, hour: int) -> bool:
    """Whether the clinic's clock shows ``hour`` or later. An hour that a change of time skips has come with the next one."""
    return now.astimezone(zone).hour >= hour


def day_to_scan(
    now: datetime, zone: ZoneInfo, hour: int, latest: date | None, *, latest_is_finished: bool
) -> date | None:
    """The clinic's day to be looked at now; None: nothing is due.

    Today once its hour has come and no later day was looked at; else today or yesterday if it is the latest, and unfinished. So
    a clock that is set back repeats nothing.
    """
    today = now.astimezone(zone).date()
    if hour_has_come(now, zone, hour) and (latest is None or today > latest):
        return today
    begun = latest is not None and not latest_is_finished
    return latest if begun and latest in (today, today - timedelta(days=1)) else None


def birthday_in(year: int, born: date) -> date:
    """The day on which it is kept in a year: who was born on 29 February keeps it on 28 February in common years."""
    try:
        return born.replace(year=year)
    except ValueError:
        return date(year, 2, 28)


def occasions(segment: Segment, person: Person, day: date, zone: ZoneInfo) -> Iterator[Occasion]:
    """All that began on or before ``day``, not longer ago than is ever asked for. ``segment`` as the clinic wants it."""
    for one in _SELECTIONS[segment.selection](segment, person, day, zone):
        if timedelta(0) <= day - one.due_on <= timedelta(days=LONGEST_LOOK_BACK_DAYS):
            yield one


def verdict(segment: Segment, occasion: Occasion, day: date, last_scanned: date | None) -> Verdict | None:
    """What becomes of an occasion on a day. ``missed``: it came and passed since the last finished look; None: long over."""
    if day <= occasion.due_on + timedelta(days=segment.useful_days):
        return "due"
    return "missed" if last_scanned is not None and occasion.due_on > last_scanned else None


def _birthdays(segment: Segment, person: Person, day: date, _: ZoneInfo) -> Iterator[Occasion]:
    if person.birthday is None:
        return
    for year in (day.year - 1, day.year):
        kept_on = birthday_in(year, person.birthday)
        # A day of birth that lies ahead is a typing mistake; the first birthday is a year after it.
        if kept_on > person.birthday:
            fields = {"birthday": kept_on, "days_until": 0} | _offer(segment, kept_on)
            yield Occasion(str(year), kept_on, fields)


def _inactive(segment: Segment, person: Person, day: date, zone: ZoneInfo) -> Iterator[Occasion]:
    visited_at = person.standing.visited_at
    if segment.days is None or visited_at is None or person.standing.is_booked_on_or_after(day):
        return
    last_visit = visited_at.astimezone(zone).date()
    due_on = last_visit + timedelta(days=segment.days)
    period = last_visit.isoformat() if segment.once_per == "absence" else str(due_on.year)
    fields = {"last_visit_date": last_visit, "days_inactive": max(1, (day - last_visit).days)} | _offer(segment, day)
    yield Occasion(period, due_on, fields)


def _offer(segment: Segment, day: date) -> dict[str, Any]:
    offer = segment.offer
    ends_on = None if offer.days is None else day + timedelta(days=offer.days)
    return {"offer_code": offer.code, "offer_text": offer.text, "offer_ends_on": ends_on}


_SELECTIONS: Mapping[str, Callable[[Segment, Person, date, ZoneInfo], Iterator[Occasion]]] = {
    "birthday": _birthdays,
    "inactive": _inactive,
}
