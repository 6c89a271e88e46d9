"""The stack that benchmarks run on: one of its own, in a temporary folder, on free ports; gone afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from connectors.settings import Settings
from connectors.stack.stack import LocalStack
from tests.bench.telling import RESULT
from tests.conftest import Stack

REPOSITORY = Path(__file__).parents[2]
WORKER_TIMEOUT_SECONDS = 300


@contextmanager
def running_stack(*services: str, environment: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """Kafka and Postgres (durable: what commits there is measured too), with these services beside them.

    ``environment``: settings of the services, as ``LUXE_…``.
    """
    with (
        patch.dict(os.environ, environment or {}),
        tempfile.TemporaryDirectory(prefix="luxe-bench-", ignore_cleanup_errors=True) as folder,
    ):
        local = LocalStack(Path(folder) / "state", default_ports=False, owner_pid=os.getpid())
        try:
            local.up(["kafka", "postgres", *services])
            yield Stack(local.settings())
        finally:
            local.wipe()


def worker_environment(settings: Settings) -> dict[str, str]:
    """What a process started by a benchmark is told of the stack. Its state lies in ``settings.state_dir``."""
    return {
        **os.environ,
        "LUXE_STATE_DIR": str(settings.state_dir),
        "LUXE_KEK_FILE": str(settings.kek_path),
        "LUXE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "LUXE_KAFKA_PARTITIONS": str(settings.kafka_partitions),
        "LUXE_POSTGRES_DSN": settings.postgres_dsn.get_secret_value(),
    }


def ask_worker(module: str, settings: Settings, python: str = sys.executable, /, **wanted: Any) -> Mapping[str, Any]:
    """Runs ``python -m module '{"…": …}'`` to its end; what it said on its RESULT line. Raises RuntimeError when it failed."""
    done = subprocess.run(
        [python, "-m", module, json.dumps(wanted)],
        env=worker_environment(settings),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=WORKER_TIMEOUT_SECONDS,
        check=False,
    )
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(RESULT):
            result: Mapping[str, Any] = json.loads(line.removeprefix(RESULT))
            return result
    raise RuntimeError(f"{module} ended with status {done.returncode}: {done.stderr[-2000:]}")
