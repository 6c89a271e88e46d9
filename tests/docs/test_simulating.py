"""The example of docs/simulating.md, run as it stands: what it prints begins as the page says it does."""

from __future__ import annotations

import json
import shlex

from click.testing import CliRunner

from cli.simulate import command
from tests.docs.fences import ROOT, fences

PAGE = ROOT / "docs" / "simulating.md"


def test_the_example_prints_what_the_page_shows() -> None:
    (fence,) = (fence for fence in fences(PAGE) if fence.mark == "a-simulation")
    line, shown = fence.text.splitlines()
    result = CliRunner().invoke(command, shlex.split(line.removeprefix("$ luxe simulate ")), catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    before, after = (json.loads("{" + part.strip(" {},") + "}") for part in shown.split("…"))
    printed = json.loads(result.stdout)
    # How many a day calls for is the catalogue's say, and changes with it.
    same = ("days", "seed", "from", "events", "violations")
    assert {name: printed[name] for name in same} == {name: (before | after)[name] for name in same}
    assert printed.keys() > before.keys()
