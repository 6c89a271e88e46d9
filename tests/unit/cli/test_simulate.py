"""`luxe catalog simulate`: the calendar that an event causes, by the rules that intake runs, and what a bad file is told."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.main import luxe
from tests.docs.fences import ROOT, fences

BOOKING = ROOT / "docs" / "examples" / "appointment.json"
POLICY = ROOT / "docs" / "examples" / "week" / "policy.yaml"
NOW = "2026-10-24T15:00-04:00"


def _run(*words: str, written: str | None = None) -> Result:
    return CliRunner().invoke(luxe, ["catalog", "simulate", *words], input=written)


def _simulated(*words: str, written: dict[str, Any] | None = None) -> dict[str, Any]:
    text = json.dumps(_booking() if written is None else written)
    result = _run("-", "--now", NOW, "--json", *words, written=text)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def _booking(**changed: Any) -> dict[str, Any]:
    """The example's, in the clinic whose policy is the other example's, without a zone of its own."""
    written: dict[str, Any] = json.loads(BOOKING.read_text())
    return written | {"clinic_id": "lakeside", "time_zone": None, "appointment_date": "2026-11-02"} | changed


def _due(found: dict[str, Any]) -> dict[str, str | None]:
    return {row["notification_type"]: row["due_at"] for row in found["sent"]}


def _why(found: dict[str, Any]) -> dict[str, str]:
    return {row["notification_type"]: row["why"] for row in found["not_sent"]}


def test_the_page_shows_what_the_command_prints() -> None:
    (shown,) = [fence for fence in fences(ROOT / "docs" / "catalogue.md") if fence.mark == "catalog-simulate"]
    command, *lines = shown.text.splitlines()
    words = shlex.split(command.removeprefix("$ luxe catalog simulate "))
    assert _run(*words).stdout.splitlines() == lines


def test_times_are_those_of_the_clinics_zone_and_of_the_events_where_it_has_one() -> None:
    assert _simulated("--policy", str(POLICY))["time_zone"] == "America/New_York"
    assert _simulated()["time_zone"] == "UTC"
    tokyo = _simulated("--policy", str(POLICY), written=_booking(time_zone="Asia/Tokyo"))
    assert tokyo["time_zone"] == "Asia/Tokyo"
    assert _due(tokyo)["appointment_reminder_2h"] == "2026-11-02T07:00:00+09:00"


def test_what_is_not_sent_says_why() -> None:
    tomorrow = _simulated("--policy", str(POLICY), written=_booking(appointment_date="2026-10-25"))
    assert _why(tomorrow)["appointment_reminder_48h"] == "too_late"
    assert _why(tomorrow)["pre_visit_instructions"] == "expired"
    overdue_payment = {
        "event_type": "payment.due",
        "clinic_id": "lakeside",
        "aggregate_id": "pay-1",
        "payment_id": "pay-1",
        "patient_id": "w-ada",
        "amount": "12.50",
        "currency": "USD",
        "due_date": "2026-11-02",
        "days_overdue": 3,
    }
    overdue = _simulated(written=overdue_payment)
    assert _why(overdue)["payment_reminder"] == "condition_not_met"
    assert {tuple(row["fields"]) for row in overdue["not_sent"]} >= {("days_overdue",)}


def test_what_an_event_withdraws_is_told() -> None:
    off = {
        "event_type": "appointment.cancelled",
        "clinic_id": "lakeside",
        "aggregate_id": "apt-1",
        "appointment_id": "apt-1",
        "patient_id": "w-ada",
        "appointment_date": "2026-11-02",
        "appointment_time": "09:00",
        "cancelled_by": "patient",
        "refund_issued": False,
    }
    withdraws = _simulated(written=off)["withdraws"]
    assert withdraws["what"] == "all"
    assert "appointment_reminder_24h" in withdraws["types"]
    assert _simulated()["withdraws"] == {"what": "none", "types": []}


def test_staff_found_by_their_role_stand_for_all_who_have_it() -> None:
    low = {
        "event_type": "inventory.low_stock",
        "clinic_id": "lakeside",
        "aggregate_id": "lakeside",
        "product_id": "x",
        "product_name": "Filler",
        "current_quantity": 1.5,
        "reorder_point": 5,
        "unit": "vial",
    }
    result = _run("-", "--json", written=json.dumps(low))
    assert result.exit_code == 0, result.output
    recipients = {one for row in json.loads(result.stdout)["sent"] for one in row["recipients"]}
    assert recipients == {"staff:(every admin)", "staff:(every inventory_manager)"}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "no event in the file"),
        ("{}\n{}\n", "several events"),
        ("{", "line 1: (event): 1 characters that are no JSON"),
        ("{}", "event_type: missing; write one of the types"),
        ({"appointment_date": "tomorrow"}, "appointment_date: string of 8 characters"),
        ({"appointment_time": "9 am"}, "appointment_time: string of 4 characters; send a time of day as HH:MM"),
        ({"duration": "45 minutes"}, "duration: string of 10 characters"),
        ({"nonsense": 1}, "a field of 8 characters that the type does not have"),
        ({"time_zone": "Mars/Olympus"}, "time_zone: string of 12 characters; send an IANA time zone"),
        ({"occurred_at": "1999-01-01T00:00:00Z"}, "occurred_at: a time before 2000"),
    ],
)
def test_a_bad_event_is_told_by_field_shape_and_mend(written: str | dict[str, Any], told: str) -> None:
    text = written if isinstance(written, str) else json.dumps(_booking(**written))
    result = _run("-", written=text)
    assert result.exit_code == 1
    assert told in result.output
    assert "Jo Example" not in result.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--now", "tomorrow"), "with its zone"),
        (("--now", "2026-10-24T15:00"), "with its zone"),
        (("--policy", str(BOOKING)), "policy 1"),
    ],
)
def test_bad_options_are_told(words: tuple[str, ...], told: str) -> None:
    result = _run("-", *words, written=json.dumps(_booking()))
    assert result.exit_code != 0
    assert told in result.output


def test_a_policy_of_other_clinics_is_no_policy_of_this_one() -> None:
    result = _run("-", "--policy", str(POLICY), written=json.dumps(_booking(clinic_id="elsewhere")))
    assert result.exit_code == 1
    assert "no policy for the event's clinic_id" in result.output


TIMINGS = """
disabled_types: [check_in_ready]
open_weekdays: [1, 2, 3, 4, 5, 6]
timings:
  - {notification_type: pre_visit_instructions, services: [hydrating  FACIAL], offset: P3D}
  - {notification_type: pre_care_24h, services: [Hydrating facial], skip: true}
