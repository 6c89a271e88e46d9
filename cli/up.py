"""`luxe up`: start what does not run, wait until it works, say where it listens."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from cli.stack_options import state_dir_option
from cli.status import status_table
from connectors.stack.control import ServiceStatus
from connectors.stack.pipeline import SERVICE_NAMES
from connectors.stack.ports import DEFAULT_PORTS
from connectors.stack.stack import LocalStack, service_names


class LiveProgress:
    """Shows a start as it goes: a bar while jars arrive, then one line for each step and each service."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: dict[str, str] = {}
        self._bar: TaskID | None = None
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
            transient=True,
        )

    def __enter__(self) -> LiveProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def downloading(self, here_bytes: int, total_bytes: int) -> None:
        """The first call draws the bar; the last takes it away."""
        if self._bar is None:
            self._console.print("Downloading Apache Kafka from Maven Central, once for this user")
            self._bar = self._progress.add_task("Kafka's jars", total=total_bytes)
        self._progress.update(self._bar, completed=here_bytes, visible=here_bytes < total_bytes)

    def step(self, label: str) -> None:
        """One thing that is done once."""
        self._console.print(f"[dim]·[/dim] {label}")

    def services(self, seen: list[ServiceStatus]) -> None:
        """Prints a service when it has become ready, or has exited and is tried again."""
        for status in seen:
            # Only what is told: in between, a service that is well may be looked at anew.
            if status.state not in ("ready", "backoff") or self._told.get(status.name) == status.state:
                continue
            self._told[status.name] = status.state
            if status.is_well:
                self._console.print(f"[green]✓[/green] {status.name} ready")
            else:
                self._console.print(f"[yellow]![/yellow] {status.name} exited ({status.last_exit}), trying again")


def _parse_ports(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, int]:
    ports: dict[str, int] = {}
    for item in given:
        name, equals, number = item.partition("=")
        if name not in DEFAULT_PORTS or not equals or not number.isdigit() or not 1 <= int(number) <= 65535:
            raise click.BadParameter(f"wants NAME=1…65535, with NAME one of {', '.join(DEFAULT_PORTS)}")
        ports[name] = int(number)
    return ports


@click.command("up")
@state_dir_option
@click.option("--only", multiple=True, metavar="NAME[,NAME…]", help=f"Only these, of: {', '.join(SERVICE_NAMES)}.")
@click.option(
    "--port",
    "ports",
    multiple=True,
    metavar="NAME=PORT",
    callback=_parse_ports,
    help=f"Exactly this port, of: {', '.join(DEFAULT_PORTS)}. Without it, the default or, if that is taken, a free one.",
)
@click.option("--no-fsync", is_flag=True, help="Postgres without fsync: faster, for data that may be thrown away.")
@click.option("--owner-pid", type=int, help="Stop everything when this process ends.")
def command(
    state_dir: Path, only: tuple[str, ...], ports: dict[str, int], no_fsync: bool, owner_pid: int | None
) -> None:
    """Start the local stack and the pipeline.

    What runs already goes on; what died is started again and continues where it stopped. Returns when all is ready.
    """
    console = Console()
    with LiveProgress(Console(stderr=True)) as progress:
        stack = LocalStack(state_dir, explicit_ports=ports, durable=not no_fsync, owner_pid=owner_pid, watcher=progress)
        services = stack.up(service_names(only) or None)
    console.print(status_table(services))
    console.print(f"State: {state_dir.absolute()}, logs in its folder logs/. Stop with `luxe down`.", soft_wrap=True)
