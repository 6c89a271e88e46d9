"""Where each process' metrics are: a file a process in ``<state_dir>/metrics``, and Prometheus' file_sd JSON made of them.

Ports are free ones, so that any number of processes share a machine. A process that was killed leaves its file behind; it is
known by its fingerprint, not only by its pid, and is passed over.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from connectors.stack.process import fingerprint

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """One process that can be asked. ``address``: host:port."""

    service: str
    address: str
    pid: int
    fingerprint: str

    @property
    def lives(self) -> bool:
        """Whether it is still this very process."""
        return fingerprint(self.pid) == self.fingerprint

    @property
    def url(self) -> str:
        """Where to ask."""
        return f"http://{self.address}/metrics"


@contextlib.contextmanager
def announce(state_dir: Path, service: str, host: str, port: int) -> Iterator[Target]:
    """Tell where this process listens, for as long as the context lasts. Files of the dead of this service are removed.

    Where nothing can be written (a container's read-only folder, a full disk) nothing is told: whoever asks knows the port.
    """
    folder = state_dir / "metrics"
    with _quietly():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path, old in _files(state_dir):
            if old.service == service and not old.lives:
                path.unlink(missing_ok=True)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    target = Target(service, address, os.getpid(), fingerprint(os.getpid()) or "")
    path = folder / f"{service}-{target.pid}.json"
    with _quietly():
        _write(path, target)
    try:
        yield target
    finally:
        with _quietly():
            _write(path, replace(target, fingerprint=""))  # it lives no more, but its port is known to the next one


def last_port(state_dir: Path, service: str) -> int | None:
    """The port of this service's last process, if that one is gone: the next one takes it over, where it is still free."""
    dead = [target for _, target in _files(state_dir) if target.service == service and not target.lives]
    return int(dead[0].address.rpartition(":")[2]) if dead else None


def targets(state_dir: Path) -> list[Target]:
    """The living, by service."""
    return sorted(
        (target for _, target in _files(state_dir) if target.lives), key=lambda target: (target.service, target.pid)
    )


def file_sd(found: list[Target]) -> list[dict[str, Any]]:
    """As Prometheus' file_sd_configs read it: one group a process, its service as a label."""
    return [{"targets": [target.address], "labels": {"service": target.service}} for target in found]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """No trouble with these files is a reason for a process of ours to end."""
    try:
        yield
    except OSError as error:
        log.warning(
            "metrics: where they are cannot be told (%s): `luxe status` does not show this process", error.strerror
        )


def _write(path: Path, target: Target) -> None:
    half = path.with_suffix(".tmp")
    half.write_text(json.dumps(asdict(target)))
    half.replace(path)


def _files(state_dir: Path) -> Iterator[tuple[Path, Target]]:
    for path in sorted((state_dir / "metrics").glob("*.json")):
        try:
            yield path, Target(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            continue  # removed meanwhile, or by another version of ours
