"""A setting that cannot be used ends every service alike: with its name, no trace, and the status that asks for patience."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from connectors.exit_status import EXIT_SETTINGS
from connectors.stack.errors import StackError
from connectors.stack.pipeline import PIPELINE
from connectors.stack.stack import LocalStack

pytestmark = pytest.mark.integration

WRONG = {"LUXE_KAFKA_SECURITY": "SSL", "LUXE_KAFKA_CA_FILE": "no/such.pem"}


@pytest.mark.parametrize(("name", "arguments"), [(name, arguments) for name, arguments, _ in PIPELINE])
def test_a_service_names_it_and_ends(tmp_path: Path, name: str, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", *arguments],
        env=os.environ | WRONG | {"LUXE_STATE_DIR": str(tmp_path), "LUXE_SERVICE_NAME": name},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == EXIT_SETTINGS, done.stderr[-2000:]
    assert "LUXE_KAFKA_CA_FILE: no such file" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_local_stack_is_not_spoken_to_in_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUXE_KAFKA_SECURITY", "SSL")
    local = LocalStack(tmp_path / "state", durable=False, default_ports=False, partitions=1, owner_pid=os.getpid())
    try:
        with pytest.raises(StackError, match="LUXE_KAFKA_SECURITY is SSL"):
            local.up(["loopback"])
        assert not any(status.pid for status in local.status())
    finally:
        local.wipe()
