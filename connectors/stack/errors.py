"""What can go wrong with the local stack, by name. Every message says what is wrong; every mend says what to do next."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class StackError(Exception):
    """The local stack cannot do what it was asked. ``mend`` is one sentence for the person at the terminal."""

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.mend}"


class MissingDownload(StackError):
    """A jar is neither in the cache nor to be had from the network."""


class CorruptDownload(StackError):
    """A jar's bytes are not those the lock file names."""


class PortTaken(StackError):
    """A port that was asked for by number is in use by something else."""


class DiskUnusable(StackError):
    """The disk is full, read-only or not ours to write."""


class ForeignDirectory(StackError):
    """A directory is not ours, or was made by another version or cluster."""


class AlreadySupervised(StackError):
    """Another command is starting or stopping this very stack."""


class ServiceFailed(StackError):
    """A service exited, or was not ready in time."""


class AccountUnusable(StackError):
    """Started as root, and no unprivileged account can run Postgres."""


# What the operating system says when a disk cannot be written, and what to do first.
_REFUSALS = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the disk quota is used up", "free some space"),
    errno.EROFS: ("the file system is read-only", "mount it writable"),
    errno.EACCES: ("permission denied", "mend its permissions"),
    errno.EPERM: ("operation not permitted", "mend its permissions"),
    errno.ENOTDIR: ("a part of the path is a file", "move that file away"),
}


@contextmanager
def naming_disk_errors(path: Path, elsewhere: str = "--state-dir") -> Iterator[None]:
    """Turns an ``OSError`` met while writing under ``path`` into a :class:`DiskUnusable` that names the place.

    ``elsewhere`` is the option or variable that chooses another place.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        what, mend = _REFUSALS[error.errno]
        place = error.filename if isinstance(error.filename, str) else path
        raise DiskUnusable(f"{place}: {what}", f"{mend}, or choose another place with {elsewhere}") from error
