"""What the processes of a stack say of themselves, asked again while one is too busy to answer in time."""

from __future__ import annotations

import time
from pathlib import Path

from connectors.metrics.asking import Answer, ask_all
from connectors.metrics.targets import targets

WAIT_SECONDS = 90.0


def answers(state_dir: Path) -> list[Answer]:
    """Of every living process."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        said = ask_all(state_dir)
        heard = {answer.target.address for answer in said}
        silent = [target.service for target in targets(state_dir) if target.address not in heard]
        if not silent:
            return said
        assert time.monotonic() < deadline, f"{silent} do not answer"
        time.sleep(0.05)
