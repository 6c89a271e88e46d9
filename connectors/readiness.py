"""How a process says that it serves: a file whose presence the supervisor waits for."""

from __future__ import annotations

import os
from pathlib import Path

from connectors.settings import Settings


def ready_file(settings: Settings, service: str) -> Path:
    """The file of one service."""
    return settings.state_dir / "ready" / service


def mark_ready(settings: Settings, service: str) -> None:
    """Say that ``service`` serves; LUXE_SERVICE_NAME, if set, is the name it was started under."""
    path = ready_file(settings, os.environ.get("LUXE_SERVICE_NAME", service))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch()
