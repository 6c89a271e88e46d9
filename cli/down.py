"""`luxe down`: stop exactly what `luxe up` started; with --wipe, remove its state too."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from cli.stack_options import state_dir_option
from connectors.stack.control import ServiceStatus
from connectors.stack.stack import LocalStack
from connectors.stack.state import find_state


class StopProgress:
    """Prints each service as it stops."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: set[str] = set()

    def downloading(self, here_bytes: int, total_bytes: int) -> None:
        """Stopping downloads nothing."""

    def step(self, label: str) -> None:
        """Stopping has no steps of its own."""

    def services(self, seen: list[ServiceStatus]) -> None:
        """Names a service that is being stopped, once."""
        for status in seen:
            if status.state == "stopping" and status.name not in self._told:
                self._told.add(status.name)
                self._console.print(f"[dim]·[/dim] stopping {status.name}")


@click.command("down")
@state_dir_option
@click.option("--wipe", is_flag=True, help="Also remove the state directory: all data, keys and logs.")
@click.option("--yes", is_flag=True, help="Do not ask before wiping.")
def command(state_dir: Path, wipe: bool, yes: bool) -> None:
    """Stop exactly what `luxe up` started, last first."""
    state = find_state(state_dir)
    if state is None:
        click.echo(f"There is no stack in {state_dir.absolute()}.")
        return
    if wipe and not yes:
        click.confirm(f"Remove {state.root} and everything in it, for good?", abort=True)
    stack = LocalStack(state_dir, watcher=StopProgress(Console(stderr=True)))
    stopped = stack.wipe() if wipe else stack.down()
    click.echo(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")
    if wipe:
        click.echo(f"Removed {state.root}.")
    else:
        click.echo("Its data stay; `luxe up` continues with them.")
