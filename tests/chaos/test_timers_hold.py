"""No reminder of a dead version, none missing of a live one, each once: thousands of lives against a model of ten lines."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from streams.rules.schedule import Mark
from tests.chaos.appointment_lives import Clinic, Life, life_of

pytestmark = pytest.mark.chaos

SHORT_LIVES, FULL_LIVES = 1_500, 10_000


def shrunk(clinic: Clinic, life: Life) -> Life:
    """A life with as little in it as still goes wrong."""
    while True:
        shorter = next((one for one in life.shorter() if clinic.live(one) is not None), None)
        if shorter is None:
            return life
        life = shorter


@pytest.mark.timeout(3600)
def test_every_life_of_an_appointment_is_reminded_of_as_the_model_says(tmp_path: Path, full: bool) -> None:
    clinic = Clinic(tmp_path)
    lives = FULL_LIVES if full else SHORT_LIVES
    began = time.monotonic()
    for seed in range(lives):
        life = life_of(seed)
        if clinic.live(life) is not None:
            least = shrunk(clinic, life)
            raise AssertionError(f"life {seed}: {clinic.live(least)}\n{least}")
    print(f"\n{lives} lives of appointments in {time.monotonic() - began:.0f} s, each as the model says")


def test_the_model_notices_a_dead_version_that_is_not_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that cannot fail proves nothing: marks that overtake nothing leave reminders of dead versions, and it says so."""
    monkeypatch.setattr(Mark, "overtakes", lambda *_, **__: None)
    clinic = Clinic(tmp_path)
    faults = [clinic.live(life_of(seed)) for seed in range(20)]
    assert any(fault is not None and "too many" in fault for fault in faults)


def test_the_model_notices_a_confirmation_that_settles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mark, "settled", lambda mark, _: mark)
    clinic = Clinic(tmp_path)
    faults = [clinic.live(life_of(seed)) for seed in range(40)]
    assert any(fault is not None and "too many" in fault for fault in faults)
