"""`luxe up`, `luxe status` and `luxe down` on real services, through the program itself."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from connectors.settings import Settings
from connectors.stack.errors import PortTaken
from connectors.stack.port_claims import claiming
from connectors.stack.ports import DEFAULT_PORTS, choose_ports, free_port, is_free
from connectors.stack.process import ProcessRecord, fingerprint, living_record, read_record
from connectors.stack.supervisor import LOCK_FILE

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

# Real services are started, more than once: a busy machine may take its time.
COMMAND_TIMEOUT_SECONDS = 300


def luxe(
    *arguments: str, state_dir: Path, answer: str = "", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `luxe` as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env={**os.environ, "LUXE_STATE_DIR": str(state_dir), "COLUMNS": "200", **(environment or {})},
        input=answer,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_SECONDS,
        check=False,
    )


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """Not under pytest's own folder: each session closes that one to every other account, Postgres' included."""
    with tempfile.TemporaryDirectory(prefix="luxe-test-", ignore_cleanup_errors=True) as folder:
        directory = Path(folder) / "state"
        yield directory
        luxe("down", "--wipe", "--yes", state_dir=directory)


def free_ports_options() -> list[str]:
    """Options that keep a test's services away from the defaults, which a person's own stack may hold."""
    chosen: set[int] = set()
    options = []
    for name in DEFAULT_PORTS:
        port = free_port(chosen)
        chosen.add(port)
        options += ["--port", f"{name}={port}"]
    return options


def up_elsewhere(state_dir: Path, only: str) -> subprocess.CompletedProcess[str]:
    """`luxe up` on such ports; on others where somebody was faster to take one of them."""
    for _ in range(3):
        done = luxe("up", "--only", only, *free_ports_options(), state_dir=state_dir)
        if "is in use by another program" not in done.stderr:
            break
    return done


def services(state_dir: Path) -> dict[str, dict[str, Any]]:
    shown = luxe("status", "--json", state_dir=state_dir)
    return {entry["name"]: entry for entry in map(json.loads, shown.stdout.splitlines())}


def kill(record: ProcessRecord | None) -> None:
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    while record.is_alive():
        time.sleep(0.01)


def test_nothing_is_lost_when_everything_is_killed(state_dir: Path) -> None:
    up = up_elsewhere(state_dir, "kafka,postgres")
    assert up.returncode == 0, up.stderr
    settings = Settings(state_dir=state_dir)
    kafka: dict[str, str | int | float | bool] = {"bootstrap.servers": settings.kafka_bootstrap}
    admin = AdminClient(kafka)
    admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(30)
    producer = Producer({**kafka, "acks": "all"})
    producer.produce("kept", b"message", partition=0)
    assert producer.flush(30) == 0
    dsn = settings.postgres_dsn.get_secret_value()
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept (id int)")
        connection.execute("INSERT INTO kept VALUES (7)")

    run = state_dir / "run"
    kill(living_record(run / LOCK_FILE))
    kill(living_record(run / "kafka.pid"))
    kill(living_record(run / "postgres.pid"))
    broken = luxe("status", state_dir=state_dir)
    assert broken.returncode == 1
    assert "luxe up" in broken.stderr

    again = luxe("up", "--only", "kafka", state_dir=state_dir)
    assert again.returncode == 0, again.stderr
    assert "kafka died without its pid file being removed" in again.stderr
    # What should run is what was asked for before: Postgres too, and at the same addresses.
    assert Settings(state_dir=state_dir) == settings
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT id FROM kept").fetchall() == [(7,)]
    consumer = Consumer({**kafka, "group.id": "reader", "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe(["kept"])
        message = consumer.poll(30)
        assert message is not None
        assert message.value() == b"message"
    finally:
        consumer.close()


def test_up_again_changes_nothing_and_down_stops_all_of_it(state_dir: Path) -> None:
    assert up_elsewhere(state_dir, "postgres,loopback").returncode == 0
    first = services(state_dir)
    assert luxe("up", "--only", "postgres", state_dir=state_dir).returncode == 0
    second = services(state_dir)
    assert {name: entry["pid"] for name, entry in first.items()} == {
        name: entry["pid"] for name, entry in second.items()
    }
    assert all(entry["well"] for entry in second.values())
    supervisor = living_record(state_dir / "run" / LOCK_FILE)
    assert supervisor is not None

    down = luxe("down", state_dir=state_dir)
    assert down.returncode == 0
    assert "postgres, loopback" in down.stdout
    assert not supervisor.is_alive()
    assert all(fingerprint(entry["pid"]) is None for entry in second.values())
    stopped = luxe("status", state_dir=state_dir)
    assert stopped.returncode == 1
    assert "luxe up" in stopped.stderr
    assert luxe("down", state_dir=state_dir).stdout.startswith("Nothing was running")


def test_what_the_stack_writes_is_private_and_wiped_only_when_told(state_dir: Path) -> None:
    assert up_elsewhere(state_dir, "postgres").returncode == 0
    open_to_others = [
        path
        for path in state_dir.rglob("*")
        if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & (stat.S_IROTH | stat.S_IWOTH)
    ]
    assert open_to_others == []
    kept = luxe("down", "--wipe", state_dir=state_dir, answer="n\n")
    assert kept.returncode == 1
    assert services(state_dir)["postgres"]["well"]
    wiped = luxe("down", "--wipe", state_dir=state_dir, answer="y\n")
    assert wiped.returncode == 0
    assert not state_dir.exists()


def test_a_foreign_directory_is_neither_used_nor_wiped(state_dir: Path) -> None:
    state_dir.mkdir()
    (state_dir / "thesis.txt").write_text("mine")
    for arguments in (("up",), ("down", "--wipe", "--yes"), ("status",)):
        refused = luxe(*arguments, state_dir=state_dir)
        assert refused.returncode == 1
        assert "not made by luxe" in refused.stderr
        assert "next: choose an empty or new directory" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert (state_dir / "thesis.txt").read_text() == "mine"


def test_a_read_only_place_is_named() -> None:
    # The kernel's own file system: not even root can make a folder there.
    refused = luxe("up", state_dir=Path("/sys/luxe"))
    assert refused.returncode == 1
    assert "/sys/luxe: " in refused.stderr
    assert "--state-dir" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_missing_download_is_named(state_dir: Path, tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    no_network = {"LUXE_CACHE_DIR": str(tmp_path / "empty"), "HTTPS_PROXY": nowhere, "NO_PROXY": "", "no_proxy": ""}
    no_network["https_proxy"] = nowhere
    refused = luxe("up", "--only", "kafka", state_dir=state_dir, environment=no_network)
    assert refused.returncode == 1
    assert "Kafka's jars" in refused.stderr
    assert "next: run `luxe up` once with a network" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_taken_port_that_was_asked_for_is_named(state_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = luxe("up", "--only", "postgres", "--port", f"postgres={port}", state_dir=state_dir)
    assert refused.returncode == 1
    assert f"port {port}, asked for postgres, is in use" in refused.stderr
    assert "next: stop that program" in refused.stderr


def test_a_command_that_is_already_at_it_is_named(state_dir: Path) -> None:
    assert up_elsewhere(state_dir, "loopback").returncode == 0
    with open(state_dir / "run" / "command.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = luxe("up", "--only", "loopback", state_dir=state_dir)
    assert refused.returncode == 1
    assert "another luxe command" in refused.stderr


def test_a_pid_file_of_a_stranger_is_only_a_stale_file(state_dir: Path) -> None:
    assert up_elsewhere(state_dir, "loopback").returncode == 0
    run = state_dir / "run"
    kill(living_record(run / LOCK_FILE))
    kill(living_record(run / "loopback.pid"))
    stale = read_record(run / "loopback.pid")
    assert stale is not None
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        recycled = ProcessRecord(stranger.pid, stale.fingerprint, stale.started_ms, stale.spec_digest)
        (run / "loopback.pid").write_text(recycled.to_json())
        again = luxe("up", "--only", "loopback", state_dir=state_dir)
        assert again.returncode == 0, again.stderr
        assert services(state_dir)["loopback"]["pid"] != stranger.pid
        assert luxe("down", state_dir=state_dir).returncode == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_unknown_service_is_named(state_dir: Path) -> None:
    refused = luxe("up", "--only", "kafak", state_dir=state_dir)
    assert refused.returncode == 1
    assert "no service is called kafak" in refused.stderr
    assert "kafka" in refused.stderr.split("next:")[1]


def test_help_is_there_for_every_word() -> None:
    for word in ("up", "down", "status"):
        assert luxe(word, "--help", state_dir=Path("/nowhere")).returncode == 0


class TestPorts:
    """The choice of ports, on this machine's real ones."""

    def test_a_default_that_is_taken_is_moved(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            chosen = choose_ports({"postgres": port}, {}, ())
        assert chosen["postgres"] != port
        assert len(set(chosen.values())) == len(DEFAULT_PORTS)

    def test_the_last_ones_are_kept(self) -> None:
        last = choose_ports({}, {}, (), anywhere=True)
        assert choose_ports(last, {}, ()) == last

    def test_a_port_that_our_own_process_holds_is_kept(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as ours:
            port = ours.getsockname()[1]
            assert choose_ports({"postgres": port}, {}, {"postgres"})["postgres"] == port
            assert choose_ports({"postgres": port}, {"postgres": port}, {"postgres"})["postgres"] == port

    def test_two_that_start_at_once_take_different_ones(self, tmp_path: Path) -> None:
        with claiming(tmp_path / "ports") as one, claiming(tmp_path / "ports") as other:
            first = choose_ports({}, {}, (), claim=one.take)
            assert choose_ports({}, {}, (), claim=one.take) == first  # it looks again before it starts the pipeline
            second = choose_ports({}, {}, (), claim=other.take)
            assert not {*first.values()} & {*second.values()}
            with pytest.raises(PortTaken, match="asked for kafka"):
                choose_ports({}, {"kafka": first["kafka"]}, (), claim=other.take)
        with claiming(tmp_path / "ports") as third:  # claims end with who held them
            assert choose_ports({}, {"kafka": first["kafka"]}, (), claim=third.take)["kafka"] == first["kafka"]

    def test_where_no_file_can_be_made_nobody_is_kept_from_anything(self, tmp_path: Path) -> None:
        (tmp_path / "ports").write_text("no folder")
        with claiming(tmp_path / "ports") as one:
            ports = choose_ports({}, {}, (), anywhere=True, claim=one.take)
        assert len(set(ports.values())) == len(DEFAULT_PORTS)

    def test_one_asked_for_is_taken_or_refused(self) -> None:
        wanted = free_port()
        assert choose_ports({}, {"kafka": wanted}, ())["kafka"] == wanted
        with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(PortTaken, match="asked for kafka"):
            choose_ports({}, {"kafka": other.getsockname()[1]}, ())

    def test_a_closed_connection_does_not_hold_a_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            client = socket.create_connection(("127.0.0.1", port))
            accepted, _address = server.accept()
            accepted.close()
            client.close()
        assert is_free(port)
