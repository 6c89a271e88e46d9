"""Where processes say that their metrics are."""

from __future__ import annotations

import json
import os
from pathlib import Path

from click.testing import CliRunner

from cli.main import luxe
from connectors.metrics.targets import Target, announce, file_sd, last_port, targets


def dead(state_dir: Path, service: str, port: int) -> Path:
    """What a killed process left."""
    folder = state_dir / "metrics"
    folder.mkdir(exist_ok=True)
    path = folder / f"{service}-999999.json"
    path.write_text(json.dumps({"service": service, "address": f"127.0.0.1:{port}", "pid": 999999, "fingerprint": "x"}))
    return path


def test_a_process_is_found_while_it_serves(tmp_path: Path) -> None:
    with announce(tmp_path, "sms", "127.0.0.1", 9100) as target:
        assert targets(tmp_path) == [target]
        assert file_sd(targets(tmp_path)) == [{"targets": ["127.0.0.1:9100"], "labels": {"service": "sms"}}]
    assert targets(tmp_path) == []


def test_the_next_process_takes_its_port_over(tmp_path: Path) -> None:
    with announce(tmp_path, "sms", "127.0.0.1", 9100):
        assert last_port(tmp_path, "sms") is None  # somebody is there
    assert last_port(tmp_path, "sms") == 9100
    assert last_port(tmp_path, "email") is None


def test_a_killed_process_is_passed_over_and_its_file_removed_by_the_next(tmp_path: Path) -> None:
    left, other = dead(tmp_path, "sms", 9100), dead(tmp_path, "email", 9101)
    assert targets(tmp_path) == []
    assert last_port(tmp_path, "sms") == 9100
    with announce(tmp_path, "sms", "127.0.0.1", 9100) as target:
        assert targets(tmp_path) == [target]
    assert not left.exists()
    assert other.exists()


def test_a_pid_that_is_another_process_by_now_is_none_of_ours(tmp_path: Path) -> None:
    assert not Target("sms", "127.0.0.1:9100", os.getpid(), "another boot").lives


def test_half_a_file_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "a.json").write_text('{"service": "sm')
    (tmp_path / "metrics" / "b.json").write_text("[1]")
    with announce(tmp_path, "sms", "::1", 9100) as target:
        assert [found.address for found in targets(tmp_path)] == ["[::1]:9100"]
        assert target.url == "http://[::1]:9100/metrics"


def test_the_command_writes_what_prometheus_reads(tmp_path: Path) -> None:
    file = tmp_path / "luxe.json"
    with announce(tmp_path, "sms", "127.0.0.1", 9100):
        run = CliRunner().invoke(luxe, ["metrics", "targets", "--state-dir", str(tmp_path), "--output", str(file)])
    assert run.exit_code == 0, run.output
    assert json.loads(file.read_text()) == [{"targets": ["127.0.0.1:9100"], "labels": {"service": "sms"}}]


def test_the_command_says_where_nothing_runs(tmp_path: Path) -> None:
    run = CliRunner().invoke(luxe, ["metrics", "targets", "--state-dir", str(tmp_path)])
    assert run.exit_code == 1
    assert "luxe up" in run.output


def test_where_nothing_can_be_written_nothing_is_told_and_nobody_ends(tmp_path: Path) -> None:
    """A file where the folder should be: as a read-only state directory, also for root."""
    (tmp_path / "metrics").write_text("in the way")
    with announce(tmp_path, "sms", "127.0.0.1", 9100) as target:
        assert target.address == "127.0.0.1:9100"
    assert targets(tmp_path) == []
    assert last_port(tmp_path, "sms") is None
