"""`luxe produce` into a real broker: a dry run shows nobody, a run that is killed is finished by the next, the sums close."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.exports.publishing import CHUNK_ROWS
from connectors.kafka import read_to_end
from connectors.kafka_admin import create_topics
from connectors.settings import Settings
from connectors.stack.stack import LocalStack
from schemas.codec import Codec
from schemas.registry import FileRegistry

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
MAP = EXAMPLES / "bookings.map.yaml"
ROWS = 30_000
REJECTED_EVERY = 1_000
START_SECONDS = 60


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    with tempfile.TemporaryDirectory(prefix="luxe-test-", ignore_cleanup_errors=True) as folder:
        local = LocalStack(
            Path(folder) / "state", durable=False, default_ports=False, partitions=4, owner_pid=os.getpid()
        )
        try:
            local.up(["kafka"])
            create_topics(local.settings())
            yield local.settings()
        finally:
            local.wipe()


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "cli.main", "produce", *map(str, arguments)]


def environment(settings: Settings) -> dict[str, str]:
    return os.environ | {"LUXE_STATE_DIR": str(settings.state_dir)}


def produce(settings: Settings, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=environment(settings), capture_output=True, text=True, check=False, timeout=200
    )


def totals(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def bookings(path: Path, rows: int) -> None:
    """An export whose every thousandth row has an impossible length."""
    header, first, *_ = (EXAMPLES / "bookings.csv").read_text().splitlines()
    lines = [header]
    for number in range(rows):
        row = first.replace("7001", f"{number}")
        lines.append(row.replace(";60;", ";9999;") if number % REJECTED_EVERY == 0 else row)
    path.write_text("\n".join(lines) + "\n")


def published(settings: Settings) -> list[str]:
    codec = Codec(FileRegistry())
    return [
        codec.decode(message.value()).value["event_id"] for message in read_to_end(settings, ["events.appointment"])
    ]


def test_a_dry_run_publishes_nothing_and_shows_nobody(settings: Settings) -> None:
    done = produce(settings, EXAMPLES / "bookings.csv", "--map", MAP, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "4 rows = 3 taken + 1 rejected" in done.stdout  # the guide tells of it
    for somebodys in ("Ada", "Example", "3055550101", "ada@", "Hydrating"):
        assert somebodys not in done.stdout + done.stderr
    assert published(settings) == []


def test_a_run_that_was_killed_is_finished_by_the_next(settings: Settings, tmp_path: Path) -> None:
    export, rejects = tmp_path / "export.csv", tmp_path / "rejects.jsonl"
    bookings(export, ROWS)
    before = len(published(settings))
    running = subprocess.Popen(
        command(export, "--map", MAP), env=environment(settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + START_SECONDS
    while not list((settings.state_dir / "produce").glob("*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    running.kill()
    running.wait()
    done = produce(settings, export, "--map", MAP, "--json", "--rejects", rejects)
    found = totals(done)
    rejected = ROWS // REJECTED_EVERY
    assert (found["rows"], found["events"], found["rejected"]) == (ROWS, ROWS - rejected, rejected)
    assert "going on after row" in done.stderr
    ids = published(settings)[before:]
    assert len(set(ids)) == ROWS - rejected
    assert len(ids) <= ROWS + CHUNK_ROWS
    assert "an impossible length" in rejects.read_text()
    again = produce(settings, export, "--map", MAP)
    assert f"published already ({ROWS - rejected} events; {rejected} of {ROWS} rows were rejected)" in again.stderr
    assert len(published(settings)) == before + len(ids)


def test_a_limit_is_a_beginning(settings: Settings) -> None:
    first = totals(produce(settings, EXAMPLES / "bookings.csv", "--map", MAP, "--limit", 1, "--json"))
    assert (first["rows"], first["events"]) == (1, 1)
    whole = totals(produce(settings, EXAMPLES / "bookings.csv", "--map", MAP, "--json"))
    assert (whole["rows"], whole["rejected"]) == (4, 1)
    assert whole["by_type"] == {"appointment.created": 3, "appointment.cancelled": 1}


def test_events_written_as_json_are_published_once(settings: Settings, tmp_path: Path) -> None:
    before = set(published(settings))
    found = totals(produce(settings, EXAMPLES / "appointment.json", "--json"))
    assert (found["rows"], found["rejected"], found["by_type"]) == (1, 0, {"appointment.created": 1})
    assert "published already" in produce(settings, EXAMPLES / "appointment.json").stderr
    assert len(set(published(settings)) - before) == 1
    # Again on purpose, it is the same event.
    totals(produce(settings, EXAMPLES / "appointment.json", "--restart", "--json"))
    assert len(set(published(settings)) - before) == 1

    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"event_type": "appointment.created", "patient_name": "Zebediah"}\n')
    for _ in range(2):  # of which nothing was published is not "published already": it is told again what is wrong
        done = produce(settings, bad)
        assert done.returncode == 1
        assert "rejected: line 1: clinic_id: missing" in done.stderr
        assert "every row was rejected" in done.stderr
        assert "published already" not in done.stderr
        assert "Zebediah" not in done.stdout + done.stderr
    assert produce(settings, EXAMPLES / "bookings.csv").returncode == 2
