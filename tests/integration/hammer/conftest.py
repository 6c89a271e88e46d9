"""The whole stack, of its own: every service that a change and an event pass."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connectors.stack.stack import LocalStack

SERVICES = ("relay", "intake", "notify", "webhooks", "api", "sms", "email")


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether the long form was asked for (LUXE_CHAOS=full)."""
    return os.environ.get("LUXE_CHAOS", "short") == "full"


@pytest.fixture(scope="package")
def whole() -> Iterator[LocalStack]:
    """Running, on free ports; as durable as production, for what an answer waits for is part of what is measured."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="luxe-hammer-", ignore_cleanup_errors=True) as folder,
    ):
        # Tokens are many and short-lived here; the limit is for one caller's haste.
        patch.setenv("LUXE_API_REQUESTS_PER_SECOND", "5000")
        patch.setenv("LUXE_API_REQUEST_SECONDS", "6")  # so that an outage of seconds sees answers
        # Some 250 events a second: what is hammered is not the rate of a provider's account.
        patch.setenv("LUXE_LIMIT_SMS_PER_SECOND", "0")
        local = LocalStack(Path(folder) / "state", default_ports=False, owner_pid=os.getpid())
        try:
            local.up(SERVICES)
            yield local
        finally:
            local.wipe()


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Figures are for whoever runs the tests, captured or not."""

    def said(line: str) -> None:
        with capsys.disabled():
            # To stderr: of a process that runs tests for another (pytest -n) only that is the terminal's.
            print(f"\n  hammer: {line}", end="", file=sys.stderr, flush=True)

    return said
