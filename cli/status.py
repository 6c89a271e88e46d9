"""`luxe status`: what should run, whether it does, and where it listens."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from cli.stack_options import state_dir_option
from connectors.readiness import read_standing
from connectors.stack.control import ServiceStatus
from connectors.stack.stack import LocalStack

_COLOURS = {"ready": "green", "waiting": "yellow", "starting": "yellow", "stopping": "yellow"}


def status_table(services: list[ServiceStatus]) -> Table:
    """The services as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("service", "state", "pid", "up", "restarts", "address"):
        table.add_column(heading, no_wrap=True)
    for service in services:
        table.add_row(
            service.name,
            f"[{_COLOURS.get(service.state, 'red')}]{service.state}",
            str(service.pid or "-"),
            _uptime(service),
            str(service.restarts),
            service.address or "-",
        )
    return table


def pauses(state_dir: Path, services: Sequence[ServiceStatus]) -> Iterator[str]:
    """A line for each provider, or sender, that a sink has paused."""
    for service in services:
        standing = read_standing(state_dir, service.name) if service.is_well else None
        for breaker in (standing or {}).get("breakers", ()):
            if breaker["state"] != "closed":
                yield (
                    f"{service.name}: {standing['provider'] if standing else ''}'s {breaker['subject']} is paused since "
                    f"{breaker['since']} ({breaker['cause']}, code {breaker['code']}); messages wait, see "
                    "docs/runbooks/delivery.md"
                )


def _uptime(service: ServiceStatus) -> str:
    if service.started_ms is None:
        return "-"
    seconds = max(0, int(time.time() - service.started_ms / 1000))
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds % 60:02}s"


@click.command("status")
@state_dir_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each service, one a line.")
def command(state_dir: Path, as_json: bool) -> None:
    """Show services, pids, ports and logs. Exit status 1 if something that should run does not."""
    services = LocalStack(state_dir).status()
    if as_json:
        for service in services:
            standing = read_standing(state_dir, service.name) if service.is_well else None
            click.echo(json.dumps({**asdict(service), "well": service.is_well, "standing": standing}))
    elif services:
        console = Console()
        console.print(status_table(services))
        for line in pauses(state_dir, services):
            console.print(line, style="yellow", soft_wrap=True, highlight=False)
        console.print(f"Logs: {Path(services[0].log_file).parent}/<service>.log", soft_wrap=True)
    if not services:
        click.echo(f"Nothing runs in {state_dir.absolute()}. Start it with `luxe up`.", err=True)
        sys.exit(1)
    unwell = [service.name for service in services if not service.is_well]
    if unwell:
        click.echo(f"Not ready: {', '.join(unwell)}. Run `luxe up` to mend, or read the log.", err=True)
        sys.exit(1)
