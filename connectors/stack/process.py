"""Processes known by more than their pid: a record is only trusted while the very process it was written for lives."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

_BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


def fingerprint(pid: int) -> str | None:
    """What tells one process from the next one with the same pid; None when no such process lives.

    On Linux the boot's id and the start in clock ticks, which no change of the wall clock moves; elsewhere the start time.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        # The second field is the program's name in brackets, which may itself hold spaces and brackets.
        fields = stat.rpartition(")")[2].split()
        if fields[0] in ("Z", "X"):
            return None
        return f"{_BOOT_ID_FILE.read_text().strip()}/{fields[19]}"
    except FileNotFoundError:
        if _BOOT_ID_FILE.exists():
            return None
    except (ProcessLookupError, IndexError):
        return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """Who runs as a service: written by the process itself just before it becomes that service."""

    pid: int
    fingerprint: str
    started_ms: int
    spec_digest: str

    def is_alive(self) -> bool:
        """Whether this very process lives; a recycled pid is not it."""
        return fingerprint(self.pid) == self.fingerprint

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def read_record(path: Path) -> ProcessRecord | None:
    """The record in ``path``; None for a missing, empty or half-written file."""
    try:
        found = json.loads(path.read_text())
        return ProcessRecord(
            int(found["pid"]), str(found["fingerprint"]), int(found["started_ms"]), str(found["spec_digest"])
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def living_record(path: Path) -> ProcessRecord | None:
    """The record in ``path`` if its process lives. A stale file counts as none, and nothing is ever signalled for it."""
    record = read_record(path)
    return record if record is not None and record.is_alive() else None


def record_of_this_process(spec_digest: str) -> ProcessRecord:
    """A record of the calling process."""
    pid = os.getpid()
    return ProcessRecord(pid, fingerprint(pid) or "", time.time_ns() // 1_000_000, spec_digest)


def send_signal(record: ProcessRecord, number: signal.Signals) -> bool:
    """Signals the recorded process; False, and no signal, when it is gone or its pid is another's by now."""
    if not record.is_alive():
        return False
    try:
        os.kill(record.pid, number)
    except ProcessLookupError:
        return False
    return True


def kill_group(record: ProcessRecord) -> None:
    """Kills the recorded process and what it forked. Each service leads a session, so its pid is its group's too."""
    if not record.is_alive():
        return
    try:
        os.killpg(record.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        send_signal(record, signal.SIGKILL)
