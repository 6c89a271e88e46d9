"""``python -m connectors.webhooks``: the webhooks as a process, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import click
import psycopg
import uvloop
from aiohttp import web
from pydantic import ValidationError

from connectors.collector import collect_rarely
from connectors.logs import configure_logging
from connectors.readiness import mark_ready
from connectors.sealing import KeyRingError
from connectors.settings import Settings, SettingsError
from connectors.webhooks.app import make_app
from schemas.registry import RegistryError

log = logging.getLogger("connectors.webhooks")

EXIT_SETTINGS = 78  # EX_CONFIG of sysexits.h: starting again does not help
EXIT_FATAL = 70  # EX_SOFTWARE: starting again is the mend


@click.command()
def main() -> None:
    """Take the providers' signed receipts and turn them into statuses."""
    try:
        settings = Settings()
        configure_logging(settings.log_format)
        uvloop.run(_serve(settings))
    except (SettingsError, ValidationError, KeyRingError, RegistryError) as error:
        click.echo(f"webhooks: {error}", err=True)
        sys.exit(EXIT_SETTINGS)
    except psycopg.OperationalError as error:
        click.echo(f"webhooks: Postgres does not answer ({type(error).__name__}); run `luxe status`", err=True)
        sys.exit(EXIT_FATAL)
    except OSError as error:
        click.echo(
            f"webhooks: cannot listen on {settings.webhook_host}:{settings.webhook_port} ({error.strerror}); "
            "free it or set LUXE_WEBHOOK_PORT",
            err=True,
        )
        sys.exit(EXIT_FATAL)


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(make_app(settings), access_log=None)
    await runner.setup()
    collect_rarely()
    try:
        await web.TCPSite(runner, settings.webhook_host, settings.webhook_port).start()
        log.info("webhooks: listening on %s:%d", settings.webhook_host, settings.webhook_port)
        mark_ready(settings, "webhooks")
        await stop.wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    main()
