"""What is known of a patient does not depend on the order of events, nor on how often they come."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from connectors.segments.standing import KEEP_DAYS, MOST_FACTS, NOTHING, Standing, folded

TODAY = date(2026, 6, 1)
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def event(event_type: str, version: int, appointment: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": f"{event_type}-{appointment}-{version}",
        "event_type": event_type,
        "occurred_at": NOW + timedelta(minutes=version),
        "clinic_id": "north",
        "aggregate_version": version,
        "appointment_id": f"A-{appointment}",
        **fields,
    }


def created(version: int, on: date, appointment: int = 1) -> dict[str, Any]:
    return event("appointment.created", version, appointment, appointment_date=on)


def moved(version: int, on: date, appointment: int = 1) -> dict[str, Any]:
    return event("appointment.rescheduled", version, appointment, new_date=on)


def cancelled(version: int, on: date, appointment: int = 1) -> dict[str, Any]:
    return event("appointment.cancelled", version, appointment, appointment_date=on)


def completed(version: int, at: datetime, appointment: int = 1) -> dict[str, Any]:
    return event("appointment.completed", version, appointment, completed_at=at)


def of(*events: dict[str, Any]) -> Standing:
    standing = NOTHING
    for one in events:
        standing = folded(standing, one, TODAY)
    return standing


def member(version: int, expires: date, balance: str = "10") -> dict[str, Any]:
    fields: dict[str, Any] = {"aggregate_id": "M-1", "membership_id": "M-1", "tier": None, "expiry_date": expires}
    return event("membership.credits_added", version, new_balance=Decimal(balance), **fields)


def announced(version: int, expires: date) -> dict[str, Any]:
    return event("membership.credits_expiring", version, membership_id="M-1", expiry_date=expires)


def owed(version: int, on: date, overdue: int | None = None) -> dict[str, Any]:
    fields: dict[str, Any] = dict.fromkeys(("currency", "kind", "invoice_id", "appointment_id", "payment_url"))
    fields |= {"aggregate_id": "P-1", "payment_id": "P-1", "plan_id": "N-1", "autopay": False}
    return event("payment.due", version, amount=Decimal(5), due_date=on, days_overdue=overdue, **fields)


def paid(version: int) -> dict[str, Any]:
    return event("payment.received", version, payment_id="P-1", remaining_balance=None)


def plan(version: int, change: str) -> dict[str, Any]:
    return event("payment.plan_updated", version, plan_id="N-1", change=change)


def test_that_it_is_paid_is_known_for_as_long_as_that_it_was_due() -> None:
    far = TODAY + timedelta(days=KEEP_DAYS * 2)
    standing = of(owed(1, far), paid(2), plan(1, "cancelled"))
    for days in range(0, KEEP_DAYS * 4, 30):
        standing = folded(standing, created(1, TODAY + timedelta(days=days)), TODAY + timedelta(days=days))
        assert ("paid:P-1" in standing.facts) == ("due:P-1" in standing.facts) == ("plan:N-1" in standing.facts)
    assert "due:P-1" not in standing.facts


SOON, LATER = TODAY + timedelta(days=3), TODAY + timedelta(days=30)


def test_booked_moved_cancelled_visited() -> None:
    assert of(created(1, SOON)).is_booked_on_or_after(SOON)
    assert not of(created(1, SOON)).is_booked_on_or_after(LATER)
    assert of(created(1, SOON), moved(2, LATER)).is_booked_on_or_after(LATER)
    assert not of(created(1, SOON), cancelled(2, SOON)).is_booked_on_or_after(TODAY)
    assert of(created(1, SOON, 1), cancelled(2, SOON, 1), created(1, LATER, 2)).is_booked_on_or_after(TODAY)
    done = of(created(1, TODAY), completed(3, NOW))
    assert done.visited_at == NOW
    assert not done.is_booked_on_or_after(TODAY)


def test_an_older_change_that_comes_late_changes_nothing() -> None:
    assert of(cancelled(2, SOON), created(1, SOON)) == of(created(1, SOON), cancelled(2, SOON))
    assert of(completed(3, NOW), created(1, SOON)).visited_at == NOW


def test_what_is_long_over_goes_but_the_last_visit_stays() -> None:
    old = datetime.combine(TODAY - timedelta(days=KEEP_DAYS + 1), datetime.min.time(), UTC)
    standing = of(completed(1, old))
    assert (standing.visited_at, dict(standing.facts)) == (old, {})


def test_it_is_bounded() -> None:
    standing = of(*(created(1, TODAY + timedelta(days=number), number) for number in range(MOST_FACTS + 50)))
    assert len(standing.facts) == MOST_FACTS
    assert standing.is_booked_on_or_after(TODAY + timedelta(days=MOST_FACTS + 49))


def test_it_prints_nothing_and_comes_back_as_it_was() -> None:
    standing = of(created(1, SOON), completed(1, NOW, 2))
    assert repr(standing) == "<Standing>"
    assert Standing.decoded(standing.encoded()) == standing


DAYS = st.integers(-100, 100).map(lambda days: TODAY + timedelta(days=days))
EVENTS = st.one_of(
    st.builds(member, st.integers(1, 5), DAYS),
    st.builds(announced, st.integers(1, 5), DAYS),
    st.builds(owed, st.integers(1, 5), DAYS, st.sampled_from([None, 3])),
    st.builds(paid, st.integers(1, 5)),
    st.builds(plan, st.integers(1, 5), st.sampled_from(["paused", "resumed"])),
    st.builds(created, st.integers(1, 5), DAYS, st.integers(1, 3)),
    st.builds(moved, st.integers(1, 5), DAYS, st.integers(1, 3)),
    st.builds(cancelled, st.integers(1, 5), DAYS, st.integers(1, 3)),
    st.builds(
        completed,
        st.integers(1, 5),
        DAYS.map(lambda day: datetime(day.year, day.month, day.day, 9, tzinfo=UTC)),
        st.just(1),
    ),
)


@given(st.lists(EVENTS, max_size=12, unique_by=lambda one: one["event_id"]), st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(events: list[dict[str, Any]], chance: random.Random) -> None:
    again = events + chance.choices(events, k=len(events)) if events else []
    chance.shuffle(again)
    assert of(*again) == of(*events)
