"""A test run that is killed leaves no worker behind."""

from __future__ import annotations

import os
import signal
import threading
import time


def end_with_parent() -> None:
    """From now on this process is killed when the one that started it is gone."""
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)
