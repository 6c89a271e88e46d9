"""The command as a whole: its words, its help, its way of saying what went wrong."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli import main as main_module
from cli.main import COMMANDS, luxe, main
from connectors.stack.errors import PortTaken


def test_every_word_has_a_module_that_exposes_a_command() -> None:
    for word, (module, _line) in COMMANDS.items():
        command = import_module(module).command
        assert isinstance(command, click.Command)
        assert command.name == word


def test_every_module_with_a_command_has_a_word() -> None:
    modules = {f"cli.{path.stem}" for path in Path(main_module.__file__).parent.glob("*.py")}
    exposing = {module for module in modules if hasattr(import_module(module), "command")}
    assert exposing == {module for module, _line in COMMANDS.values()}


def test_help_imports_no_command() -> None:
    script = (
        "import sys; from cli.main import luxe\n"
        "try: luxe(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('cli.up', 'pydantic', 'confluent_kafka', 'rich')))"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert finished.returncode == 0
    assert all(word in finished.stdout for word in COMMANDS)


def test_an_unknown_word_is_refused() -> None:
    assert CliRunner().invoke(luxe, ["upp"]).exit_code == 2


def test_an_error_of_ours_is_a_sentence_and_what_to_do_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise PortTaken("port 1 is in use", "stop that program")

    monkeypatch.setattr(main_module, "luxe", fail)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "luxe: port 1 is in use\n  next: stop that program\n"


def test_a_bug_tells_its_place_and_kind_and_no_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ValueError("Jane Roe is no number")

    monkeypatch.setattr(main_module, "luxe", fail)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "ValueError" in told
    assert "in fail" in told
    assert "is no number" not in told.replace('raise ValueError("Jane Roe is no number")', "")
