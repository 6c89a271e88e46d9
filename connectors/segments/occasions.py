"""When somebody belongs to a segment: rules over what is known of a person and a day of the clinic's calendar. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from connectors.segments.definitions import Segment
from connectors.segments.facts import DEBT_FIELDS
from connectors.segments.standing import NOTHING, Fact, Standing

# Without these nothing that matters may be sent by text or email any more.
RENEWED_CONSENTS = frozenset({"sms_transactional", "email_transactional"})
# Somebody inactive, or a person's birthday: no more than so far back is asked for, whatever was missed.
LONGEST_LOOK_BACK_DAYS = 400


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why somebody is told of something. ``period``: within it once. ``due_on``: the clinic's day from which it is told.

    ``aggregate_id``: of the event; empty: the patient's own id. ``fields``: what the event says beside envelope and patient.
    ``over_on``: the last day on which it makes sense, where it has one. Prints without what it says.
    """

    period: str
    due_on: date
    fields: Mapping[str, Any]
    aggregate_id: str = ""
    aggregate_version: int | None = None
    over_on: date | None = None

    def __repr__(self) -> str:
        return "<Occasion>"


@dataclass(frozen=True, slots=True)
class Person:
    """What a selection may look at: her record (``birthday``, ``consents``) or her standing, as the selection says.

    ``consents``: type → when it ends, of those that were given.
    """

    birthday: date | None = None
    consents: Mapping[str, datetime] = field(default_factory=dict)
    standing: Standing = NOTHING

    def __repr__(self) -> str:
        return "<Person>"


class Where(NamedTuple):
    """The clinic, and its day."""

    day: date
    clinic_id: str
    zone: ZoneInfo


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


def occasions(segment: Segment, person: Person, day: date, clinic_id: str, zone: ZoneInfo) -> Iterator[Occasion]:
    """All that began on or before ``day``, not longer ago than is ever asked for. ``segment`` as the clinic wants it."""
    for one in _SELECTIONS[segment.selection](segment, person, Where(day, clinic_id, zone)):
        if timedelta(0) <= day - one.due_on <= timedelta(days=LONGEST_LOOK_BACK_DAYS):
            yield one


def verdict(segment: Segment, occasion: Occasion, day: date, last_scanned: date | None) -> Verdict | None:
    """What becomes of an occasion on a day. ``missed``: it came and passed since the last finished look; None: long over."""
    useful_until = occasion.due_on + timedelta(days=segment.useful_days)
    if day <= (useful_until if occasion.over_on is None else min(useful_until, occasion.over_on)):
        return "due"
    return "missed" if last_scanned is not None and occasion.due_on > last_scanned else None


def _birthdays(segment: Segment, person: Person, where: Where) -> Iterator[Occasion]:
    if person.birthday is None:
        return
    for year in (where.day.year - 1, where.day.year):
        kept_on = birthday_in(year, person.birthday)
        # A day of birth that lies ahead is a typing mistake; the first birthday is a year after it.
        if kept_on > person.birthday:
            fields = {"birthday": kept_on, "days_until": 0} | _offer(segment, kept_on)
            yield Occasion(str(year), kept_on, fields)


def _inactive(segment: Segment, person: Person, where: Where) -> Iterator[Occasion]:
    visited_at, day = person.standing.visited_at, where.day
    if visited_at is None or person.standing.is_booked_on_or_after(day):
        return
    last_visit = visited_at.astimezone(where.zone).date()
    due_on = last_visit + _threshold(segment)
    period = last_visit.isoformat() if segment.once_per == "absence" else str(due_on.year)
    fields = {"last_visit_date": last_visit, "days_inactive": max(1, (day - last_visit).days)} | _offer(segment, day)
    yield Occasion(period, due_on, fields)


def _credits_expiring(segment: Segment, person: Person, where: Where) -> Iterator[Occasion]:
    for membership_id, known in person.standing.of_kind("credits"):
        announced = person.standing.facts.get(f"credits_announced:{membership_id}")
        balance = Decimal(known.value["balance"])
        if known.clinic_id != where.clinic_id or balance <= 0 or (announced and announced.on == known.on):
            continue
        fields = {
            "membership_id": membership_id,
            "credits_expiring": balance,
            "balance": balance,
            "expiry_date": known.on,
            "days_left": max(0, (known.on - where.day).days),
            "tier": known.value["tier"],
        }
        period = f"{membership_id} {known.on}"
        aggregate, version = known.value["aggregate"], known.order.version
        yield Occasion(period, known.on - _threshold(segment), fields, aggregate, version, known.on)


def _balance_open(segment: Segment, person: Person, where: Where) -> Iterator[Occasion]:
    for payment_id, due in person.standing.of_kind("due"):
        owed = _owed(payment_id, due, person.standing)
        if due.clinic_id != where.clinic_id or owed <= 0 or due.value["autopay"]:
            continue
        fields = {name: due.value[name] for name in DEBT_FIELDS} | {
            "payment_id": payment_id,
            "amount": owed,
            "due_date": due.on,
            "days_overdue": (where.day - due.on).days,
        }
        period = f"{payment_id} {due.on}"
        version = _version_in_force(payment_id, due, person.standing)
        yield Occasion(period, due.on + _threshold(segment), fields, due.value["aggregate"], version)


def _version_in_force(payment_id: str, due: Fact, standing: Standing) -> int:
    """The highest version heard of the payment: intake takes what is below a part payment or a failed one for superseded."""
    later = (standing.facts.get(f"{kind}:{payment_id}") for kind in ("paid", "failed"))
    return max(due.order.version, *(0 if fact is None else fact.order.version for fact in later))


def _owed(payment_id: str, due: Fact, standing: Standing) -> Decimal:
    """What is still owed of it, as far as we are to speak of it."""
    facts = standing.facts
    plan = facts.get(f"plan:{due.value['plan_id']}")
    # Announced by the practice system itself, or a plan that is paused or over.
    if f"due_announced:{payment_id}" in facts or (plan is not None and not plan.value["stands"]):
        return Decimal()
    paid = facts.get(f"paid:{payment_id}")
    if paid is None or paid.order < due.order:
        return Decimal(due.value["amount"])
    return Decimal(paid.value["left"] or 0)


def _consents_expiring(segment: Segment, person: Person, where: Where) -> Iterator[Occasion]:
    for consent_type, ends_at in person.consents.items():
        ends_on = ends_at.astimezone(where.zone).date()
        # To ask for a consent to advertising would be advertising.
        if consent_type in RENEWED_CONSENTS:
            fields = {"consent_type": consent_type, "due_date": ends_on}
            fields |= dict.fromkeys(("appointment_id", "appointment_date", "appointment_time", "service"))
            period = f"{consent_type} {ends_on}"
            yield Occasion(period, ends_on - _threshold(segment), fields, over_on=ends_on)


def _threshold(segment: Segment) -> timedelta:
    if segment.days is None:
        raise ValueError(f"segment {segment.name} has no threshold")
    return timedelta(days=segment.days)


def _offer(segment: Segment, day: date) -> dict[str, Any]:
    offer = segment.offer
    ends_on = None if offer.days is None else day + timedelta(days=offer.days)
    return {"offer_code": offer.code, "offer_text": offer.text, "offer_ends_on": ends_on}


_SELECTIONS: Mapping[str, Callable[[Segment, Person, Where], Iterator[Occasion]]] = {
    "birthday": _birthdays,
    "inactive": _inactive,
    "credits_expiring": _credits_expiring,
    "balance_open": _balance_open,
    "consent_expiring": _consents_expiring,
}
