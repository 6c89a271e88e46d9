"""Segments as data: what is shipped can be used, and what cannot is said with its line and mend, never by a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.segments.definitions import SELECTIONS, SegmentsError, load
from schemas.events import EVENT_TYPES

BIRTHDAY = """segments:
  birthday:
    about: Birthday
    selection: birthday
    event: birthday.due
    once_per: year
    hour: 6
    useful_days: 1
"""
INACTIVE = (
    BIRTHDAY.replace("birthday.due", "patient.inactive").replace("birthday", "inactive").replace("year", "absence")
)


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "segments.yaml"
    file.write_text(text)
    return file


def test_what_is_shipped_can_be_used() -> None:
    segments = load()
    assert len({one.name for one in segments}) == len(segments)
    assert {one.selection for one in segments} == set(SELECTIONS)
    assert {one.event for one in segments} <= set(EVENT_TYPES)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BIRTHDAY.replace("hour: 6", "hour: 24"), ":7: segments.birthday.hour"),
        (BIRTHDAY.replace("hour: 6", "hour: early"), ":7: segments.birthday.hour"),
        (BIRTHDAY.replace("useful_days: 1", "useful_days: 29"), ":8: segments.birthday.useful_days"),
        (
            BIRTHDAY.replace("once_per: year", "once_per: day"),
            ":2: segments.birthday: Value error, once_per: write one of year",
        ),
        (BIRTHDAY.replace("birthday.due", "patient.inactive"), "birthday is told by birthday.due"),
        (BIRTHDAY.replace("selection: birthday", "selection: rich"), "selection: write one of birthday"),
        (BIRTHDAY + "    days: 3\n", "birthday has no threshold: remove it"),
        (BIRTHDAY + "    colour: red\n", ":9: segments.birthday.colour"),
        (BIRTHDAY + "    hour: 7\n", ":9: segments.birthday.hour: given twice"),
        (BIRTHDAY.replace("  birthday:", "  Birth day:"), "name it in small letters"),
        (INACTIVE, "days: write 14 to 1095"),
        (INACTIVE + "    days: 13\n", "days: write 14 to 1095"),
        (INACTIVE + "    days: 90\n    clinics: {north: {days: 2000}}\n", "days: write 14 to 1095"),
        (INACTIVE + "    days: 90\n    clinics: {north: {dayz: 20}}\n", ":10: segments.inactive.clinics.north.dayz"),
        ("- birthday\n", ":1: expected a mapping `segments`"),
        ("segments: {birthday: 3}\n", ":1: segments.birthday: expected a mapping"),
        ("segments: [\n", "not YAML"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(SegmentsError) as caught:
        load(file)
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(file))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SegmentsError, match=r"nowhere\.yaml: cannot be read"):
        load(tmp_path / "nowhere.yaml")


def test_a_clinic_may_switch_it_off(tmp_path: Path) -> None:
    (segment,) = load(written(tmp_path, INACTIVE + "    days: 90\n    clinics: {north: {enabled: false, days: 120}}\n"))
    assert (segment.at("north").enabled, segment.at("north").days) == (False, 120)
    assert (segment.at("south").enabled, segment.at("south").days) == (True, 90)
