"""Exports become events as the map says; a row that does not fit is rejected with line, column and the cell's shape only."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.exports.mapfile import ExportMap, MapError, read_map
from connectors.exports.publishing import open_text
from connectors.exports.rows import MappedRow, RowMapper, find_shift_days
from schemas.codec import Codec
from schemas.events import EVENT_TYPES
from schemas.registry import FileRegistry

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "appointments-2016.map.yaml"
HEADER = "PatientId,AppointmentID,Gender,ScheduledDay,AppointmentDay,Age,Neighbourhood,No-show\n"
GOOD = "29872499824296,5642903,F,2016-04-20T18:38:08Z,2016-04-29T00:00:00Z,62,JARDIM,No\n"


def mapped(text: str, export: ExportMap | None = None, shift_days: int | None = None) -> list[MappedRow]:
    export = export or read_map(EXAMPLE)
    if shift_days is None:
        shift_days = find_shift_days(io.StringIO(text), export, NOW.date())
    return list(RowMapper(export, NOW, shift_days, "c").rows(io.StringIO(text)))


def test_a_row_becomes_an_event_that_its_schema_takes() -> None:
    (row,) = mapped(HEADER + GOOD)
    (event,) = row.events
    assert event.key == "apt-5642903"
    value = event.value
    assert value["appointment_date"] == date(2026, 3, 2)  # the earliest day becomes tomorrow
    assert value["occurred_at"] == datetime(2026, 2, 21, 18, 38, 8, tzinfo=UTC)  # moved by as many days
    assert value["patient_phone"] == "+55279" + "99824296"
    contract = EVENT_TYPES[event.event_type]
    Codec(FileRegistry()).encode(contract.topic, contract.record, value)


def test_the_same_row_gives_the_same_event_at_every_run() -> None:
    assert mapped(HEADER + GOOD)[0].events == mapped(HEADER + GOOD)[0].events


def test_an_instant_moved_past_now_becomes_now_if_the_map_says_so() -> None:
    later = GOOD.replace("2016-04-20T18:38:08Z", "2016-04-28T18:38:08Z")
    early = GOOD.replace("5642903", "1").replace("2016-04-29", "2016-04-22").replace("2016-04-20", "2016-04-19")
    rows = mapped(HEADER + early + later)
    assert rows[1].events[0].value["occurred_at"] == NOW


@pytest.mark.parametrize(
    ("change", "column", "says"),
    [
        (("29872499824296", "9377.952E5"), "PatientId", "whole number"),
        ((",62,", ",-1,"), "Age", "impossible age"),
        ((",62,", ",old,"), "Age", "3 characters, letters"),
        (("2016-04-29T00", "2016-04-19T00"), "AppointmentDay", "booked after its own day"),
        (("2016-04-29T00:00:00Z", "soon"), "AppointmentDay", "cannot be checked"),
        (("5642903", ""), "AppointmentID", "empty"),
        ((",No\n", "\n"), "row", "cells"),
        ((",No\n", ",No,surplus\n"), "row", "cells"),
    ],
)
def test_a_row_that_does_not_fit_is_rejected_alone(change: tuple[str, str], column: str, says: str) -> None:
    bad = GOOD.replace(*change)
    rows = mapped(HEADER + GOOD + bad + GOOD.replace("5642903", "7"))
    assert [row.rejected is None for row in rows] == [True, False, True]
    rejected = rows[1].rejected
    assert rejected is not None
    assert rejected.column == column
    assert says in str(rejected)
    assert rows[1].line == 3
    assert "29872499824296" not in str(rejected)


def test_skipping_goes_on_where_it_stopped() -> None:
    text = HEADER + GOOD + GOOD.replace("5642903", "7")
    export = read_map(EXAMPLE)
    (row,) = RowMapper(export, NOW, 0, "c").rows(io.StringIO(text), skip_rows=1)
    assert row.line == 3


def test_one_recipient_for_each_patient() -> None:
    rows = mapped(HEADER + GOOD + GOOD.replace("5642903", "7"))
    assert [row.recipient is not None for row in rows] == [True, False]


def changed(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    return found | changes


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"time_zone": "Mars/Olympus"}, "time_zone: no such IANA time zone"),
        ({"surplus": 1}, "surplus"),
        ({"events": []}, "events"),
        ({"shift": {"column": "AppointmentDay"}}, "shift: give days, or column with earliest_on"),
        ({"events": [{"type": "appointment.vanished"}]}, "no such event type"),
        (
            {
                "events": [
                    {
                        "type": "appointment.created",
                        "aggregate_id": {"column": "a"},
                        "occurred_at": {"column": "b"},
                        "fields": {},
                    }
                ]
            },
            "needs .*patient_phone",
        ),
        (
            {
                "events": [
                    {
                        "type": "birthday.due",
                        "aggregate_id": {"column": "a", "constant": 1},
                        "occurred_at": {"column": "b"},
                        "fields": {},
                    }
                ]
            },
            "exactly one of",
        ),
    ],
)
def test_a_map_that_cannot_be_used_names_the_place_and_the_mend(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(yaml.safe_dump(changed(**changes)))
    with pytest.raises(MapError, match=says):
        read_map(path)


def test_a_map_that_is_no_yaml_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text("source: x\nevents: [\n")
    with pytest.raises(MapError, match="line"):
        read_map(path)


def test_a_file_without_a_column_says_which_and_what_it_has() -> None:
    with pytest.raises(MapError, match=r"no column Age, .*; it has PatientId"):
        mapped("PatientId,AppointmentID\n1,2\n")


def test_a_header_in_another_encoding_names_it(tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_bytes("Prénom;Nom\n".encode("latin-1"))
    with open_text(tmp_path / "export.csv", "utf-8") as file, pytest.raises(MapError, match="not utf-8"):
        list(RowMapper(read_map(EXAMPLE), NOW, 0, "run").rows(file))


def test_a_broken_quote_names_its_line() -> None:
    with pytest.raises(MapError, match="line 3: not CSV"):
        mapped(HEADER + GOOD + '"unclosed,' + GOOD, shift_days=0)
