"""The state directory: the one place the local stack writes to, ours by a marker file."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.stack.errors import AlreadySupervised, DiskUnusable, ForeignDirectory, naming_disk_errors

MARKER_FILE = ".luxe-state"
MARKER_FORMAT = 1

# Kafka's first segments and Postgres' first WAL files take ~80 MB; below this the stack would die half-way.
MINIMUM_FREE_BYTES = 256 * 1024 * 1024


def write_private(path: Path, content: str) -> None:
    """Writes a 0600 file whole or not at all: a reader sees the old content or the new, never half."""
    with naming_disk_errors(path):
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise


def read_json(path: Path) -> Any:
    """The JSON in ``path``; None where there is no file, or only half of one."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def new_kafka_cluster_id() -> str:
    """16 random bytes in URL-safe base64 without padding, as Kafka makes its own: never one that looks like an option."""
    while True:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not cluster_id.startswith("-"):
            return cluster_id


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """Paths of everything the local stack keeps, and the identity its marker file gives it."""

    root: Path
    identity: str
    kafka_cluster_id: str

    @property
    def run(self) -> Path:
        """Pid records, service specifications, the supervisor's status."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def ready(self) -> Path:
        """A process of ours touches ``ready/<name>`` once it works."""
        return self.root / "ready"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def kafka(self) -> Path:
        return self.root / "kafka"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def endpoints_file(self) -> Path:
        return self.root / "endpoints.json"

    def secret(self, name: str, fresh: str) -> str:
        """The secret kept under ``name``; the first call keeps ``fresh``."""
        path = self.secrets / name
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            write_private(path, fresh)
            return fresh

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Holds the lock that lets one `luxe up` or `luxe down` at a time change this stack.

        Raises AlreadySupervised when another command holds it.
        """
        with naming_disk_errors(self.run):
            self.run.mkdir(mode=0o700, exist_ok=True)  # a wipe that was interrupted may have removed it
            descriptor = os.open(self.run / "command.lock", os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadySupervised(
                    f"{self.root}: another luxe command is starting or stopping this stack",
                    "wait for it to end, or choose another place with --state-dir",
                ) from None
            yield


def find_state(root: Path) -> StateDirectory | None:
    """The state directory at ``root``, or None where there is none yet.

    Raises ForeignDirectory when the place holds something that is not ours.
    """
    root = root.absolute()
    with naming_disk_errors(root):
        if not root.exists():
            return None
        if not root.is_dir():
            raise ForeignDirectory(f"{root}: is a file", "choose a directory with --state-dir")
        marker = read_json(root / MARKER_FILE)
        if marker is None:
            if any(root.iterdir()):
                raise ForeignDirectory(
                    f"{root}: holds files, but no {MARKER_FILE}: it was not made by luxe",
                    "choose an empty or new directory with --state-dir",
                )
            return None
    if not isinstance(marker, dict) or marker.get("format") != MARKER_FORMAT:
        raise ForeignDirectory(
            f"{root}: was made by another version of luxe",
            "run it with that version, or choose another directory with --state-dir",
        )
    return StateDirectory(root, str(marker["identity"]), str(marker["kafka_cluster_id"]))


def open_state(root: Path) -> StateDirectory:
    """The state directory at ``root``, made (0700) where there is none.

    Raises ForeignDirectory, or DiskUnusable when the disk is full, read-only or not ours.
    """
    root = root.absolute()
    state = find_state(root)
    with naming_disk_errors(root):
        if state is None:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            root.chmod(0o700)
            cluster_id = new_kafka_cluster_id()
            state = StateDirectory(root, uuid.uuid4().hex, cluster_id)
            marker = {"format": MARKER_FORMAT, "identity": state.identity, "kafka_cluster_id": cluster_id}
            write_private(root / MARKER_FILE, json.dumps(marker))
        for folder in (state.run, state.logs, state.ready, state.secrets, state.kafka, state.postgres):
            folder.mkdir(mode=0o700, exist_ok=True)
        # A file system may only say that it is read-only or full when something is written.
        write_private(state.run / "write-test", "0" * 4096)
        free_bytes = shutil.disk_usage(root).free
    if free_bytes < MINIMUM_FREE_BYTES:
        raise DiskUnusable(
            f"{root}: only {free_bytes // 2**20} MiB free, {MINIMUM_FREE_BYTES // 2**20} MiB needed",
            "free some space, or choose another place with --state-dir",
        )
    return state


def wipe_state(state: StateDirectory) -> None:
    """Removes the state directory and all in it. Its marker goes last, so that an interrupted wipe can be repeated."""
    with naming_disk_errors(state.root):
        for entry in state.root.iterdir():
            if entry.name == MARKER_FILE:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        (state.root / MARKER_FILE).unlink()
        state.root.rmdir()
