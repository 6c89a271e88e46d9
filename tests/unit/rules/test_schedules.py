"""Business days, hours of the day, jitter, and what comes too soon after its event: each against a plain second opinion."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.events import EVENT_TYPES
from streams.catalog_model import Audience, Expiry, Timing, Trigger
from streams.rules.event_fields import event_fields
from streams.rules.local_time import LocalTime, OpenDays, clinic_time
from streams.rules.slots import Skipped, Slot, Why, compile_slots, spread, times_at
from streams.rules.timing import Duration, on_other_clocks
from tests.unit.rules.events import event

FIELDS = event_fields(EVENT_TYPES["appointment.created"].record)
START = ("appointment_date", "appointment_time")
ZONES = [ZoneInfo(name) for name in ("America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "UTC")]
DAYS = st.dates(date(2020, 1, 1), date(2035, 1, 1))
WEEKDAYS = st.sets(st.integers(1, 7), min_size=1)
CLOCKS = st.times().map(lambda clock: clock.replace(second=0, microsecond=0))
WEEK = OpenDays({1, 2, 3, 4, 5}, ())


def _trigger(timing: Timing, expiry: Expiry) -> Trigger:
    return Trigger(
        event="appointment.created", timing=(timing,), expiry=(expiry,), audience=Audience(patient="patient_id")
    )


def _slot(
    timing: Timing,
    local: LocalTime,
    *,
    booked: datetime,
    day: date = date(2026, 7, 1),
    clock: str = "14:00",
    expiry: Expiry | None = None,
    now: datetime | None = None,
) -> Slot | Skipped:
    (slot_of,) = compile_slots(_trigger(timing, expiry or Expiry(of=START, after=Duration(days=30))), FIELDS)
    made = event("appointment.created", appointment_date=day, appointment_time=clock, occurred_at=booked)
    return slot_of(made, local, {}, times_at(round((now or booked).timestamp() * 1000)))


# Business days


@given(DAYS, st.integers(1, 60), st.sampled_from([1, -1]), WEEKDAYS, st.sets(DAYS, max_size=20), st.data())
def test_the_nth_business_day_has_n_of_them_up_to_it(
    day: date, count: int, direction: int, weekdays: set[int], far: set[date], data: st.DataObject
) -> None:
    near = data.draw(st.sets(st.integers(-40, 40).map(lambda ahead: day + timedelta(days=ahead)), max_size=10))
    open_days = OpenDays(weekdays, far | near)
    found = open_days.counted(day, count, direction)
    between = (day + timedelta(days=direction * ahead) for ahead in range(1, abs((found - day).days) + 1))
    assert [one for one in between if one.isoweekday() in weekdays and one not in far | near][-1:] == [found]
    others = (day + timedelta(days=direction * ahead) for ahead in range(1, 2000))
    naive = (one for one in others if one.isoweekday() in weekdays and one not in far | near)
    assert next(islice(naive, count - 1, None)) == found


@given(DAYS, st.sampled_from([1, -1]), WEEKDAYS)
def test_none_of_them_is_the_day_itself_or_the_nearest(day: date, direction: int, weekdays: set[int]) -> None:
    found = OpenDays(weekdays, ()).counted(day, 0, direction)
    assert found.isoweekday() in weekdays
    assert 0 <= (found - day).days * direction < 7
    if day.isoweekday() in weekdays:
        assert found == day


def test_a_clinic_that_is_open_on_no_weekday_counts_every_day() -> None:
    assert OpenDays((), ()).counted(date(2026, 7, 4), 3, -1) == date(2026, 7, 1)
    assert clinic_time({"time_zone": "UTC", "open_weekdays": [0, 9], "holidays": [], "timings": []}).open_days.is_open(
        date(2026, 7, 5)
    )


@pytest.mark.parametrize(
    ("weekdays", "holidays", "day"),
    [
        ({1, 2, 3, 4, 5}, (), date(2026, 7, 8)),
        ({1, 2, 3, 4, 5, 6}, (), date(2026, 7, 9)),  # Saturday counts where the clinic is open
        ({1, 2, 3, 4, 5}, (date(2026, 7, 10),), date(2026, 7, 7)),
        ({1, 2, 3, 4, 5, 6, 7}, (), date(2026, 7, 10)),
    ],
)
def test_three_business_days_before_a_monday(weekdays: set[int], holidays: tuple[date, ...], day: date) -> None:
    local = LocalTime(ZONES[0], OpenDays(weekdays, holidays))
    timing = Timing(of=START, before=Duration(days=3), days="business")
    slot = _slot(timing, local, booked=datetime(2026, 6, 1, tzinfo=UTC), day=date(2026, 7, 13))
    assert isinstance(slot, Slot)
    assert slot.due_at is not None
    found = slot.due_at.astimezone(ZONES[0])
    assert (found.date(), found.time()) == (day, time(14))


# Hours, jitter


@given(
    DAYS,
    CLOCKS,
    st.sampled_from(ZONES),
    st.tuples(CLOCKS, CLOCKS).filter(lambda hours: hours[0] < hours[1]),
    st.integers(1, 6 * 60),
    st.uuids(),
)
def test_jitter_stays_within_the_hours_the_expiry_and_itself(
    day: date, clock: time, where: ZoneInfo, hours: tuple[time, time], minutes: int, identity: Any
) -> None:
    span = (hours[1].hour - hours[0].hour) * 60 + hours[1].minute - hours[0].minute
    assume(minutes <= span)
    local = LocalTime(where, WEEK)
    plain = Timing(of=START, before=Duration(days=2), not_before=hours[0], not_after=hours[1])
    spread_out = plain.model_copy(update={"jitter": Duration(seconds=minutes * 60)})
    expiry = Expiry(of=START, before=Duration(days=1, seconds=20 * 3600))
    booked = datetime.combine(day, time(), UTC) - timedelta(days=10)
    bare = _slot(plain, local, booked=booked, day=day, clock=f"{clock:%H:%M}", expiry=expiry)
    slot = _slot(spread_out, local, booked=booked, day=day, clock=f"{clock:%H:%M}", expiry=expiry)
    if isinstance(slot, Skipped):
        assert slot.why == Why.EXPIRED
        return
    assert slot.due_at is not None
    due_at = slot.due_at + spread(str(identity), slot.spread_seconds)
    assert slot.expires_at is not None
    assert due_at < slot.expires_at
    wall = due_at.astimezone(where)
    # Where a clock goes back, an hour comes twice; these zones change between 1 and 3 at night.
    assume(not hours[0] <= time(3) and not hours[1] <= time(3))
    assert hours[0] <= wall.time() <= hours[1]
    if isinstance(bare, Slot):
        assert bare.due_at is not None
        assert abs(due_at - bare.due_at) <= timedelta(minutes=minutes)


def test_jitter_spreads_a_crowd_and_not_one_notification() -> None:
    ids = [str(uuid4()) for _ in range(500)]
    assert len({spread(one, 3600) for one in ids}) > 300
    assert all(timedelta() <= spread(one, 60) <= timedelta(seconds=60) for one in ids)
    assert {spread(one, 0) for one in ids} == {timedelta()}
    assert all(spread(one, 3600) == spread(one, 3600) for one in ids)


def test_what_was_brought_back_to_the_last_hour_is_spread_before_it() -> None:
    timing = Timing(
        of=START, before=Duration(days=2), not_before=time(10), not_after=time(18), jitter=Duration(seconds=3600)
    )
    slot = _slot(timing, LocalTime(ZONES[0], WEEK), booked=datetime(2026, 6, 1, tzinfo=UTC), clock="21:00")
    assert isinstance(slot, Slot)
    assert slot.due_at is not None
    assert slot.due_at.astimezone(ZONES[0]).time() == time(17)
    assert slot.spread_seconds == 3600


# Too soon after its event


@given(st.integers(1, 200), st.integers(1, 100))
def test_what_would_come_soon_after_its_event_is_not_sent(hours_ahead: int, within: int) -> None:
    where = ZONES[4]
    start = datetime(2026, 7, 1, 14, tzinfo=UTC)
    timing = Timing(of=START, before=Duration(days=1), skip_if_within=Duration(seconds=within * 3600))
    slot = _slot(timing, LocalTime(where, WEEK), booked=start - timedelta(hours=hours_ahead))
    if hours_ahead <= 24:
        assert slot == Skipped(Why.TOO_LATE, start - timedelta(days=1))
    elif hours_ahead - 24 < within:
        assert slot == Skipped(Why.TOO_NEAR, start - timedelta(days=1))
    else:
        assert isinstance(slot, Slot)


def test_hearing_late_of_an_early_booking_changes_nothing() -> None:
    start = datetime(2026, 7, 1, 14, tzinfo=UTC)
    timing = Timing(of=START, before=Duration(days=1), skip_if_within=Duration(seconds=6 * 3600))
    heard = _slot(timing, LocalTime(ZONES[4], WEEK), booked=start - timedelta(days=9), now=start - timedelta(hours=25))
    assert heard == Slot(start - timedelta(days=1), start + timedelta(days=30))


# A field that adds days


@pytest.mark.parametrize(
    ("follow_up_days", "days_after"), [(90, 83), (14, 7), (8, 1), (100_000, 3653), (-5, None), (None, None)]
)
def test_the_next_visit_is_recommended_a_week_before_it(follow_up_days: int | None, days_after: int | None) -> None:
    fields = event_fields(EVENT_TYPES["appointment.completed"].record)
    timing = Timing(of=("completed_at",), plus_days="follow_up_days", before=Duration(days=7))
    trigger = Trigger(
        event="appointment.completed",
        timing=(timing,),
        expiry=(Expiry(after=Duration(days=1)),),
        audience=Audience(patient="patient_id"),
    )
    (slot_of,) = compile_slots(trigger, fields)
    done = datetime(2026, 7, 1, 14, tzinfo=UTC)
    made = event("appointment.completed", completed_at=done, occurred_at=done, follow_up_days=follow_up_days)
    slot = slot_of(made, LocalTime(ZONES[4], WEEK), {}, times_at(round(done.timestamp() * 1000)))
    if days_after is None:
        assert isinstance(slot, Skipped)
    else:
        assert isinstance(slot, Slot)
        assert slot.due_at == done + timedelta(days=days_after)


# Each by their own clocks


def test_what_is_meant_by_their_clocks_is_told_with_the_zone_it_was_read_in() -> None:
    timing = Timing(clocks=START, after=Duration(), if_late="send_now")
    local = LocalTime(ZoneInfo("America/New_York"), WEEK)
    booked = datetime(2026, 7, 2, tzinfo=UTC)
    slot = _slot(timing, local, booked=booked, day=date(2026, 7, 1), clock="10:00")
    # Over by the event's clocks; whether it is by theirs is not known here.
    assert slot == Slot(
        datetime(2026, 7, 1, 14, tzinfo=UTC), datetime(2026, 7, 31, 14, tzinfo=UTC), by_their_clocks=True
    )


def test_an_event_that_leaves_their_clocks_empty_goes_by_its_own_instant() -> None:
    timing = Timing(of=("occurred_at",), after=Duration(seconds=3600), clocks=START, if_late="send_now")
    (slot_of,) = compile_slots(_trigger(timing, Expiry(after=Duration(days=7))), FIELDS)
    booked = datetime(2026, 7, 2, 9, tzinfo=UTC)
    made = event("appointment.created", occurred_at=booked) | {"appointment_date": None}
    slot = slot_of(made, LocalTime(ZoneInfo("UTC"), WEEK), {}, times_at(round(booked.timestamp() * 1000)))
    assert slot == Slot(booked + timedelta(hours=1), booked + timedelta(days=7, hours=1))


@given(DAYS, CLOCKS, st.sampled_from(ZONES), st.sampled_from(ZONES))
def test_clocks_there_show_what_clocks_here_would(day: date, clock: time, here: ZoneInfo, there: ZoneInfo) -> None:
    shown = datetime.combine(day, clock, here)
    assume(shown.astimezone(UTC).astimezone(here).replace(tzinfo=None) == shown.replace(tzinfo=None))
    told = on_other_clocks(shown.astimezone(UTC), here, there).astimezone(there)
    exists = told.replace(tzinfo=None) == shown.replace(tzinfo=None)
    # In a gap there, the first moment after it.
    assert exists or shown.replace(tzinfo=None) < told.replace(tzinfo=None) <= shown.replace(tzinfo=None) + timedelta(
        hours=2
    )
