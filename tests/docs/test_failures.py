"""docs/failures-elsewhere.md names tests that are there, each of them, and all that are named by such a failure."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.fences import ROOT

TEXT = (ROOT / "docs" / "failures-elsewhere.md").read_text(encoding="utf-8")
ROWS = [line for line in TEXT.splitlines() if line.startswith("|") and not line.startswith(("| failure", "|---"))]
NAMED = sorted({(path, name) for row in ROWS for path, name in re.findall(r"`([\w/]+\.py)::(\w+)`", row)})


@cache
def collected_from(path: Path) -> frozenset[str]:
    """The tests that pytest collects from a file: its functions by that name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_named_test_is_there(path: str, name: str) -> None:
    file = ROOT / "tests" / path
    assert file.name.startswith("test_")
    assert file.is_file(), f"{path}: no such file"
    assert name in collected_from(file), f"{path} has no such test"


def test_every_failure_has_one() -> None:
    without = [row for row in ROWS if not re.search(r"`[\w/]+\.py::test_\w+` *(,.*)?\|$", row)]
    assert ROWS
    assert without == []


def test_every_test_that_is_named_by_a_failure_is_listed() -> None:
    folder = ROOT / "tests"
    ours = {
        (str(file.relative_to(folder)), name)
        for file in folder.rglob("test_failures_elsewhere.py")
        for name in collected_from(file)
    }
    assert ours - set(NAMED) == set()
