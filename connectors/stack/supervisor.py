"""The supervisor: one small process that keeps the wanted services running until it is told to stop.

It knows services only as data (``run/services.json``: the specifications, and the names wanted), which it reads again
whenever the file changes. What it sees it writes to ``run/status.json``. Services are processes of their own session:
should the supervisor be killed they go on, and the next one adopts them by their pid records.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Literal

from connectors.exit_status import EXIT_SETTINGS
from connectors.stack.probes import is_ready
from connectors.stack.process import ProcessRecord, fingerprint, living_record, record_of_this_process
from connectors.stack.service import ServiceSpec, in_start_order
from connectors.stack.stopping import stop_services

TICK_SECONDS = 0.1
# A service that has become ready is asked again this often, so that `luxe status` tells of one that hangs.
READY_CHECK_SECONDS = 2.0
FIRST_BACKOFF_SECONDS = 0.2
LARGEST_BACKOFF_SECONDS = 10.0
# One that lived this long was well: its next exit is a new story.
FORGIVEN_AFTER_SECONDS = 30.0
# A log is cut here, one older part is kept: at most 32 MiB for each service.
LOG_LIMIT_BYTES = 16 * 1024 * 1024
LOG_CHECK_SECONDS = 5.0

LOCK_FILE = "supervisor.lock"
ALREADY_SUPERVISED = 3  # exit status

# After EXIT_SETTINGS; `luxe up` after the mend starts it at once. Not never: what a setting names (a registry, an identity
# provider's keys) may have been away.
MISCONFIGURED_RETRY_SECONDS = 120.0

State = Literal["waiting", "starting", "ready", "unresponsive", "backoff", "misconfigured", "stopping", "stopped"]


@dataclass(slots=True)
class Supervised:
    """One service and what the supervisor knows about it. Instants in seconds of the monotonic clock."""

    spec: ServiceSpec
    state: State = "waiting"
    record: ProcessRecord | None = None
    child: subprocess.Popen[bytes] | None = None
    exits: int = 0
    exits_before_ready: int = 0
    last_exit: str | None = None
    backoff_seconds: float = FIRST_BACKOFF_SECONDS
    started_at: float = 0.0
    next_start_at: float = 0.0
    next_check_at: float = 0.0

    def is_alive(self) -> bool:
        """Whether its process lives; a child that exited is reaped and its exit remembered."""
        if self.child is not None:
            code = self.child.poll()
            if code is not None:
                self.last_exit = f"signal {-code}" if code < 0 else f"status {code}"
            return code is None
        return self.record is not None and self.record.is_alive()


class Supervisor:
    """Runs what ``run/services.json`` wants, in dependency order, and nothing else."""

    def __init__(self, run: Path, lock: IO[str]) -> None:
        self.run_directory = run
        self.lock = lock
        self.services: dict[str, Supervised] = {}
        self.owner: tuple[int, str] | None = None
        self.stop_requested = False
        self._plan_seen: tuple[int, int] | None = None
        self._revision = ""
        self._status_written = ""
        self._logs_checked_at = 0.0
        self._said = ""

    def run_until_stopped(self) -> None:
        """Supervises until SIGTERM or SIGINT, or until the owner process is gone; then stops everything, last first."""
        while not self.stop_requested:
            self._read_plan()
            for service in in_start_order(s.spec for s in self.services.values()):
                self._advance(self.services[service.name])
            self._bound_logs()
            self._write_status()
            if self._is_abandoned():
                self.stop_requested = True
            time.sleep(TICK_SECONDS)
        self._stop(list(self.services.values()))

    def request_stop(self, _number: int, _frame: FrameType | None) -> None:
        """The handler of SIGTERM and SIGINT."""
        self.stop_requested = True

    def _is_abandoned(self) -> bool:
        """Whether the owner process is gone, or somebody removed the state directory from under us."""
        if self.owner is not None and fingerprint(self.owner[0]) != self.owner[1]:
            return True
        try:
            return (self.run_directory / LOCK_FILE).stat().st_ino != os.fstat(self.lock.fileno()).st_ino
        except FileNotFoundError:
            return True

    def _read_plan(self) -> None:
        path = self.run_directory / "services.json"
        try:
            status = path.stat()
            seen = (status.st_mtime_ns, status.st_ino)
            if seen == self._plan_seen:
                return
            plan = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            return
        self._plan_seen = seen
        revision = plan["revision"]
        self.owner = (plan["owner"]["pid"], plan["owner"]["fingerprint"]) if plan.get("owner") else None
        wanted = {spec["name"]: ServiceSpec.from_dict(spec) for spec in plan["services"]}
        changed = [
            service
            for name, service in self.services.items()
            if name not in wanted or wanted[name].digest() != service.spec.digest()
        ]
        self._stop(changed)
        for service in changed:
            del self.services[service.spec.name]
        for name, spec in wanted.items():
            if name in self.services:
                self.services[name].spec = spec
                if self.services[name].state == "misconfigured":
                    self.services[name].state, self.services[name].next_start_at = "waiting", 0.0
            else:
                self.services[name] = self._adopt(spec)
        self._revision = revision

    def _adopt(self, spec: ServiceSpec) -> Supervised:
        """Takes over a process that an earlier supervisor left, if it runs just what we would start."""
        service = Supervised(spec)
        record = living_record(self._record_file(spec.name))
        if record is None:
            return service
        service.record, service.state, service.started_at = record, "starting", time.monotonic()
        if record.spec_digest != spec.digest():
            self._stop([service])
            return Supervised(spec)
        return service

    def _advance(self, service: Supervised) -> None:
        """One step of one service: start it when its time has come, see whether it lives, see whether it is ready."""
        now = time.monotonic()
        if service.state in ("waiting", "backoff", "misconfigured"):
            if now >= service.next_start_at and all(self._is_ready(name) for name in service.spec.depends_on):
                self._start(service)
            return
        if service.state == "stopped":
            return
        if not service.is_alive():
            self._exited(service, now)
            return
        if now >= service.next_check_at:
            ready = is_ready(service.spec.ready)
            if ready:
                service.exits_before_ready = 0
                service.state = "ready"
            elif service.state == "ready":
                service.state = "unresponsive"
            service.next_check_at = now + (READY_CHECK_SECONDS if service.state == "ready" else TICK_SECONDS)

    def _is_ready(self, name: str) -> bool:
        # What is not in the plan is somebody else's to run.
        return name not in self.services or self.services[name].state in ("ready", "unresponsive")

    def _exited(self, service: Supervised, now: float) -> None:
        if service.state == "starting":
            service.exits_before_ready += 1
        if service.record is not None and now - service.started_at > FORGIVEN_AFTER_SECONDS:
            service.backoff_seconds = FIRST_BACKOFF_SECONDS
        service.exits += 1
        misconfigured = service.child is not None and service.child.returncode == EXIT_SETTINGS
        service.child, service.record = None, None
        if service.spec.restart == "never":
            service.state = "stopped"
            return
        if misconfigured:
            service.state = "misconfigured"
            service.next_start_at = now + MISCONFIGURED_RETRY_SECONDS
            return
        service.state = "backoff"
        service.next_start_at = now + service.backoff_seconds
        service.backoff_seconds = min(service.backoff_seconds * 2, LARGEST_BACKOFF_SECONDS)

    def _start(self, service: Supervised) -> None:
        spec = service.spec
        try:
            if spec.ready.kind == "file":
                Path(spec.ready.target).unlink(missing_ok=True)
            service.child = self._spawn(spec)
        except (
            OSError,
            subprocess.SubprocessError,
        ) as error:  # the latter: its record could not be written, the disk is full
            service.last_exit = f"could not be started: {(isinstance(error, OSError) and error.strerror) or error}"
            service.started_at = time.monotonic()
            service.state = "starting"
            self._exited(service, time.monotonic())
            return
        service.record = living_record(self._record_file(spec.name))
        service.state, service.started_at, service.next_check_at = "starting", time.monotonic(), 0.0

    def _spawn(self, spec: ServiceSpec) -> subprocess.Popen[bytes]:
        digest = spec.digest()
        with contextlib.ExitStack() as opened:
            record_file = os.open(self._record_file(spec.name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            opened.callback(os.close, record_file)
            log = os.open(spec.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            opened.callback(os.close, log)

            def write_record() -> None:
                # In the child, before it becomes the service: there is no moment at which a service runs unrecorded.
                os.write(record_file, record_of_this_process(digest).to_json().encode())

            return subprocess.Popen(
                spec.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **spec.env},
                cwd=spec.working_directory,
                start_new_session=True,
                user=spec.user_id,
                group=spec.group_id,
                extra_groups=None if spec.user_id is None else [],
                preexec_fn=write_record,  # safe: this process has no other threads
            )

    def _stop(self, services: list[Supervised]) -> None:
        """Stops these services, those that depend on others first."""
        by_name = {service.spec.name: service for service in services}

        def stopping(spec: ServiceSpec) -> None:
            by_name[spec.name].state = "stopping"
            self._write_status()

        def stopped(spec: ServiceSpec) -> None:
            service = by_name[spec.name]
            if service.child is not None:
                service.child.poll()  # or it would stay behind as a zombie of ours
            self._record_file(spec.name).unlink(missing_ok=True)
            service.child, service.record, service.state = None, None, "stopped"
            self._write_status()

        def record_of(spec: ServiceSpec) -> ProcessRecord | None:
            return by_name[spec.name].record or living_record(self._record_file(spec.name))

        stop_services((service.spec for service in services), record_of, stopping, stopped)

    def _record_file(self, name: str) -> Path:
        return self.run_directory / f"{name}.pid"

    def _bound_logs(self) -> None:
        now = time.monotonic()
        if now - self._logs_checked_at < LOG_CHECK_SECONDS:
            return
        self._logs_checked_at = now
        own = self.run_directory.parent / "logs" / "supervisor.log"
        for log in (own, *(Path(service.spec.log_file) for service in self.services.values())):
            try:
                if log.stat().st_size > LOG_LIMIT_BYTES:
                    shutil.copyfile(log, log.with_suffix(".log.1"))
                    os.truncate(log, 0)  # it is open for appending: the next line begins the file anew
            except OSError:
                continue  # a full disk must not stop the supervisor

    def _write_status(self) -> None:
        status = {
            name: {
                "state": service.state,
                "pid": service.record.pid if service.record else None,
                "started_ms": service.record.started_ms if service.record else None,
                "exits": service.exits,
                "exits_before_ready": service.exits_before_ready,
                "last_exit": service.last_exit,
            }
            for name, service in self.services.items()
        }
        content = json.dumps({"revision": self._revision, "services": status})
        if content == self._status_written:
            return
        path = self.run_directory / "status.json"
        partial = path.with_suffix(".partial")
        try:
            partial.write_text(content)
            partial.replace(path)
            self._status_written = content
        except OSError as error:
            self._say_once(f"status not written: {error.strerror}")

    def _say_once(self, text: str) -> None:
        """A line of our own log, unless it was the last one too. It lies on the same disk, which may be full."""
        if text != self._said:
            with contextlib.suppress(OSError):
                print(text, file=sys.stderr, flush=True)
                self._said = text


def hold_lock(run: Path) -> IO[str] | None:
    """The lock that only one supervisor of this stack can hold, until it exits by whatever way; None when it is held.

    Its file says who holds it.
    """
    lock = (run / LOCK_FILE).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    lock.truncate(0)
    lock.write(record_of_this_process("").to_json())
    lock.flush()
    return lock


def main() -> int:
    """The supervisor's process. Exits with ALREADY_SUPERVISED where another one supervises this stack."""
    parser = argparse.ArgumentParser(description="Keeps the services of a luxe state directory running.")
    parser.add_argument("--state-dir", type=Path, required=True)
    run: Path = parser.parse_args().state_dir / "run"
    os.umask(0o077)
    lock = hold_lock(run)
    if lock is None:
        return ALREADY_SUPERVISED
    supervisor = Supervisor(run, lock)
    signal.signal(signal.SIGTERM, supervisor.request_stop)
    signal.signal(signal.SIGINT, supervisor.request_stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        supervisor.run_until_stopped()
    finally:
        (run / "status.json").unlink(missing_ok=True)
        lock.truncate(0)
        lock.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
