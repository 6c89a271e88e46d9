"""``python -m sinks sms|email|push|in_app|clickhouse``: one sink as a process, until SIGTERM or SIGINT."""

from __future__ import annotations

import logging
import sys

import click
import psycopg
import uvloop
from confluent_kafka import KafkaException
from pydantic import ValidationError

from connectors.collector import collect_rarely
from connectors.exit_status import EXIT_SETTINGS
from connectors.kafka_diagnosis import why_not
from connectors.logs import configure_logging
from connectors.sealing import KeyRingError
from connectors.settings import Settings, SettingsError
from schemas.registry import RegistryError
from sinks.runtime.tuning import Tuning
from sinks.runtime.worker import OpenBeside, OpenChannel, serve_until_signalled

log = logging.getLogger("sinks")


EXIT_FATAL = 70  # EX_SOFTWARE: going on was not safe; starting again is the mend


@click.group()
def main() -> None:
    """Sinks: what leaves the pipeline."""


@main.command()
def sms() -> None:
    """Deliver texts through Twilio."""
    from sinks.runtime.sender_refusals import SenderRefusals
    from sinks.sms import Sms

    _deliver(Sms, SenderRefusals.open)


@main.command()
def email() -> None:
    """Deliver emails through SendGrid."""
    from sinks.email import EmailChannel

    _deliver(EmailChannel)


@main.command()
def push() -> None:
    """Deliver push messages through Firebase."""
    from sinks.inbox_sync.service import InboxSync
    from sinks.push import Push

    _deliver(Push, InboxSync.open)


@main.command("in_app")
def in_app() -> None:
    """Put in-app messages into their inboxes."""
    from sinks.in_app import InApp

    _deliver(InApp)


@main.command()
def clickhouse() -> None:
    """Bring every topic into ClickHouse."""
    # Imported only here: it loads the embedded engine, some 300 MB.
    from sinks.clickhouse import main as ingest

    sys.exit(ingest())


def _deliver(open_channel: OpenChannel, open_beside: OpenBeside = lambda *_: None) -> None:
    try:
        settings, tuning = Settings(), Tuning()
        configure_logging(settings.log_format)
        collect_rarely()
        uvloop.run(serve_until_signalled(settings, tuning, open_channel, open_beside))
    except (SettingsError, ValidationError, KeyRingError, RegistryError) as error:
        click.echo(f"sinks: {error}", err=True)
        sys.exit(EXIT_SETTINGS)
    except psycopg.OperationalError as error:
        click.echo(f"sinks: Postgres does not answer ({type(error).__name__}); run `luxe status`", err=True)
        sys.exit(EXIT_FATAL)
    except KafkaException as error:
        click.echo(f"sinks: Kafka: {why_not(settings, error.args[0])}; run `luxe status`", err=True)
        sys.exit(EXIT_FATAL)


if __name__ == "__main__":
    main()
