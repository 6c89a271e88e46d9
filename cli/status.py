"""`luxe status`: what should run, whether it does, where it listens; queues, and how it is with providers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from cli.stack_options import state_dir_option
from connectors.metrics.asking import ask_all
from connectors.metrics.health import health
from connectors.readiness import read_standing
from connectors.stack.control import ServiceStatus
from connectors.stack.stack import LocalStack
from schemas.topics import LANES

_PROVIDER_COLOURS = {"well": "green", "idle": "green", "queueing": "yellow"}
# What is said of other services, where it is not 0.
_WAITS = {
    "lag_records": "records not read",
    "timers_late_seconds": "s timers are late",
    "restoring_records": "records to restore",
    "outbox_rows": "changes not in Kafka",
    "receipts_parked": "receipts parked",
    "receipts_quarantined": "receipts quarantined",
    "dead_letters": "dead letters since its start",
}
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


def queue_table(found: Mapping[str, Mapping[str, Any]], now: float) -> Table:
    """Each channel's lanes, and how its provider did lately. ``now``: seconds since 1970."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("channel", "provider", "errors (5 min)", "last success", "critical", "high", "normal", "low"):
        table.add_column(heading, no_wrap=True)
    for service, seen in found.items():
        if "lanes" not in seen:
            continue
        provider = seen["provider"]
        errors = f"{provider['recent_errors']} of {provider['recent_calls']}"
        lanes = (seen["lanes"].get(lane) for lane in LANES)
        table.add_row(
            service,
            f"[{_PROVIDER_COLOURS.get(provider['state'], 'red')}]{provider['state']}",
            errors,
            _ago(provider["last_success"], now),
            *("-" if lane is None else f"{lane['queued']} ({lane['in_flight']})" for lane in lanes),
        )
    return table


def backlog_lines(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What waits elsewhere, one line a service, where something does."""
    lines = []
    for service, seen in found.items():
        waits = [f"{seen[word]} {what}" for word, what in _WAITS.items() if "lanes" not in seen and seen.get(word)]
        if waits:
            lines.append(f"{service}: {', '.join(waits)}")
    return lines


def _ago(at: float | None, now: float) -> str:
    if at is None:
        return "-"
    seconds = max(0, int(now - at))
    return f"{seconds} s ago" if seconds < 120 else f"{seconds // 60} min ago"


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
    """Show services, pids, ports and logs; queue depth (and in flight) by lane, providers' health of the last 5 minutes.

    Exit status 1 if something that should run does not.
    """
    services = LocalStack(state_dir).status()
    found = health(ask_all(state_dir)) if services else {}
    if as_json:
        for service in services:
            standing = read_standing(state_dir, service.name) if service.is_well else None
            told = {"well": service.is_well, "standing": standing, "health": found.get(service.name)}
            click.echo(json.dumps(asdict(service) | told))
    elif services:
        console = Console()
        console.print(status_table(services))
        if any("lanes" in seen for seen in found.values()):
            console.print()
            console.print(queue_table(found, time.time()))
        for line in pauses(state_dir, services):
            console.print(line, style="yellow", soft_wrap=True, highlight=False)
        for line in backlog_lines(found):
            console.print(line, soft_wrap=True)
        console.print(f"Logs: {Path(services[0].log_file).parent}/<service>.log", soft_wrap=True)
    if not services:
        click.echo(f"Nothing runs in {state_dir.absolute()}. Start it with `luxe up`.", err=True)
        sys.exit(1)
    unwell = [service.name for service in services if not service.is_well]
    if unwell:
        click.echo(f"Not ready: {', '.join(unwell)}. Run `luxe up` to mend, or read the log.", err=True)
        sys.exit(1)
