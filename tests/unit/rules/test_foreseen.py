"""What is foreseen of an event is what intake makes of it: nothing more, nothing less, nothing left unexplained."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import EVENT_TYPES
from streams.catalog import Catalog
from streams.rules.foreseen import CONDITION, NOBODY, REMEMBERED, foresee
from streams.rules.local_time import ClinicTime, OpenDays
from streams.rules.mapping import compile_mapping
from streams.rules.slots import times_at
from tests.unit.rules.events import NOW, event

CATALOG = Catalog.load()
MAPPINGS = compile_mapping(CATALOG)
CLINIC = ClinicTime("America/New_York", OpenDays({1, 2, 3, 4, 5}, ()))
TIMES = times_at(int(NOW.timestamp() * 1000))


class _Roster:
    def staff_of(self, clinic_id: str, role: str) -> tuple[str, ...]:
        return (f"staff:{role}",)


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
@settings(max_examples=10)
@given(data=st.data())
def test_every_entry_is_sent_or_says_why_not(event_type: str, data: st.DataObject) -> None:
    happened = event(event_type)
    mapping = MAPPINGS[EVENT_TYPES[event_type].record]
    if happened.get("segment"):
        happened["patients"] = ["p1"]
    for name, value in list(happened.items()):
        # Conditions go either way.
        if isinstance(value, bool):
            happened[name] = data.draw(st.booleans())
    found = foresee(CATALOG, mapping, happened, _Roster(), TIMES, CLINIC)
    requests = mapping.map(happened, None, _Roster(), TIMES, CLINIC).requests
    asked = {
        (r["notification_type"], r["occurrence"], one)
        for r in requests
        if r["kind"] == "notify"
        for one in [r["recipient"]]
    }
    rows = [*found.calendar, *(row for row in found.not_sent if row.why == "expired" and row.expires_at)]
    assert {(row.notification_type, row.occurrence, one) for row in rows for one in row.recipients} == asked
    explained = {(row.notification_type, row.occurrence) for row in (*found.calendar, *found.not_sent)}
    for entry in mapping.entries_for(happened):
        name = entry.base["notification_type"]
        whole = any(
            row.notification_type == name and row.why in (CONDITION, NOBODY, REMEMBERED) for row in found.not_sent
        )
        assert whole or {(name, number) for number in range(len(entry.slots))} <= explained
