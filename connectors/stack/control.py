"""Talking to the supervisor: start it, give it a plan, watch it, stop it. With it or without it, stop what it started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.stack.errors import AlreadySupervised, ServiceFailed, naming_disk_errors
from connectors.stack.process import fingerprint, kill_group, living_record, send_signal
from connectors.stack.service import ServiceSpec, in_start_order
from connectors.stack.state import StateDirectory, read_json, write_private
from connectors.stack.stopping import stop_services
from connectors.stack.supervisor import ALREADY_SUPERVISED, LOCK_FILE

POLL_SECONDS = 0.05
SUPERVISOR_START_SECONDS = 20.0
# Four quick exits without ever being ready are no accident (with the back-off between them: ~1.5 s).
EXITS_BEFORE_GIVING_UP = 4


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What is known of one service that should run."""

    name: str
    state: str
    pid: int | None
    started_ms: int | None
    restarts: int
    exits_before_ready: int
    last_exit: str | None
    address: str | None
    log_file: str

    @property
    def is_well(self) -> bool:
        return self.state == "ready"


def supervisor_lives(state: StateDirectory) -> bool:
    """Whether this stack's own supervisor runs; a stale pid file, or a pid that is another's by now, is none."""
    return living_record(state.run / LOCK_FILE) is not None


def planned(state: StateDirectory) -> list[ServiceSpec]:
    """The specifications of what should run, in start order; none after `luxe down`."""
    plan = read_json(state.run / "services.json")
    return in_start_order(ServiceSpec.from_dict(spec) for spec in plan["services"]) if plan else []


def write_plan(state: StateDirectory, specs: Iterable[ServiceSpec], owner_pid: int | None) -> None:
    """Says what should run. A running supervisor sees the change at its next tick."""
    owner = {"pid": owner_pid, "fingerprint": fingerprint(owner_pid)} if owner_pid else None
    plan = {"revision": uuid.uuid4().hex, "owner": owner, "services": [spec.to_dict() for spec in specs]}
    write_private(state.run / "services.json", json.dumps(plan, indent=1))


def ensure_supervisor(state: StateDirectory) -> None:
    """Starts the supervisor, detached from this terminal and session, unless it runs.

    Raises ServiceFailed when it does not come up, AlreadySupervised when another one is in its way.
    """
    if supervisor_lives(state):
        return
    (state.run / "status.json").unlink(missing_ok=True)
    log = state.logs / "supervisor.log"
    with naming_disk_errors(log), open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
        child = subprocess.Popen(
            (sys.executable, "-P", "-m", "connectors.stack.supervisor", "--state-dir", str(state.root)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=state.root,
        )
    deadline = time.monotonic() + SUPERVISOR_START_SECONDS
    while not supervisor_lives(state):
        if child.poll() == ALREADY_SUPERVISED:
            raise AlreadySupervised(
                f"{state.root}: a supervisor that left no readable record of itself holds {LOCK_FILE}",
                f"find it with `fuser {state.run / LOCK_FILE}`, end it, then run `luxe up` again",
            )
        if child.poll() is not None or time.monotonic() > deadline:
            raise ServiceFailed(f"the supervisor did not start: {last_lines(log)}", f"look at {log}")
        time.sleep(POLL_SECONDS)


def last_lines(log: Path, count: int = 1) -> str:
    """The end of a log, for an error message; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return " / ".join(lines[-count:])


def statuses(state: StateDirectory) -> list[ServiceStatus]:
    """The status of every service that should run. Without a supervisor only life and death are known."""
    supervised = supervisor_lives(state)
    services = _supervisor_saw(state) if supervised else {}
    result = []
    for spec in planned(state):
        record = living_record(state.run / f"{spec.name}.pid")
        seen = services.get(spec.name, {})
        unsupervised = "unsupervised" if record else "dead"
        result.append(
            ServiceStatus(
                name=spec.name,
                state=seen.get("state", "waiting") if supervised else unsupervised,
                pid=record.pid if record else None,
                started_ms=record.started_ms if record else None,
                restarts=seen.get("exits", 0),
                exits_before_ready=seen.get("exits_before_ready", 0),
                last_exit=seen.get("last_exit"),
                address=spec.address,
                log_file=spec.log_file,
            )
        )
    return result


def wait_until_ready(
    state: StateDirectory, specs: Iterable[ServiceSpec], watch: Callable[[list[ServiceStatus]], None]
) -> None:
    """Waits for every one of ``specs``, telling ``watch`` of each look.

    Raises ServiceFailed when one keeps exiting, is not ready in its time, or the supervisor itself dies.
    """
    waiting = {spec.name: spec for spec in specs}
    began: dict[str, float] = {}
    while True:
        seen = [status for status in statuses(state) if status.name in waiting]
        watch(seen)
        if len(seen) == len(waiting) and all(status.is_well for status in seen):
            return
        if not supervisor_lives(state):
            raise ServiceFailed(
                "the supervisor died", f"run `luxe up` again; its log is {state.logs / 'supervisor.log'}"
            )
        for status in seen:
            if status.is_well:
                continue
            exits = status.exits_before_ready
            if status.state == "waiting":
                continue
            now = time.monotonic()
            late = now - began.setdefault(status.name, now) > waiting[status.name].ready_seconds
            misconfigured = status.state == "misconfigured"
            if exits >= EXITS_BEFORE_GIVING_UP or late or misconfigured:
                what = f"exited {exits} times ({status.last_exit})" if exits else f"is not ready ({status.state})"
                if misconfigured:
                    what = "cannot run with these settings"
                said = last_lines(Path(status.log_file))
                raise ServiceFailed(
                    f"{status.name} {what}" + (f"; it last said: {said}" if said else ""),
                    f"look at {status.log_file}, then run `luxe up` again",
                )
        time.sleep(POLL_SECONDS)


def _supervisor_saw(state: StateDirectory) -> dict[str, dict[str, Any]]:
    """What the supervisor last said of each service; nothing until it has read the plan in force."""
    plan, status = read_json(state.run / "services.json"), read_json(state.run / "status.json")
    if not plan or not status or plan["revision"] != status["revision"]:
        return {}
    services: dict[str, dict[str, Any]] = status["services"]
    return services


def stale_records(state: StateDirectory) -> list[str]:
    """Names of services that should run, whose pid file names a process that is gone or another one by now."""
    names = (spec.name for spec in planned(state))
    return [name for name in names if (path := state.run / f"{name}.pid").exists() and not living_record(path)]


def stop_everything(state: StateDirectory, watch: Callable[[list[ServiceStatus]], None]) -> list[str]:
    """Stops the supervisor and all it started, last first; returns the names of what was running.

    Works the same when the supervisor is dead already: then by the pid records, each checked to be the very process.
    """
    specs = planned(state)
    running = [spec.name for spec in specs if living_record(state.run / f"{spec.name}.pid")]
    supervisor = living_record(state.run / LOCK_FILE)
    if supervisor is not None:
        send_signal(supervisor, signal.SIGTERM)
        patience_seconds = 10.0 + sum(spec.grace_seconds for spec in specs)
        deadline = time.monotonic() + patience_seconds
        while supervisor.is_alive() and time.monotonic() < deadline:
            watch(statuses(state))
            time.sleep(POLL_SECONDS)
        kill_group(supervisor)
    stop_services(
        specs,
        record_of=lambda spec: living_record(state.run / f"{spec.name}.pid"),
        stopping=lambda _spec: None,
        stopped=lambda spec: (state.run / f"{spec.name}.pid").unlink(missing_ok=True),
    )
    for name in ("status.json", "services.json"):
        (state.run / name).unlink(missing_ok=True)
    return running
