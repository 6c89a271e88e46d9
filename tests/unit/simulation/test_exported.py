"""An export at its own dates: made-up rows in the form of the 2016 appointments, around a change of Brazil's clocks."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner, Result

from cli.simulate import command
from cli.simulation.leads import LEADS

ROOT = Path(__file__).parents[3]
MAP = ROOT / "docs" / "examples" / "appointments-2016.map.yaml"
HEADER = "PatientId,AppointmentID,Gender,ScheduledDay,AppointmentDay,Age,Neighbourhood,No-show\n"
# Clocks in São Paulo went from 0 to 1 o'clock in the night to this day.
CHANGED = date(2016, 10, 16)
ROWS = 60


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Sixty rows booked 0 to 40 days before days around the change; then one of each kind that must be rejected."""
    random = Random(16)
    file = tmp_path / "appointments.csv"
    rows = []
    for number in range(ROWS):
        day = CHANGED + timedelta(days=number % 9 - 4)
        ahead = random.choice((0, 0, 1, 2, 5, 10, 20, 40))
        booked = datetime(day.year, day.month, day.day, random.randint(10, 19), 5, tzinfo=UTC) - timedelta(days=ahead)
        rows.append(
            f"{7000 + number % 40},{9000 + number},F,{booked:%Y-%m-%dT%H:%M:%SZ},{day}T00:00:00Z,30,CENTRO,No\n"
        )
    rows += [
        "8001,9901,F,2016-10-12T10:00:00Z,2016-10-11T00:00:00Z,30,CENTRO,No\n",
        "8002,9902,F,2016-10-10T10:00:00Z,2016-10-11T00:00:00Z,-1,CENTRO,No\n",
    ]
    file.write_text(HEADER + "".join(rows), encoding="utf-8")
    return file


def simulated(*options: str) -> Result:
    return CliRunner().invoke(command, list(options), catch_exceptions=False)


def test_every_appointment_has_its_reminders_at_the_right_local_minute(export: Path) -> None:
    result = simulated("--appointments", str(export), "--map", str(MAP), "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["rows"], found["events"], sum(found["rejected"].values())) == (ROWS + 2, ROWS, 2)
    assert (found["violations"], found["waiting"], found["dead_letters"].keys() <= {"plan_exhausted"}) == (0, 0, True)
    for reminder in found["reminders"].values():
        assert reminder["expected"] == reminder["found"]
        assert reminder["expected"] + reminder.get("too late", 0) + reminder.get("too soon", 0) == ROWS
    late = [found["reminders"][f"appointment_reminder_{hours}h"]["too late"] for hours in (48, 24)]
    assert late[0] > late[1] > 0


def test_what_each_lead_time_gets_is_shown_and_nobody_is_named(export: Path) -> None:
    result = simulated("--appointments", str(export), "--map", str(MAP))
    assert result.exit_code == 0
    for told in (*LEADS[1:3], "over 30 days", "2 of them rejected", "booked after its own day", "an impossible age"):
        assert told in result.stdout
    assert "7001" not in result.stdout
    assert "CENTRO" not in result.stdout


def test_only_so_many_rows(export: Path) -> None:
    result = simulated("--appointments", str(export), "--map", str(MAP), "--limit", "5", "--json")
    assert json.loads(result.stdout)["rows"] == 5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--appointments", "FILE"), "needs both --appointments and --map"),
        (("--map", str(MAP)), "needs both --appointments and --map"),
        (("--limit", "3"), "only it has a --limit"),
        (("--appointments", "FILE", "--map", str(MAP), "--days", "3"), "--days is of a made-up clinic"),
    ],
)
def test_options_that_do_not_go_together(export: Path, options: tuple[str, ...], told: str) -> None:
    result = simulated(*(str(export) if option == "FILE" else option for option in options))
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_map_that_does_not_fit_says_so(export: Path, tmp_path: Path) -> None:
    other = tmp_path / "empty.csv"
    other.write_text(HEADER, encoding="utf-8")
    result = simulated("--appointments", str(other), "--map", str(MAP))
    assert result.exit_code == 1
    assert "no row became an event" in result.stderr