"""


def _policy(tmp_path: Path, added: str) -> str:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.read_text().replace("disabled_types:", "portal_url: null #") + added)
    return str(path)


def test_the_clinics_own_times_and_what_it_does_not_send(tmp_path: Path) -> None:
    found = _simulated("--policy", _policy(tmp_path, TIMINGS))
    prepared = _due(found)["pre_visit_instructions"]
    assert prepared is not None
    assert prepared.startswith("2026-10-30T10:")
    why = _why(found)
    assert (why["pre_care_24h"], why["check_in_ready"]) == ("not_for_this_service", "type_disabled")


@pytest.mark.parametrize(
    ("added", "told"),
    [
        (
            "timings: [{notification_type: pre_visit_instructions, offset: P9D}]",
            "timings.0.offset: string of 3 characters; write a",
        ),
        (
            "timings: [{notification_type: pre_visit, offset: P5D}]",
            "timings.0.notification_type: string of 9 characters",
        ),
        ("timings: [{notification_type: pre_visit_instructions}]", "timings.0.skip: nothing to do"),
        ("timings: [{offset: P5D}]", "timings.0: write a mapping of notification_type, services"),
        ("timings: [{notification_type: pre_visit_instructions, ofset: P5D}]", "timings.0: write a mapping"),
        ("timings: [P5D]", "timings.0: write a mapping"),
        ("timings: P5D", "timings.0: write a mapping"),
        ("timings: [{notification_type: pre_visit_instructions, services: Peel, offset: P5D}]", "timings"),
        ("timings: [{notification_type: pre_visit_instructions, not_before: 9 am, not_after: '17:00'}]", "HH:MM"),
        ("open_weekdays: []", "open_weekdays: array of 0 items; name ISO weekdays"),
        ("open_weekdays: [1, 8]", "open_weekdays: array of 2 items; name ISO weekdays"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_told(tmp_path: Path, added: str, told: str) -> None:
    result = _run("-", "--policy", _policy(tmp_path, added), written=json.dumps(_booking()))
    assert result.exit_code == 1, result.output
    assert told in result.output


def test_another_catalogue_is_checked_first(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text("types: 1\n")
    result = _run(str(BOOKING), "--catalog", str(path))
    assert result.exit_code == 1
    assert f"{path}:" in result.output


def test_a_campaign_by_each_patients_clocks_says_so() -> None:
    launched = {
        "event_type": "campaign.launched",
        "clinic_id": "lakeside",
        "aggregate_id": "camp-1",
        "campaign_id": "camp-1",
        "kind": "seasonal",
        "name": "Spring",
        "launched_by": "staff-1",
        "patients": ["p1", "p2"],
        "send_date": "2026-11-02",
        "send_time": "10:00",
        "time_zone": "America/New_York",
    }
    text = _run("-", "--now", NOW, written=json.dumps(launched))
    assert text.exit_code == 0, text.output
    assert "Mon 2026-11-02 10:00, their clocks" in text.stdout
    (row,) = _simulated(written=launched)["sent"]
    assert (row["by_their_clocks"], row["recipients"]) == (True, ["patient:p1", "patient:p2"])
