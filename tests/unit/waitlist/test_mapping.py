"""What the waitlist's events tell whom: an offer one patient at a time, its end whoever lost it, a claim nobody else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from schemas.events import EVENT_TYPES
from streams.catalog import Catalog
from streams.rules.local_time import EVERY_WEEKDAY, ClinicTime, OpenDays
from streams.rules.mapping import Mapped, compile_mapping
from streams.rules.memory import AggregateMemory
from streams.rules.slots import times_at
from tests.unit.rules.events import NOW, event

CLINIC_TIME = ClinicTime("America/New_York", OpenDays(EVERY_WEEKDAY, ()))
MAPPINGS = compile_mapping(Catalog.load())


class _Roster:
    def staff_of(self, clinic_id: str, role: str) -> Sequence[str]:
        return ("staff:s1",) if (clinic_id, role) == ("clinic-1", "staff") else ()


def _map(happened: dict[str, Any], memory: AggregateMemory | None = None) -> Mapped:
    mapping = MAPPINGS[EVENT_TYPES[happened["event_type"]].record]
    return mapping.map(happened, memory, _Roster(), times_at(int(NOW.timestamp() * 1000)), CLINIC_TIME)


def _after(happened: dict[str, Any]) -> AggregateMemory:
    return _map(happened).memory


def _told(mapped: Mapped) -> dict[str, set[str]]:
    told: dict[str, set[str]] = {}
    for request in mapped.requests:
        if request["kind"] == "notify":
            told.setdefault(request["notification_type"], set()).add(request["recipient"])
    return told


OFFER: dict[str, Any] = {"patient_id": "p1", "offer_id": "o1", "offer_number": 1}


def test_a_slot_that_opens_tells_nobody_and_an_offer_tells_whose_turn_it_is() -> None:
    opened = _map(event("waitlist.slot_available", waitlist_patients=["p1", "p2"]))
    assert (opened.outcome, opened.requests) == ("nobody", [])
    made = _map(event("waitlist.offer_made", offer_ends_at=NOW + timedelta(minutes=30), **OFFER))
    assert _told(made) == {"waitlist_opening": {"patient:p1"}}
    assert made.requests[0]["expires_at"] == NOW + timedelta(minutes=30)
    assert made.requests[0]["aggregate_id"] == "o1"


@pytest.mark.parametrize(
    ("outcome", "told"),
    [("taken", True), ("withdrawn", True), ("expired", False), ("declined", False), ("claimed", False)],
)
def test_an_offer_that_ends_takes_its_messages_back_and_tells_who_lost_it(outcome: str, told: bool) -> None:
    made = _after(event("waitlist.offer_made", offer_ends_at=NOW + timedelta(minutes=30), **OFFER))
    ended = _map(event("waitlist.offer_ended", version=2, outcome=outcome, **OFFER), made)
    assert _told(ended) == ({"waitlist_slot_filled": {"patient:p1"}} if told else {})
    assert ("patient:p1", "all") in {(one["recipient"], one["withdraws"]) for one in ended.requests}
    assert ended.gate is not None
    assert (ended.gate["reason"], ended.gate["aggregate_version"]) == ("cancelled", 1)


def test_a_claim_tells_the_one_and_nobody_else_of_the_list() -> None:
    opened = _after(event("waitlist.slot_available", waitlist_patients=["p1", "p2", "p3"]))
    claimed = _map(event("waitlist.slot_claimed", version=2, patient_id="p2", other_patients=["p1"]), opened)
    assert {name: who for name, who in _told(claimed).items() if not name.startswith("staff")} == {
        "waitlist_claimed": {"patient:p2"}
    }
    assert _map(event("waitlist.slot_claimed", version=3, patient_id="p3"), claimed.memory).outcome == "closed"


def test_staff_learn_that_a_slot_stays_open() -> None:
    unfilled = _map(event("waitlist.slot_unfilled", cause="nobody_left"))
    assert _told(unfilled) == {"staff_slot_open": {"staff:s1"}}


def test_a_slot_that_is_taken_back_is_closed() -> None:
    withdrawn = _map(event("waitlist.slot_withdrawn", version=2), _after(event("waitlist.slot_available")))
    assert withdrawn.memory.closed
    assert _map(event("waitlist.slot_claimed", version=3), withdrawn.memory).outcome == "closed"
