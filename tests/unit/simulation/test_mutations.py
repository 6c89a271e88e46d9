"""A rule that is broken on purpose is found: the checks see a whole simulation go wrong, and the command says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from cli.simulate import command
from streams.rules import decision, quiet, slots
from streams.rules.findings import PASS
from streams.rules.moments import compile_moment
from streams.rules.schedule import Mark
from streams.waiting import Waiting

OPTIONS = ("--days", "10", "--seed", "5", "--patients", "60", "--appointments-a-day", "3", "--json")


# Among whose visits there is one that is called off before its forms were to be asked for again.
CALLED_OFF = ("--days", "12", "--seed", "4", "--patients", "60", "--appointments-a-day", "4", "--json")


def found(options: tuple[str, ...] = OPTIONS) -> set[str]:
    result = CliRunner().invoke(command, options, catch_exceptions=False)
    told = {line.split(": ")[1] for line in result.stderr.splitlines() if line.startswith("violation: ")}
    assert result.exit_code == (1 if told else 0)
    assert (json.loads(result.stdout)["violations"] > 0) == bool(told)
    return told


def test_unbroken_there_is_nothing_to_find() -> None:
    assert found() == found(CALLED_OFF) == set()


@pytest.mark.parametrize("names", [("consent", "category_opt_in"), ("caps", "frequency")])
def test_a_rule_that_is_not_asked(monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]) -> None:
    rules = tuple((name, (lambda _: PASS) if name in names else rule) for name, rule in decision.RULES)
    monkeypatch.setattr(decision, "RULES", rules)
    assert names[0] in found()


def test_quiet_hours_that_hold_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (decision, quiet):
        monkeypatch.setattr(module, "windows", lambda _: ())
    assert "quiet hours" in found()


def test_reminders_that_come_five_minutes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: Callable[..., Any] = compile_moment

    def late(moment: Any, fields: Any) -> Callable[..., Any]:
        made = compiled(moment, fields)

        def moment_of(*event: Any) -> Any:
            instant = made(*event)
            return instant if instant is None else instant + timedelta(minutes=5)

        return moment_of

    monkeypatch.setattr(slots, "compile_moment", late)
    assert "reminders" in found()


def test_what_moved_and_still_is_reminded_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mark, "overtakes", lambda *_: None)
    assert found() & {"reminders", "dead version"}


def test_timers_that_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = Waiting.wait

    def forgets(self: Waiting, state: Any, request: Any, *rest: Any) -> None:
        if request["notification_type"] != "appointment_reminder_24h":
            waits(self, state, request, *rest)

    monkeypatch.setattr(Waiting, "wait", forgets)
    assert found() >= {"reminders", "the books"}


def test_forms_that_hear_nothing_of_their_visit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Waiting, "visit", staticmethod(lambda *_: None))
    assert found(CALLED_OFF) == {"needed"}


def test_what_is_done_and_asked_for_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mark, "settled", lambda mark, _: mark)
    assert "needed" in found()


def test_forms_that_are_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: Callable[..., Any] = slots.compile_slots
    monkeypatch.setattr("streams.rules.mapping.compile_slots", lambda *given: compiled(*given)[:1])
    assert "announced" in found()
