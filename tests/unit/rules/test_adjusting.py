"""What a clinic moves of the catalogue's times, by service or for all: within bounds, the first line that fits."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.catalog import Catalog
from streams.rules.adjusting import adjustments_of, timing_faults
from streams.rules.local_time import ClinicTime, OpenDays
from streams.rules.mapping import EventMapping
from streams.rules.slots import times_at
from tests.unit.rules.events import NOW, event

CATALOG = Catalog.load()
CREATED, COMPLETED = (EventMapping(name, CATALOG) for name in ("appointment.created", "appointment.completed"))
START = datetime(2026, 7, 1, 14, tzinfo=UTC)
HOUR = timedelta(hours=1)


class _Nobody:
    def staff_of(self, clinic_id: str, role: str) -> tuple[str, ...]:
        return ()


def _row(name: str, **given: Any) -> dict[str, Any]:
    plain = {"services": [], "skip": False, "offset": None, "not_before": None, "not_after": None}
    return {"notification_type": name, **plain, **given}


def _due(timings: list[dict[str, Any]], mapping: EventMapping = CREATED, **given: Any) -> dict[str, Any]:
    clinic = ClinicTime("UTC", OpenDays((), ()), adjustments_of(timings))
    made = event(mapping.event_type, **given)
    requests = mapping.map(made, None, _Nobody(), times_at(int(NOW.timestamp() * 1000)), clinic).requests
    return {request["notification_type"]: request["due_at"] for request in requests}


PREPARE = "pre_visit_instructions"


@pytest.mark.parametrize(
    ("timings", "service", "days_before"),
    [
        ([], "Botox", 7),
        ([_row(PREPARE, offset="P4D")], "Botox", 4),
        ([_row(PREPARE, services=["Peel"], offset="P4D")], "Botox", 7),
        ([_row(PREPARE, services=["  bOTOX "], offset="P4D")], "Botox", 4),
        ([_row(PREPARE, services=["Botox"], offset="P3D"), _row(PREPARE, offset="P5D")], "Botox", 3),
        ([_row(PREPARE, services=["Botox"], offset="P3D"), _row(PREPARE, offset="P5D")], "Peel", 5),
        ([_row(PREPARE, services=["Consultation"], skip=True)], "Consultation", None),
        ([_row(PREPARE, services=["Consultation"], skip=True)], "Botox", 7),
        # What the catalogue does not allow (any more), or nobody can read, is as good as not said.
        ([_row(PREPARE, offset="P30D")], "Botox", 7),
        ([_row(PREPARE, offset="soon")], "Botox", 7),
        ([_row("no_such_type", offset="P4D")], "Botox", 7),
        ([_row("appointment_reminder_24h", offset="P4D")], "Botox", 7),
    ],
)
def test_preparation_by_service(timings: list[dict[str, Any]], service: str, days_before: int | None) -> None:
    due = _due(timings, service=service)
    if days_before is None:
        assert PREPARE not in due
    else:
        assert timedelta() <= due[PREPARE] - (START - timedelta(days=days_before)) <= HOUR
    assert due["appointment_reminder_24h"] == START - timedelta(days=1)


def test_check_ins_by_treatment_whichever_field_names_it() -> None:
    timings = [
        _row("treatment_followup_2week", services=["Botox"], offset="P3W"),
        _row("treatment_followup_3day", services=["Botox"], skip=True),
        _row("treatment_followup_1week", services=["Hydrating facial"], skip=True),
    ]
    done = NOW - timedelta(minutes=5)
    due = _due(timings, COMPLETED, treatment_type="botox", service="Injectable visit", completed_at=done)
    assert (due["treatment_followup_2week"] - done).days in (20, 21)
    assert "treatment_followup_3day" not in due
    assert "treatment_followup_1week" in due


def test_hours_of_a_clinics_own() -> None:
    due = _due([_row(PREPARE, not_before="15:00", not_after="17:00")])
    assert time(15) <= due[PREPARE].time() <= time(17)


@given(st.integers(1, 60), st.sampled_from([PREPARE, "review_request", "treatment_followup_1week"]))
def test_whatever_is_not_refused_is_done(days: int, name: str) -> None:
    timings = [_row(name, offset=f"P{days}D")]
    refused = list(timing_faults(timings, CATALOG.types))
    mapping = CREATED if name == PREPARE else COMPLETED
    given = {} if name == PREPARE else {"completed_at": NOW}
    own, moved = (_due(rows, mapping, **given).get(name) for rows in ([], timings))
    if refused:
        assert (own is None) == (moved is None)
        assert own is None or moved is None or abs(own - moved) <= HOUR
    else:
        anchor = START - timedelta(days=days) if name == PREPARE else NOW + timedelta(days=days)
        assert moved is not None
        assert abs((moved - anchor).days) <= 1


@pytest.mark.parametrize(
    ("row", "field", "mend"),
    [
        (_row("no_such_type", offset="P4D"), "notification_type", "docs/catalogue.md"),
        (_row("appointment_confirmation", skip=True), "notification_type", "due at a time"),
        (_row("appointment_reminder_24h", offset="P4D"), "notification_type", "only be skipped"),
        (_row(PREPARE), "skip", "say one"),
        (_row(PREPARE, skip=True, offset="P4D"), "skip", "say one"),
        (_row(PREPARE, offset="4 days"), "offset", "from P3D to P7D"),
        (_row(PREPARE, offset="P8D"), "offset", "from P3D to P7D"),
        (_row(PREPARE, not_before="10:00"), "not_after", "both"),
        (_row(PREPARE, not_before="17:00", not_after="10:00"), "not_after", "later"),
        (_row(PREPARE, not_before="17:00", not_after="17:30"), "not_after", "an hour"),
    ],
)
def test_what_no_clinic_can_mean_is_told_by_field_and_mend(row: dict[str, Any], field: str, mend: str) -> None:
    fine = _row(PREPARE, services=["Peel"], offset="P5D")
    (fault,) = timing_faults([fine, row], CATALOG.types)
    assert fault.field == f"timings.1.{field}"
    assert mend in fault.mend


def test_every_type_that_is_due_at_a_time_can_be_skipped() -> None:
    timed = [kind.name for kind in CATALOG.types.values() if any(t.timing != "immediate" for t in kind.triggers)]
    assert len(timed) > 20
    assert list(timing_faults([_row(name, skip=True) for name in timed], CATALOG.types)) == []
