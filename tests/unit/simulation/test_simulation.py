"""A made-up clinic's month under the virtual clock, by the real intake and notify: no rule broken, twice the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.simulate import command


def simulated(*options: str) -> Result:
    return CliRunner().invoke(command, list(options), catch_exceptions=False)


def totals(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_a_month_breaks_no_rule_and_its_books_close() -> None:
    result = simulated("--days", "30", "--seed", "1", "--appointments-a-day", "8", "--json")
    found = totals(result)
    assert found["violations"] == 0, result.stderr
    assert result.exit_code == 0
    assert found["requested"] == found["ended"] + found["waiting"]
    # What is heard twice, or after a newer version, is none; the year has both.
    assert found["dead_letters"].keys() <= {"plan_exhausted", "duplicate_event", "superseded_event", "closed_aggregate"}
    assert found["dead_letters"]["duplicate_event"] > 0
    assert min(found["sent"].values()) > 0
    assert found["decisions"]["defer"] > found["decisions"]["suppress"] > 0


def test_the_same_seed_gives_the_same_days_and_another_gives_others() -> None:
    options = ("--days", "4", "--patients", "40", "--appointments-a-day", "5", "--json")
    first, again, other = (totals(simulated(*options, "--seed", seed)) for seed in ("7", "7", "8"))
    assert first == again
    assert first["sent"] != other["sent"]


def test_tables_say_what_was_sent_when_and_why_not() -> None:
    result = simulated("--days", "3", "--patients", "40", "--appointments-a-day", "4")
    assert result.exit_code == 0
    for told in ("appointment_confirmation", "by the clinic's hour", "not_due", "0 violations were found"):
        assert told in result.stdout


@pytest.mark.parametrize(
    "options", [("--days", "0"), ("--days", "1001"), ("--patients", "5"), ("--appointments-a-day", "0")]
)
def test_what_cannot_be_simulated_is_said(options: tuple[str, str]) -> None:
    result = simulated(*options)
    assert result.exit_code == 2
    assert options[0] in result.stderr
