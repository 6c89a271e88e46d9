"""Events written as JSON: what may be left out, in which forms a file may hold them, and what is said of a bad one."""

from __future__ import annotations

import gzip
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.exports.cells import RowError
from connectors.exports.event_file import SOURCE, EventFile, event_of
from connectors.exports.publishing import open_text
from connectors.exports.rows import MappedRow
from schemas.codec import Codec
from schemas.events import EVENT_TYPES
from schemas.registry import FileRegistry

NOW = datetime(2026, 11, 28, 9, 30, tzinfo=UTC)
EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "appointment.json"
SECRET = "Zebediah"


def example(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(EXAMPLE.read_text())
    return found | changes


def read(text: str, skip: int = 0) -> list[MappedRow]:
    return list(EventFile(NOW, "run").rows(io.StringIO(text), skip))


def test_what_may_be_left_out_is_filled_in_and_the_codec_takes_it() -> None:
    made = event_of({name: value for name, value in example().items() if name != "aggregate_version"}, NOW, "run")
    value = made.value
    assert (value["occurred_at"], value["source"], value["correlation_id"]) == (NOW, SOURCE, "run")
    assert value["aggregate_version"] == int(NOW.timestamp() * 1000)
    assert made.key == "A-1007"
    contract = EVENT_TYPES[made.event_type]
    codec = Codec(FileRegistry())
    assert codec.decode(codec.encode(contract.topic, contract.record, value)).value["patient_name"] == "Jo Example"


def test_the_same_event_has_the_same_id_at_every_run_and_its_own_is_kept() -> None:
    later = datetime(2026, 11, 29, tzinfo=UTC)
    assert event_of(example(), NOW).value["event_id"] == event_of(example(), later).value["event_id"]
    assert event_of(example(), NOW).value["event_id"] != event_of(example(duration=30), NOW).value["event_id"]
    own = "6f1c2c5e-2b58-5f0c-9d0f-6f2f8c9d3b11"
    assert event_of(example(event_id=own), NOW).value["event_id"] == own


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(example()),
        json.dumps(example(), indent=2),
        json.dumps([example()]),
        json.dumps([example()], indent=2),
        "\n\n" + json.dumps(example()) + "\n\n",
    ],
    ids=["a line", "many lines", "array", "array of many lines", "blank lines"],
)
def test_one_event_in_every_form(text: str) -> None:
    (row,) = read(text)
    assert row.rejected is None
    assert row.events[0].key == "A-1007"


def test_many_one_a_line_or_in_an_array_and_those_of_an_earlier_run_skipped() -> None:
    events = [example(aggregate_id=f"A-{number}") for number in range(3)]
    for text in ("\n".join(map(json.dumps, events)), json.dumps(events), json.dumps(events, indent=1)):
        assert [row.events[0].key for row in read(text)] == ["A-0", "A-1", "A-2"]
        assert [row.events[0].key for row in read(text, 2)] == ["A-2"]


def test_a_bad_one_holds_nobody_up() -> None:
    rows = read("\n".join([json.dumps(example()), "{oops", json.dumps(example(aggregate_id="A-2"))]))
    assert [row.rejected is None for row in rows] == [True, False, True]
    assert rows[1].line == 2


@pytest.mark.parametrize(
    ("value", "field", "problem"),
    [
        ([1], "(event)", "array of 1 items"),
        (example(event_type="appointment.dreamt"), "event_type", "string of 18 characters"),
        (example(event_type=7), "event_type", "int"),
        ({}, "event_type", "missing"),
        ({name: value for name, value in example().items() if name != "duration"}, "duration", "missing"),
        (example(duration=SECRET), "duration", "string of 8 characters"),
        (example(appointment_date=SECRET), "appointment_date", "string of 8 characters"),
        (example(appointment_time="9 o'clock"), "appointment_time", "string of 9 characters"),
        (example(patient_phone=SECRET), "patient_phone", "string of 8 characters"),
        (example(sms_opt_in=SECRET), "sms_opt_in", "string of 8 characters"),
        (example(**{SECRET: 1}), "(event)", "a field of 8 characters that the type does not have"),
        (example(occurred_at="1970-01-01T00:00:00Z"), "occurred_at", "a time before 2000"),
        (example(occurred_at="2026-11-28T09:30:00"), "occurred_at", "string of 19 characters"),
        (example(event_id=SECRET), "event_id", "string of 8 characters"),
    ],
)
def test_a_refusal_names_field_shape_and_mend_and_never_the_value(value: Any, field: str, problem: str) -> None:
    with pytest.raises(RowError) as caught:
        event_of(value, NOW)
    assert (caught.value.column, caught.value.problem) == (field, problem)
    assert caught.value.mend
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["{", '{"a": }', "[1", "hello", "\x00", "[" * 100_000])
def test_what_is_no_json_is_one_rejected_row(text: str) -> None:
    (row,) = read(text)
    assert row.rejected is not None
    assert "JSON" in str(row.rejected)


def test_an_empty_file_has_no_rows() -> None:
    assert read("") == []
    assert read("[]") == []


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("utf-16.json", json.dumps({"a": 1}).encode("utf-16"), "not UTF-8 (byte 0 of a block)"),
        ("named-so.json.gz", b"{}", "not gzip, or cut short"),
        ("cut.json.gz", gzip.compress(b'{"a": 1}' * 1000, mtime=0)[:-9], "not gzip, or cut short"),
    ],
)
def test_a_file_that_is_none_is_refused_with_what_to_save_it_as(
    tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with open_text(tmp_path / name, "utf-8-sig") as file:
        (row,) = EventFile(NOW, "run").rows(file)
    assert row.rejected is not None
    assert (row.rejected.column, row.rejected.problem) == ("(file)", problem)


def test_a_mark_of_byte_order_is_no_part_of_the_event(tmp_path: Path) -> None:
    (tmp_path / "marked.json").write_text(json.dumps(example()), encoding="utf-8-sig")
    with open_text(tmp_path / "marked.json", "utf-8-sig") as file:
        (row,) = EventFile(NOW, "run").rows(file)
    assert row.rejected is None


def test_what_the_codec_would_refuse_is_refused_here() -> None:
    for bad in ({"aggregate_version": 2**70}, {"patient_name": "\ud800"}):
        (row,) = read(json.dumps(example(**bad)))
        assert row.rejected is not None
        assert row.rejected.column == next(iter(bad))


def test_an_arrays_events_are_told_by_the_line_that_they_begin_on() -> None:
    rows = read(json.dumps([example(), example(duration="x"), example()], indent=1))
    one = json.dumps(example(), indent=1).count("\n") + 1
    assert [row.line for row in rows] == [2, 2 + one, 2 + 2 * one]
    assert [row.rejected is None for row in rows] == [True, False, True]
