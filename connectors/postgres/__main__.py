"""``python -m connectors.postgres relay``: the outbox relay, as a process."""

from __future__ import annotations

import os
import signal
import sys
from threading import Event

import click

from connectors.exit_status import EXIT_SETTINGS
from connectors.logs import configure_logging
from connectors.metrics.exporter import exporting
from connectors.postgres.backlog import Backlog
from connectors.postgres.housekeeping import keep_house
from connectors.postgres.relay import Relay
from connectors.settings import Settings, SettingsError


@click.group()
def main() -> None:
    """Processes at Postgres' side."""


@main.command()
def relay() -> None:
    """Publish the outbox to Kafka until SIGTERM or SIGINT. Run as many as you like: one works, the others stand by."""
    try:
        settings = Settings()
    except SettingsError as error:
        click.echo(f"relay: {error}", err=True)
        sys.exit(EXIT_SETTINGS)
    configure_logging(settings.log_format)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    ready = settings.state_dir / "ready" / os.environ.get("LUXE_SERVICE_NAME", "relay")

    def on_ready() -> None:
        ready.parent.mkdir(parents=True, exist_ok=True)
        ready.touch()

    relay = Relay(settings, on_ready=on_ready, housekeeping=keep_house)
    with exporting(settings, "relay", [*relay.sources, *Backlog(settings).sources]):
        relay.run(stop)


if __name__ == "__main__":
    main()
