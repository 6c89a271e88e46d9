"""How a process says that it serves, and how it stands: files that the supervisor and `luxe status` look at."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connectors.settings import Settings


def ready_file(settings: Settings, service: str) -> Path:
    """The file of one service."""
    return settings.state_dir / "ready" / service


def mark_ready(settings: Settings, service: str) -> None:
    """Say that ``service`` serves; LUXE_SERVICE_NAME, if set, is the name it was started under."""
    path = ready_file(settings, _named(service))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch()


def tell_standing(settings: Settings, service: str, standing: Mapping[str, Any]) -> None:
    """Say how ``service`` stands: JSON, nothing of a person. Under the name it was started by, as ``mark_ready``."""
    path = _standing_file(settings.state_dir, _named(service))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(standing))
    part.replace(path)


def read_standing(state_dir: Path, service: str) -> dict[str, Any] | None:
    """What ``service`` last said of how it stands; None where it never did, or cannot be understood."""
    try:
        found = json.loads(_standing_file(state_dir, service).read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _named(service: str) -> str:
    return os.environ.get("LUXE_SERVICE_NAME", service)


def _standing_file(state_dir: Path, service: str) -> Path:
    return state_dir / "standing" / f"{service}.json"
