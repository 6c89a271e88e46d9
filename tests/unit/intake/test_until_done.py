"""What is asked of a patient until it is done, or needed no more: forms, consents, the rest of a package; each told of once."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.intake_world import NOW_MS
from tests.unit.intake.test_into_notify import AT_ITS_OLD_TIME, DAY_MS, Hops, outcomes_of
from tests.unit.rules.events import NOW, event


@pytest.fixture
def hops(tmp_path: Path) -> Hops:
    return Hops(tmp_path)


_VISIT = NOW.date() + timedelta(days=90)
_FOR_IT: dict[str, Any] = {"aggregate_id": "f1", "appointment_id": "a1", "appointment_date": _VISIT}


@pytest.mark.parametrize(
    ("asks", "nagging"), [("forms.due", "forms_reminder"), ("consent.due", "consent_form_reminder")]
)
@pytest.mark.parametrize("restored", [False, True], ids=["called off", "stands again"])
def test_what_is_for_a_visit_is_reminded_of_as_long_as_the_visit_stands(
    hops: Hops, asks: str, nagging: str, restored: bool
) -> None:
    """A form is a thing of its own, with versions of its own: it does not hear of what becomes of the visit."""
    visit: dict[str, Any] = {"appointment_id": "a1", "appointment_date": _VISIT}
    hops.tell(event("appointment.created", **visit), event(asks, **_FOR_IT))
    told = [event("appointment.cancelled", version=2, **visit)]
    if restored:
        told.append(event("appointment.restored", version=3, **visit, **AT_ITS_OLD_TIME))
    hops.tell(*told)
    fired = hops.notify.work(now_ms=NOW_MS + 89 * DAY_MS + DAY_MS // 8)  # other marks are forgotten by then
    ends = Counter(
        (one["outcome"], one["reason"]) for one in hops.notify.decisions(fired) if one["notification_type"] == nagging
    )
    assert set(ends) == ({("deliver", "deliver")} if restored else {("suppress", "cancelled")})
    assert ends.total() == 2


@pytest.mark.parametrize(
    ("asks", "nagging"), [("forms.due", "forms_reminder"), ("consent.due", "consent_form_reminder")]
)
def test_a_form_that_comes_after_the_visit_was_called_off_is_not_told(hops: Hops, asks: str, nagging: str) -> None:
    hops.tell(event("appointment.created"), event("appointment.cancelled", version=2))
    outcomes = outcomes_of(hops, hops.tell(event(asks, **_FOR_IT)))
    assert outcomes[nagging, "suppress"] == 1
    assert outcomes[nagging, "deliver"] == 0


@pytest.mark.parametrize(
    ("asks", "nagging"), [("forms.due", "forms_reminder"), ("consent.due", "consent_form_reminder")]
)
@pytest.mark.parametrize("due_in_days", [None, 20], ids=["whenever", "by a day"])
def test_without_a_visit_it_is_asked_for_until_done(
    hops: Hops, asks: str, nagging: str, due_in_days: int | None
) -> None:
    due_date = None if due_in_days is None else NOW.date() + timedelta(days=due_in_days)
    nowhere: dict[str, Any] = {"appointment_id": None, "appointment_date": None, "appointment_time": None}
    first = outcomes_of(hops, hops.tell(event(asks, due_date=due_date, **nowhere)))
    assert first[nagging, "deliver"] == 1
    days = (outcomes_of(hops, hops.notify.work(now_ms=NOW_MS + day * DAY_MS)) for day in range(1, 31))
    assert sum(later[nagging, "deliver"] for later in days) == 2


def test_of_sessions_left_the_newest_number_is_told(hops: Hops) -> None:
    used = [event("package.session_used", version=number, sessions_remaining=5 - number) for number in (1, 2)]
    hops.tell(*used)
    outcomes = outcomes_of(hops, hops.notify.work(now_ms=NOW_MS + 29 * DAY_MS))
    assert outcomes["package_session_reminder", "deliver"] == 1


def test_an_announcement_that_is_corrected_warns_once_of_credits_that_run_out(hops: Hops) -> None:
    """Of the number that was said last; those of another day, announced meanwhile, are warned of as before."""
    ends: dict[str, Any] = {"expiry_date": NOW.date() + timedelta(days=40)}
    others = event("membership.credits_expiring", version=2, expiry_date=NOW.date() + timedelta(days=50))
    told = [event("membership.credits_expiring", version=number, **ends) for number in (1, 3)]
    hops.tell(told[0], others, told[1])
    fired = [one for day in range(1, 51) for one in hops.notify.work(now_ms=NOW_MS + day * DAY_MS)]
    said = {(one["event_id"], one["notification_id"]) for one in hops.notify.messages(fired)}
    assert Counter(event_id for event_id, _ in said) == {others["event_id"]: 3, told[1]["event_id"]: 3}
