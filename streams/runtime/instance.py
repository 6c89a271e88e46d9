"""Who this worker is: a name that stays the same over restarts, so that the group gives it the same partitions back.

Every worker of an app on one host takes the first free slot, holding its lock file; the kernel frees it when the process dies.
"""

from __future__ import annotations

import fcntl
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from streams.runtime.errors import FatalError

_MAX_SLOTS = 256


@dataclass(frozen=True, slots=True)
class Instance:
    """The static member id, the folder for its stores, and the lock that makes both its own while it is kept open."""

    member_id: str
    folder: Path
    lock: IO[bytes]


def claim(folder: Path, app: str, wanted: str | None) -> Instance:
    """Takes the wanted instance, or the first free slot. Raises FatalError when it is taken."""
    names = [wanted] if wanted else [str(slot) for slot in range(_MAX_SLOTS)]
    for name in names:
        place = folder / app / name
        place.mkdir(parents=True, exist_ok=True)
        lock = (place / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return Instance(wanted or f"{socket.gethostname()}-{name}", place, lock)
    raise FatalError(
        f"{folder / app}: {'instance ' + wanted if wanted else 'every slot'} is taken by a running process"
    )
