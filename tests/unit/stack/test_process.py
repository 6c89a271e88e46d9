"""A pid alone is never trusted: only the very process a record was written for is seen, or signalled."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.stack.process import (
    ProcessRecord,
    fingerprint,
    kill_group,
    living_record,
    read_record,
    record_of_this_process,
    send_signal,
)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process of somebody else's."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def record_of(process: subprocess.Popen[bytes]) -> ProcessRecord:
    return ProcessRecord(process.pid, fingerprint(process.pid) or "", 0, "digest")


def test_this_process_is_alive_in_its_own_record(tmp_path: Path) -> None:
    record = record_of_this_process("digest")
    (tmp_path / "pid").write_text(record.to_json())
    assert living_record(tmp_path / "pid") == record
    assert record.pid == os.getpid()


@pytest.mark.parametrize("content", ["", "{", "[]", "17", '{"pid": "x"}', '{"pid": 1}'])
def test_a_broken_pid_file_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "pid").write_text(content)
    assert read_record(tmp_path / "pid") is None


def test_a_missing_pid_file_is_none(tmp_path: Path) -> None:
    assert living_record(tmp_path / "pid") is None


def test_a_dead_process_is_seen_to_be_dead(sleeper: subprocess.Popen[bytes]) -> None:
    record = record_of(sleeper)
    assert record.is_alive()
    sleeper.kill()
    # Even before it is waited for: a zombie does nothing any more.
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not record.is_alive()


def test_a_recycled_pid_is_never_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    stale = dataclasses.replace(record_of(sleeper), fingerprint="an earlier boot/12345")
    assert not stale.is_alive()
    assert not send_signal(stale, signal.SIGKILL)
    kill_group(stale)
    assert sleeper.poll() is None


def test_the_very_process_is_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    assert send_signal(record_of(sleeper), signal.SIGTERM)
    assert sleeper.wait(10) == -signal.SIGTERM


def test_what_a_service_forked_dies_with_it(tmp_path: Path) -> None:
    fork = 'sleep 60 & echo $! > "$0"; echo ready; wait'
    parent = subprocess.Popen(
        ["sh", "-c", fork, str(tmp_path / "child")], start_new_session=True, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    child = int((tmp_path / "child").read_text())
    kill_group(record_of(parent))
    parent.wait(10)
    # The pipe ends when the last process that holds it does.
    assert parent.stdout.read() == b""
    assert fingerprint(child) is None
