"""Node for tests: packages that a folder of tests pins, installed once by ``npm ci`` into build/.

npm asks the registry that it is configured with (its default, ~/.npmrc, the environment); the lock file has hashes, no address.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PINNED = Path(__file__).parent / "contract" / "node"
INSTALL_SECONDS = 300
RUN_SECONDS = 120


def installed(pinned: Path = PINNED) -> Path:
    """The folder with node_modules, as ``pinned``'s lock file says; installed if it is not there yet."""
    lock = (pinned / "package-lock.json").read_bytes()
    folder = ROOT / "build" / "node" / hashlib.sha256(lock).hexdigest()[:16]
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as draft:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(pinned / name, draft)
        done = subprocess.run(
            [_tool("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=draft,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        whole = Path(draft) / "whole"
        whole.mkdir()
        shutil.move(Path(draft) / "node_modules", whole)
        try:
            whole.rename(folder)
        except OSError:
            assert folder.exists()  # another run of the tests was first
    return folder


def run_node(
    script: str, *, said: str = "", environment: Mapping[str, str] | None = None, pinned: Path = PINNED
) -> str:
    """What a script prints, with the pinned packages at hand; ``said``: its standard input."""
    modules = installed(pinned) / "node_modules"
    done = subprocess.run(
        [_tool("node"), "-e", script],
        input=said,
        env=_environment() | {"NODE_PATH": str(modules)} | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def _tool(name: str) -> str:
    """From the virtual environment that runs the tests."""
    return str(Path(sys.executable).with_name(name))


def _environment() -> dict[str, str]:
    """npm's own scripts look for `node` on the path."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
