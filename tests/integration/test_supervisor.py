"""The supervisor and its control, with small services of the test's own."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connectors.stack.control import (
    ServiceStatus,
    ensure_supervisor,
    statuses,
    stop_everything,
    supervisor_lives,
    wait_until_ready,
    write_plan,
)
from connectors.stack.errors import AlreadySupervised, ServiceFailed
from connectors.stack.process import fingerprint, living_record
from connectors.stack.service import Probe, ServiceSpec
from connectors.stack.state import StateDirectory, open_state
from connectors.stack.supervisor import LOCK_FILE

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 90.0


def nobody_watches(_seen: list[ServiceStatus]) -> None:
    """No progress is shown."""


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDirectory]:
    directory = open_state(tmp_path / "state")
    yield directory
    if directory.root.exists():
        stop_everything(directory, nobody_watches)


def service(state: StateDirectory, name: str, script: str | None = None, *needs: str) -> ServiceSpec:
    """A shell script as a service; without one, it says that it is ready and sleeps."""
    ready = state.ready / name
    script = script or f"touch '{ready}'; exec sleep 600"
    return ServiceSpec(
        name=name,
        argv=("sh", "-c", script),
        ready=Probe("file", str(ready)),
        log_file=str(state.logs / f"{name}.log"),
        grace_seconds=4.0,
        ready_seconds=PATIENCE_SECONDS,
        depends_on=needs,
    )


def start(state: StateDirectory, *specs: ServiceSpec) -> dict[str, ServiceStatus]:
    write_plan(state, specs, None)
    ensure_supervisor(state)
    wait_until_ready(state, specs, nobody_watches)
    return {status.name: status for status in statuses(state)}


def pid_of(state: StateDirectory, name: str) -> int:
    record = living_record(state.run / f"{name}.pid")
    return record.pid if record else 0


def test_a_service_that_is_killed_is_started_again(state: StateDirectory) -> None:
    first = start(state, service(state, "a"))["a"].pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    eventually(lambda: pid_of(state, "a") not in (0, first) and statuses(state)[0].is_well)
    assert statuses(state)[0].restarts == 1
    assert statuses(state)[0].last_exit == "signal 9"


def test_a_service_waits_for_what_it_needs(state: StateDirectory) -> None:
    gate = state.root / "gate"
    needed = service(
        state, "store", f"while [ ! -e '{gate}' ]; do sleep 0.02; done; touch '{state.ready}/store'; exec sleep 600"
    )
    dependent = service(state, "sink", None, "store")
    write_plan(state, [needed, dependent], None)
    ensure_supervisor(state)
    eventually(lambda: pid_of(state, "store") != 0)
    assert {status.name: status.state for status in statuses(state)}["sink"] == "waiting"
    gate.touch()
    wait_until_ready(state, [needed, dependent], nobody_watches)


def test_a_disk_that_takes_nothing_does_not_end_the_supervisor(state: StateDirectory) -> None:
    (state.logs / "supervisor.log").symlink_to("/dev/full")  # every line of its own fails as on a full disk
    (state.run / "status.partial").mkdir()  # and so does its status
    (state.logs / "a.log").mkdir()  # and what one service needs to be started
    write_plan(state, [service(state, "a"), service(state, "b")], None)
    ensure_supervisor(state)
    eventually(lambda: pid_of(state, "b") != 0)
    (state.logs / "a.log").rmdir()
    (state.run / "status.partial").rmdir()
    wait_until_ready(state, [service(state, "a"), service(state, "b")], nobody_watches)


def test_services_outlive_a_killed_supervisor_and_the_next_one_adopts_them(state: StateDirectory) -> None:
    spec = service(state, "a")
    pid = start(state, spec)["a"].pid
    supervisor = living_record(state.run / LOCK_FILE)
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    eventually(lambda: not supervisor_lives(state))
    assert statuses(state)[0].state == "unsupervised"
    assert start(state, spec)["a"].pid == pid


def test_an_adopted_service_that_dies_is_started_again(state: StateDirectory) -> None:
    spec = service(state, "a")
    pid = start(state, spec)["a"].pid
    supervisor = living_record(state.run / LOCK_FILE)
    assert supervisor is not None
    assert pid is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    eventually(lambda: not supervisor_lives(state))
    start(state, spec)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: pid_of(state, "a") not in (0, pid))


def test_a_changed_service_is_restarted_and_the_others_are_not(state: StateDirectory) -> None:
    before = start(state, service(state, "a"), service(state, "b"))
    changed = service(state, "b", f"touch '{state.ready}/b'; exec sleep 601")
    after = start(state, service(state, "a"), changed)
    assert after["a"].pid == before["a"].pid
    assert after["b"].pid != before["b"].pid


def test_a_service_no_longer_wanted_is_stopped(state: StateDirectory) -> None:
    start(state, service(state, "a"), service(state, "b"))
    start(state, service(state, "a"))
    eventually(lambda: pid_of(state, "b") == 0)
    assert [status.name for status in statuses(state)] == ["a"]


def test_a_service_that_keeps_exiting_is_named_with_its_last_words(state: StateDirectory) -> None:
    broken = service(state, "a", "echo 'no such port'; exit 4")
    write_plan(state, [broken], None)
    ensure_supervisor(state)
    with pytest.raises(ServiceFailed, match=r"a exited .* \(status 4\); it last said: no such port") as failed:
        wait_until_ready(state, [broken], nobody_watches)
    assert "a.log" in failed.value.mend


def test_one_that_says_its_settings_are_wrong_is_not_started_again_until_luxe_up_is(state: StateDirectory) -> None:
    mended = state.root / "mended"
    script = f"[ -e '{mended}' ] || {{ echo 'LUXE_X: not set'; exit 78; }}; touch '{state.ready}/a'; exec sleep 600"
    with pytest.raises(ServiceFailed, match=r"a cannot run with these settings; it last said: LUXE_X: not set"):
        start(state, service(state, "a", script))
    assert (statuses(state)[0].state, statuses(state)[0].restarts) == ("misconfigured", 1)
    mended.touch()
    assert start(state, service(state, "a", script))["a"].is_well


def test_a_program_that_is_not_there_is_named(state: StateDirectory) -> None:
    missing = ServiceSpec("a", ("/no/such/program",), Probe("file", "/no"), str(state.logs / "a.log"))
    write_plan(state, [missing], None)
    ensure_supervisor(state)
    with pytest.raises(ServiceFailed, match="could not be started"):
        wait_until_ready(state, [missing], nobody_watches)


def test_stopping_is_last_first_and_kills_what_does_not_listen(state: StateDirectory) -> None:
    order = state.root / "order"

    def script(name: str) -> str:
        return f"trap 'echo {name} >> \"{order}\"; exit 0' TERM; touch '{state.ready}/{name}'; while :; do sleep 0.02; done"

    deaf = service(state, "deaf", f"trap '' TERM; touch '{state.ready}/deaf'; while :; do sleep 0.02; done", "store")
    start(state, service(state, "store", script("store")), service(state, "sink", script("sink"), "store"), deaf)
    assert stop_everything(state, nobody_watches) == ["store", "sink", "deaf"]
    assert order.read_text().split() == ["sink", "store"]
    assert not supervisor_lives(state)
    assert statuses(state) == []


def test_stopping_works_without_a_supervisor_and_spares_a_recycled_pid(state: StateDirectory) -> None:
    start(state, service(state, "a"), service(state, "b"))
    supervisor = living_record(state.run / LOCK_FILE)
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    eventually(lambda: not supervisor_lives(state))
    innocent = subprocess.Popen(["sleep", "600"])
    try:
        os.kill(pid_of(state, "a"), signal.SIGKILL)
        record = (state.run / "a.pid").read_text()
        pid = record.split('"pid": ')[1].split(",")[0]
        (state.run / "a.pid").write_text(record.replace(f'"pid": {pid}', f'"pid": {innocent.pid}'))
        assert stop_everything(state, nobody_watches) == ["b"]
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_everything_stops_when_the_owner_ends(state: StateDirectory) -> None:
    owner = subprocess.Popen(["sleep", "600"])
    spec = service(state, "a")
    write_plan(state, [spec], owner.pid)
    ensure_supervisor(state)
    wait_until_ready(state, [spec], nobody_watches)
    owner.kill()
    owner.wait()
    eventually(lambda: pid_of(state, "a") == 0 and not supervisor_lives(state))


def test_everything_stops_when_its_state_is_removed_from_under_it(state: StateDirectory) -> None:
    pid = start(state, service(state, "a"))["a"].pid
    supervisor = living_record(state.run / LOCK_FILE)
    assert supervisor is not None
    subprocess.run(["rm", "-rf", str(state.root)], check=True)
    eventually(lambda: not supervisor.is_alive())
    assert pid is not None
    assert fingerprint(pid) is None


def test_a_supervisor_without_a_record_is_not_joined_by_a_second(state: StateDirectory) -> None:
    with open(state.run / LOCK_FILE, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(AlreadySupervised, match=re.escape(f"holds {LOCK_FILE}")):
            ensure_supervisor(state)
