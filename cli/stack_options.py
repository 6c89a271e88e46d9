"""Options that every command on the local stack shares."""

from __future__ import annotations

from pathlib import Path

import click

from connectors.settings import DEFAULT_STATE_DIR

state_dir_option = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="LUXE_STATE_DIR",
    default=DEFAULT_STATE_DIR,
    show_default=True,
    show_envvar=True,
    help="Everything the stack keeps: data, logs, keys, pid files.",
)
