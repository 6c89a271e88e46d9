"""Who is due on which day: birthdays, absences, what runs out or is owed; the clinic's hour across changes of time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.segments.definitions import Offer, Override, Segment, load
from connectors.segments.occasions import Person, birthday_in, day_to_scan, occasions, verdict
from connectors.segments.standing import Fact, Order, Standing

NEW_YORK = ZoneInfo("America/New_York")
CLINIC = "north"
NAMED = {one.name: one for one in load()}
BIRTHDAY, INACTIVE_90, INACTIVE_180 = (NAMED[name] for name in ("birthday", "inactive_90", "inactive_180"))
DAYS = st.dates(date(1900, 1, 1), date(2100, 12, 31))


def born(day: date | None) -> Person:
    return Person(birthday=day)


def visited(at: datetime | None, booked_on: date | None = None) -> Person:
    fact = Fact(Order(1, 0, "e"), "north", booked_on or date(2026, 1, 1), {"booked": booked_on is not None})
    return Person(standing=Standing(at, {"appointment:A-1": fact}))


def due(segment: Segment, person: Person, day: date, last: date | None = None) -> list[tuple[str, str]]:
    found = [
        (one.period, verdict(segment, one, day, last)) for one in occasions(segment, person, day, CLINIC, NEW_YORK)
    ]
    return [(period, said) for period, said in found if said is not None]


@pytest.mark.parametrize(
    ("birthday", "day", "expected"),
    [
        (date(1990, 5, 6), date(2026, 5, 5), []),
        (date(1990, 5, 6), date(2026, 5, 6), [("2026", "due")]),
        (date(1990, 5, 6), date(2026, 5, 7), [("2026", "due")]),  # nothing ran yesterday: still useful
        (date(1990, 5, 6), date(2026, 5, 8), []),
        (date(1990, 12, 31), date(2027, 1, 1), [("2026", "due")]),  # last year's, across New Year
        (date(1992, 2, 29), date(2027, 2, 28), [("2027", "due")]),  # a common year: the day before
        (date(1992, 2, 29), date(2027, 3, 2), []),
        (date(1992, 2, 29), date(2028, 2, 28), []),  # a leap year: the day itself
        (date(1992, 2, 29), date(2028, 2, 29), [("2028", "due")]),
        (date(2026, 5, 6), date(2026, 5, 6), []),  # the day of birth is no birthday
        (date(2027, 5, 6), date(2026, 5, 6), []),  # a typing mistake
        (None, date(2026, 5, 6), []),
    ],
)
def test_a_birthday(birthday: date | None, day: date, expected: list[tuple[str, str]]) -> None:
    assert due(BIRTHDAY, born(birthday), day) == expected


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (None, []),  # the first look ever: what was before it is nobody's loss
        (date(2026, 5, 5), [("2026", "missed")]),  # down from the 6th to the 9th
        (date(2026, 5, 6), []),  # it was told on the day
    ],
)
def test_what_passed_while_nothing_ran_is_said(last: date | None, expected: list[tuple[str, str]]) -> None:
    assert due(BIRTHDAY, born(date(1990, 5, 6)), date(2026, 5, 9), last) == expected


@given(DAYS, st.integers(1901, 2100))
def test_a_birthday_is_told_on_one_day_a_year_when_all_goes_well(birthday: date, year: int) -> None:
    told: set[str] = set()
    days = []
    for number in range(366):
        day = date(year, 1, 1) + timedelta(days=number)
        if day.year != year:
            break
        for period, said in due(BIRTHDAY, born(birthday), day, day - timedelta(days=1)):
            assert said == "due"
            if period == str(year) and period not in told:
                told.add(period)
                days.append(day)
    assert days == ([birthday_in(year, birthday)] if year > birthday.year else [])


LAST_VISIT = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)  # the evening of 1 March in New York


@pytest.mark.parametrize(
    ("segment", "person", "day", "expected"),
    [
        (INACTIVE_90, visited(LAST_VISIT), date(2026, 5, 29), []),
        (INACTIVE_90, visited(LAST_VISIT), date(2026, 5, 30), [("2026-03-01", "due")]),
        (INACTIVE_90, visited(LAST_VISIT), date(2026, 6, 13), [("2026-03-01", "due")]),
        (INACTIVE_90, visited(LAST_VISIT), date(2026, 6, 14), []),  # a first look is no flood of those long away
        (INACTIVE_180, visited(LAST_VISIT), date(2026, 8, 28), [("2026-03-01", "due")]),
        (INACTIVE_90, visited(LAST_VISIT, date(2026, 5, 30)), date(2026, 5, 30), []),  # she comes today
        (INACTIVE_90, visited(LAST_VISIT, date(2026, 5, 29)), date(2026, 5, 30), [("2026-03-01", "due")]),
        (INACTIVE_90, visited(None), date(2026, 5, 30), []),  # never seen: nobody knows since when
    ],
)
def test_inactive(segment: Segment, person: Person, day: date, expected: list[tuple[str, str]]) -> None:
    assert due(segment, person, day) == expected


def test_a_clinic_has_its_own_threshold_and_offer() -> None:
    segment = INACTIVE_90.model_copy(
        update={"clinics": {"north": Override(days=120, offer=Offer(code="BACK", days=30))}}
    )
    assert segment.at("south") == segment
    changed = segment.at("north")
    assert (changed.days, changed.hour) == (120, INACTIVE_90.hour)
    (one,) = occasions(changed, visited(LAST_VISIT), date(2026, 6, 29), CLINIC, NEW_YORK)
    assert one.fields["offer_ends_on"] == date(2026, 7, 29)
    assert one.fields["days_inactive"] == 120
    by_year = INACTIVE_90.model_copy(update={"once_per": "year"})
    assert [one.period for one in occasions(by_year, visited(LAST_VISIT), date(2026, 5, 30), CLINIC, NEW_YORK)] == [
        "2026"
    ]


EXPIRES, DUE_ON = date(2026, 6, 30), date(2026, 6, 1)


def fact(on: date, version: int = 1, clinic_id: str = CLINIC, **value: Any) -> Fact:
    return Fact(Order(version, 0, "e"), clinic_id, on, value)


def credits(**changes: Any) -> Fact:
    value: dict[str, Any] = {"on": EXPIRES, "aggregate": "M-1", "balance": "40.00", "tier": "Gold"}
    return fact(**value | changes)


@pytest.mark.parametrize(
    ("facts", "day", "expected"),
    [
        ({"credits:M-1": credits()}, date(2026, 5, 30), []),
        ({"credits:M-1": credits()}, date(2026, 5, 31), [("M-1 2026-06-30", "due")]),
        ({"credits:M-1": credits()}, date(2026, 6, 28), [("M-1 2026-06-30", "due")]),
        ({"credits:M-1": credits()}, date(2026, 7, 1), []),
        ({"credits:M-1": credits(balance="0.00")}, date(2026, 5, 31), []),
        ({"credits:M-1": credits(clinic_id="south")}, date(2026, 5, 31), []),
        ({"credits:M-1": credits(), "credits_announced:M-1": fact(EXPIRES)}, date(2026, 5, 31), []),
        (  # what was announced were the month's before
            {"credits:M-1": credits(), "credits_announced:M-1": fact(date(2026, 5, 31))},
            date(2026, 5, 31),
            [("M-1 2026-06-30", "due")],
        ),
    ],
)
def test_credits_that_run_out(facts: dict[str, Fact], day: date, expected: list[tuple[str, str]]) -> None:
    assert due(NAMED["credits_expiring"], Person(standing=Standing(None, facts)), day) == expected


def test_what_runs_out_before_it_is_told_is_missed() -> None:
    short = NAMED["credits_expiring"].model_copy(update={"days": 3})
    person = Person(standing=Standing(None, {"credits:M-1": credits()}))
    assert due(short, person, EXPIRES, date(2026, 6, 1)) == [("M-1 2026-06-30", "due")]
    assert due(short, person, EXPIRES + timedelta(days=1), date(2026, 6, 1)) == [("M-1 2026-06-30", "missed")]


def debt(**changes: Any) -> Fact:
    value: dict[str, Any] = {"aggregate": "P-1", "amount": "120.00", "autopay": False} | dict.fromkeys(
        ("currency", "kind", "invoice_id", "plan_id", "appointment_id", "payment_url")
    )
    return fact(**value | {"on": DUE_ON} | changes)


@pytest.mark.parametrize(
    ("facts", "amount"),
    [
        ({"due:P-1": debt()}, "120.00"),
        ({"due:P-1": debt(autopay=True)}, None),
        ({"due:P-1": debt(clinic_id="south")}, None),
        ({"due:P-1": debt(), "paid:P-1": fact(DUE_ON, 2, left=None)}, None),
        ({"due:P-1": debt(), "paid:P-1": fact(DUE_ON, 2, left="20.00")}, "20.00"),
        ({"due:P-1": debt(version=3), "paid:P-1": fact(DUE_ON, 2, left=None)}, "120.00"),  # owed anew
        ({"due:P-1": debt(), "due_announced:P-1": fact(DUE_ON)}, None),
        ({"due:P-1": debt(plan_id="N-1")}, "120.00"),
        ({"due:P-1": debt(plan_id="N-1"), "plan:N-1": fact(DUE_ON, stands=True)}, "120.00"),
        ({"due:P-1": debt(plan_id="N-1"), "plan:N-1": fact(DUE_ON, stands=False)}, None),
    ],
)
def test_a_balance_that_is_open(facts: dict[str, Fact], amount: str | None) -> None:
    segment, person = NAMED["balance_open_7"], Person(standing=Standing(None, facts))
    assert due(segment, person, date(2026, 6, 7)) == []
    assert due(segment, person, date(2026, 6, 16)) == []
    found = list(occasions(segment, person, date(2026, 6, 8), CLINIC, NEW_YORK))
    assert [str(one.fields["amount"]) for one in found] == ([] if amount is None else [amount])
    assert all((one.fields["days_overdue"], one.aggregate_id) == (7, "P-1") for one in found)


@pytest.mark.parametrize(
    ("later", "version"),
    [
        ({}, 3),
        ({"paid:P-1": fact(DUE_ON, 2, left="20.00")}, 3),  # before it was said what is due
        ({"paid:P-1": fact(DUE_ON, 5, left="20.00")}, 5),
        ({"paid:P-1": fact(DUE_ON, 5, left="20.00"), "failed:P-1": fact(DUE_ON, 6)}, 6),
        ({"failed:P-2": fact(DUE_ON, 6)}, 3),
    ],
)
def test_what_is_left_is_told_as_the_newest_that_was_heard_of_the_payment(later: dict[str, Fact], version: int) -> None:
    person = Person(standing=Standing(None, {"due:P-1": debt(version=3)} | later))
    (one,) = occasions(NAMED["balance_open_7"], person, date(2026, 6, 8), CLINIC, NEW_YORK)
    assert one.aggregate_version == version


def test_consents_that_end() -> None:
    ends = datetime(2026, 7, 1, 2, tzinfo=UTC)  # the evening of 30 June in New York
    kinds = ("sms_transactional", "sms_marketing", "portal_notifications")
    person, segment = Person(consents=dict.fromkeys(kinds, ends)), NAMED["consent_expiring"]
    assert due(segment, person, date(2026, 5, 30)) == []
    assert due(segment, person, date(2026, 5, 31)) == [("sms_transactional 2026-06-30", "due")]
    assert due(segment, person, date(2026, 7, 1)) == []


@given(DAYS, st.lists(st.integers(1, 40), min_size=1, max_size=40), st.integers(0, 28))
def test_with_gaps_of_any_length_each_occasion_is_told_or_missed_and_never_both(
    birthday: date, gaps: list[int], useful_days: int
) -> None:
    segment = BIRTHDAY.model_copy(update={"useful_days": useful_days})
    first = day = birthday + timedelta(days=365 * 3)
    last: date | None = None
    told: list[str] = []
    missed: list[str] = []
    for gap in gaps:
        for period, said in due(segment, born(birthday), day, last):
            if said == "missed":
                missed.append(period)
            elif period not in told:
                told.append(period)
        last, day = day, day + timedelta(days=gap)
    assert last is not None
    expected = [str(year) for year in range(first.year, last.year + 1) if first < birthday_in(year, birthday) <= last]
    assert len(told + missed) == len({*told, *missed})
    assert {*expected} <= {*told, *missed}


# 8 March 2026: 02:00 to 03:00 is skipped in New York; 1 November: 01:00 to 02:00 comes twice.
SPRING, AUTUMN = date(2026, 3, 8), date(2026, 11, 1)


@pytest.mark.parametrize(
    ("now", "hour", "latest", "finished", "expected"),
    [
        ("2026-06-01T09:59:00Z", 6, None, False, None),
        ("2026-06-01T10:00:00Z", 6, None, False, date(2026, 6, 1)),
        ("2026-06-01T10:00:00Z", 6, date(2026, 6, 1), True, None),
        ("2026-06-01T10:00:00Z", 6, date(2026, 6, 1), False, date(2026, 6, 1)),  # was interrupted
        ("2026-06-02T05:00:00Z", 6, date(2026, 6, 1), False, date(2026, 6, 1)),  # and the night came
        ("2026-06-03T05:00:00Z", 6, date(2026, 6, 1), False, None),  # too long ago: today's look has it
        ("2026-06-02T10:00:00Z", 6, date(2026, 6, 1), False, date(2026, 6, 2)),
        ("2026-06-01T10:00:00Z", 6, date(2026, 6, 2), True, None),  # the clock was set back
        ("2026-06-01T10:00:00Z", 6, date(2026, 6, 2), False, None),
        ("2026-06-01T03:59:00Z", 0, date(2026, 5, 31), True, None),
        ("2026-06-01T04:00:00Z", 0, date(2026, 5, 31), True, date(2026, 6, 1)),
        ("2026-03-08T06:59:00Z", 2, date(2026, 3, 7), True, None),  # 01:59, then 03:00
        ("2026-03-08T07:00:00Z", 2, date(2026, 3, 7), True, SPRING),
        ("2026-11-01T04:59:00Z", 1, date(2026, 10, 31), True, None),
        ("2026-11-01T05:00:00Z", 1, date(2026, 10, 31), True, AUTUMN),  # the first 01:00
        ("2026-11-01T06:00:00Z", 1, AUTUMN, True, None),  # the second
    ],
)
def test_the_day_to_be_looked_at(
    now: str, hour: int, latest: date | None, finished: bool, expected: date | None
) -> None:
    assert day_to_scan(datetime.fromisoformat(now), NEW_YORK, hour, latest, latest_is_finished=finished) == expected


@given(
    st.lists(st.integers(-3, 30), min_size=1, max_size=60),
    st.sampled_from(["America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]),
    st.integers(0, 23),
)
def test_a_day_is_looked_at_once_however_the_clock_steps(steps: list[int], zone_name: str, hour: int) -> None:
    zone, now = ZoneInfo(zone_name), datetime(2026, 3, 1, tzinfo=UTC)
    done: list[date] = []
    for step in steps:
        now += timedelta(hours=step)
        day = day_to_scan(now, zone, hour, done[-1] if done else None, latest_is_finished=True)
        if day is not None:
            done.append(day)
    assert done == sorted(set(done))
