"""Ports that a stack which is being started has chosen: another that starts at the same moment chooses others.

Seconds pass between choosing a port and listening on it, and in them it looks free to everybody. A claim is a lock on a file, so
the kernel ends it with the process that holds it, however that ends; a file that is left behind claims nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class PortClaims:
    """What one start has claimed; ``folder`` is shared by all stacks of a user."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[int, int] = {}

    def take(self, port: int) -> bool:
        """Whether it is ours now; False: another start has claimed it. Where no file can be made, nothing is claimed."""
        if port in self._held:
            return True
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._folder / str(port), os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:  # a file system without locks
            os.close(descriptor)
            return True
        self._held[port] = descriptor
        return True

    def end(self) -> None:
        """Give all of them back; what listens by now holds its port itself."""
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()


@contextmanager
def claiming(folder: Path) -> Iterator[PortClaims]:
    """Claims until the end of the block."""
    claims = PortClaims(folder)
    try:
        yield claims
    finally:
        claims.end()
