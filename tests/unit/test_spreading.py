"""Tests that share the stack are in one process, in their order; everything else is spread; failures are told as ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.spreading import SHARED, group, rank

ROOT = Path(__file__).parents[2]
CONFTEST = """
import os
from pathlib import Path
import pytest
from tests.conftest import pytest_collection_modifyitems, pytest_configure

@pytest.fixture(scope="session")
def stack():
    yield "stack"
    note("stopped")

@pytest.fixture(scope="session")
def rig(stack):
    return stack

@pytest.fixture(autouse=True)
def _noted(request):
    note(request.node.nodeid)

def note(what):
    with (Path(__file__).parent / os.environ["PYTEST_XDIST_WORKER"]).open("a") as file:
        file.write(f"{what}\\n")
"""
SHARING = """
def test_one(stack): pass
def test_two(rig): assert not {fails}
def test_three(): pass
"""
APART = """
import time
import pytest
@pytest.mark.parametrize("number", range(4))
def test_apart(number): time.sleep(0.05)
"""


@pytest.mark.parametrize(
    ("nodeid", "fixtures", "expected"),
    [
        ("tests/integration/test_a.py::test_a[1::2]", ("tmp_path", "rig", "stack"), SHARED),
        ("tests/unit/test_a.py::test_a[1::2]", ("tmp_path",), "tests/unit/test_a.py"),
        ("tests/unit/test_a.py::Machine::runTest", (), "tests/unit/test_a.py"),
    ],
)
def test_what_uses_the_stack_is_one_group_and_each_module_of_the_rest_is_one(
    nodeid: str, fixtures: tuple[str, ...], expected: str
) -> None:
    assert group(nodeid, fixtures) == expected


def test_the_long_chain_is_begun_first_and_unit_tests_fill_the_gaps() -> None:
    groups = ["tests/unit/test_a.py", "tests/integration/test_whole.py", SHARED]
    assert sorted(groups, key=rank) == groups[::-1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for name in ("test_a.py", "test_e.py"):
        (tmp_path / name).write_text(SHARING.format(fails=name == "test_e.py"))
    for name in ("test_b.py", "test_c.py", "test_d.py"):
        (tmp_path / name).write_text(APART)
    return tmp_path


def test_one_process_has_the_stack_and_a_failure_is_told_once_with_its_name(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", "-ra", "--rootdir", str(folder), "."],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "FAILED test_e.py::test_two - assert not True" in done.stdout
    assert "1 failed, 17 passed" in done.stdout

    ran = {name: (folder / name).read_text().splitlines() for name in ("gw0", "gw1")}
    sharing = [name for name, notes in ran.items() if "stopped" in notes]
    assert len(sharing) == 1
    shared = [note for note in ran[sharing[0]] if note.endswith(("test_one", "test_two"))]
    assert shared == [f"test_{module}.py::test_{number}" for module in "ae" for number in ("one", "two")]
    assert sum(map(len, ran.values())) == 18 + 1, json.dumps(ran)
    assert not list(folder.glob("luxe-groups-*"))
