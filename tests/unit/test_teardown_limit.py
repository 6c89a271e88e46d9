"""A run does not wait for ever for a fixture of a test that was stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CONFTEST = """
from tests.teardown_limit import TeardownLimit

def pytest_configure(config):
    config.pluginmanager.register(TeardownLimit(1.0))
"""
TESTS = """
import asyncio
import pytest

@pytest.fixture
async def stuck():
    yield
    await asyncio.Event().wait()

@pytest.mark.timeout(1)
async def test_never_ends(stuck):
    await asyncio.sleep(3600)

def test_after_it():
    pass
"""


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(TESTS)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-o", "asyncio_mode=auto", "--rootdir", str(folder), *more, str(folder)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_teardown_that_never_ends_ends_its_process_and_says_where_it_stood(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 1
    assert "Timeout (0:00:01)!" in done.stderr
    assert "asyncio" in done.stderr


def test_another_process_goes_on_with_the_rest(tmp_path: Path) -> None:
    done = run(tmp_path, "-n", "1")
    assert done.returncode == 1
    assert "crashed while running 'test_it.py::test_never_ends'" in done.stdout
    assert "1 passed" in done.stdout
