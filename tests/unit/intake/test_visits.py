"""What is for a visit, and not of it, against what becomes of the visit: in any order, also where its end is heard first."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.topics import AGGREGATE_GATES
from sinks.runtime.gates import Gate, Gates, Verdict
from tests.intake_world import NOW_MS
from tests.unit.intake.test_into_notify import AT_ITS_OLD_TIME, DAY_MS, Hops, outcomes_of
from tests.unit.rules.events import NOW, event

_DAY = NOW.date() + timedelta(days=90)
_LATER_MS = NOW_MS + 89 * DAY_MS + DAY_MS // 8  # both reminders of what is for it have been due
VISIT: dict[str, Any] = {"appointment_date": _DAY}
# What each change of a visit has besides.
CHANGES: dict[str, dict[str, Any]] = {
    "created": VISIT,
    "rescheduled": {"old_date": _DAY, "new_date": _DAY},
    "cancelled": VISIT,
    "restored": VISIT | AT_ITS_OLD_TIME,
}
FOR_IT: dict[str, Any] = {"aggregate_id": "f1", "appointment_id": "a1", "appointment_date": _DAY}
NAGGING = {"forms.due": "forms_reminder", "consent.due": "consent_form_reminder"}


@dataclass(frozen=True)
class Life:
    """A visit's changes, the first of version 1; ``heard``: their numbers, and -1 for what is asked for it, as they arrive."""

    changes: tuple[str, ...]
    heard: tuple[int, ...]
    asks: str


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """Up to five changes, in any order, some twice, some never heard; and a form or a consent somewhere among them."""
    later = st.sampled_from(["rescheduled", "cancelled", "cancelled", "restored"])
    changes = ("created", *draw(st.lists(later, min_size=1, max_size=4)))
    once = draw(st.permutations(range(len(changes))))[: draw(st.integers(1, len(changes)))]
    twice = draw(st.lists(st.sampled_from(once), max_size=2))
    heard = [*once, *twice]
    heard.insert(draw(st.integers(0, len(heard))), -1)
    return Life(changes, tuple(heard), draw(st.sampled_from(sorted(NAGGING))))


def stands(life: Life, heard: tuple[int, ...]) -> bool:
    """The model: what is newest, of what was heard, says whether it stands. Of what nothing was heard, nothing is off."""
    known = [number for number in heard if number >= 0]
    return not known or life.changes[max(known)] != "cancelled"


HOPS = Hops(Path(tempfile.mkdtemp()))


@pytest.fixture
def hops() -> Hops:
    """The same at each test, with nothing in its state."""
    return forgetful()


def forgetful() -> Hops:
    for store in (HOPS.intake.store, HOPS.notify.store):
        store.write([(row, None) for row in list(store.rows)])
    return HOPS


def ends(hops: Hops, outputs: list[Any], nagging: str) -> Counter[tuple[str, str]]:
    """What became of reminders, but for those that wait."""
    return Counter(
        (one["outcome"], one["reason"])
        for one in hops.notify.decisions(outputs)
        if one["notification_type"] == nagging and one["outcome"] != "defer"
    )


def gates_of(hops: Hops, outputs: list[Any], gates: Gates) -> None:
    """The sinks' view, after these."""
    for output in outputs:
        if output.topic == AGGREGATE_GATES:
            gates.put(output.key.decode(), Gate.of(hops.notify.read(output)))


@settings(max_examples=300, deadline=None)
@given(lives())
def test_in_whatever_order_it_is_heard_what_is_for_a_visit_is_told_as_long_as_it_stands(life: Life) -> None:
    hops = forgetful()
    changes = [event(f"appointment.{kind}", version=n, **CHANGES[kind]) for n, kind in enumerate(life.changes, 1)]
    asked = event(life.asks, **FOR_IT)
    at_once: Counter[tuple[str, str]] = Counter()
    gates, queued = Gates(), []
    for number in life.heard:
        outputs = hops.tell(asked if number < 0 else changes[number])
        gates_of(hops, outputs, gates)
        at_once += ends(hops, outputs, NAGGING[life.asks])
        queued += [one for one in hops.notify.messages(outputs) if one["notification_type"] == NAGGING[life.asks]]
    later = ends(hops, hops.notify.work(now_ms=_LATER_MS), NAGGING[life.asks])
    told, off = ("deliver", "deliver"), ("suppress", "cancelled")
    then = life.heard[: life.heard.index(-1)]
    assert at_once == {told if stands(life, then) else off: 1}
    assert later == {told if stands(life, life.heard) else off: 2}
    # What was made for it and waits at a sink, since its provider is away or its lane is long.
    assert bool(queued) == stands(life, then)
    left = [gates.verdict(one, "", NOW) for one in queued]
    assert left == [None if stands(life, life.heard) else Verdict("cancelled", "cancelled")] * len(queued)


@pytest.mark.parametrize("asks", sorted(NAGGING))
@pytest.mark.parametrize("back", [None, "restored", "rescheduled"])
def test_a_visit_that_is_called_off_before_its_booking_is_heard(hops: Hops, asks: str, back: str | None) -> None:
    off = event("appointment.cancelled", version=2, **VISIT)
    hops.tell(off, event("appointment.created", **VISIT), off)
    assert ends(hops, hops.tell(event(asks, **FOR_IT)), NAGGING[asks]) == {("suppress", "cancelled"): 1}
    if back:
        hops.tell(event(f"appointment.{back}", version=3, **CHANGES[back]))
    later = ends(hops, hops.notify.work(now_ms=_LATER_MS), NAGGING[asks])
    assert later == {("deliver", "deliver") if back else ("suppress", "cancelled"): 2}


def test_a_visit_that_came_to_be_somebody_elses_while_it_was_off_and_comes_back(hops: Hops) -> None:
    """Records of two charts that were merged, and parted again: what closed it for her is taken back where it reopens for her."""
    hops.tell(event("appointment.created", **VISIT), event("appointment.cancelled", version=2, **VISIT))
    hops.tell(event("appointment.rescheduled", version=3, patient_id="p2", **CHANGES["rescheduled"]))
    hops.tell(event("appointment.cancelled", version=4, **VISIT))
    hops.tell(event("appointment.restored", version=5, **CHANGES["restored"]))
    assert outcomes_of(hops, hops.tell(event("forms.due", **FOR_IT)))["forms_reminder", "deliver"] == 1


def test_a_cancellation_that_is_heard_first_costs_no_request_of_its_own(hops: Hops) -> None:
    """What tells that it is off withdraws; its gate is there, for what is for it may be on its way."""
    outputs = hops.intake.ask(event("appointment.cancelled", version=2, provider_id="s1", **VISIT))
    asked = hops.intake.requests(outputs)
    assert {one["kind"] for one in asked} == {"notify"}
    assert {one["recipient"] for one in asked if one["withdraws"] == "all"} == {"patient:p1", "staff:s1"}
    assert [output.topic for output in outputs if output.topic == AGGREGATE_GATES] == [AGGREGATE_GATES]
