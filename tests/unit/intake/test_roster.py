"""The roster follows a view whose reader must not be ended by one record."""

from __future__ import annotations

from pathlib import Path

from tests.intake_world import IntakeWorld


def test_a_record_that_cannot_be_read_leaves_the_staff_as_known(tmp_path: Path) -> None:
    world = IntakeWorld(tmp_path)
    world.roster.changed(b"staff:s1", b"garbage")
    assert world.roster.staff_of("clinic-1", "staff") == ("staff:s1",)
    world.roster.changed(b"staff:s1", None)
    assert world.roster.staff_of("clinic-1", "staff") == ()
