"""What our HTTP services share: a process that serves until it is signalled, its health, and how it turns callers away."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

import click
import psycopg
import uvloop
from aiohttp import web
from confluent_kafka import KafkaException
from pydantic import ValidationError

from connectors.collector import collect_rarely
from connectors.exit_status import EXIT_SETTINGS
from connectors.kafka import make_admin
from connectors.logs import configure_logging
from connectors.metrics.exporter import exporting
from connectors.metrics.requests import SOURCES
from connectors.postgres.pool import Pool
from connectors.readiness import mark_ready
from connectors.sealing import KeyRingError
from connectors.settings import Settings, SettingsError
from connectors.time_limit import within
from schemas.registry import RegistryError

log = logging.getLogger(__name__)

EXIT_FATAL = 70  # EX_SOFTWARE: starting again is the mend

PROBE_SECONDS = 2.0
OUTAGE_LOG_SECONDS = 10.0

Store = Literal["postgres", "kafka", "withdrawals"]


class Address(NamedTuple):
    """Where a service listens; ``setting``: the variable that says so."""

    host: str
    port: int
    setting: str


def serve(
    name: str, make_app: Callable[[Settings], web.Application], address_of: Callable[[Settings], Address]
) -> None:
    """Be the service ``name``, until SIGTERM or SIGINT. Ends the process with a line that says what is wrong, if it cannot."""
    try:
        settings = Settings()
        address = address_of(settings)
        configure_logging(settings.log_format)
        uvloop.run(_serve(name, settings, make_app, address))
    except (SettingsError, ValidationError, KeyRingError, RegistryError) as error:
        click.echo(f"{name}: {error}", err=True)
        sys.exit(EXIT_SETTINGS)
    except psycopg.OperationalError as error:
        click.echo(f"{name}: Postgres does not answer ({type(error).__name__}); run `luxe status`", err=True)
        sys.exit(EXIT_FATAL)
    except OSError as error:
        click.echo(
            f"{name}: cannot listen on {address.host}:{address.port} ({error.strerror}); free it or set {address.setting}",
            err=True,
        )
        sys.exit(EXIT_FATAL)


async def _serve(
    name: str, settings: Settings, make_app: Callable[[Settings], web.Application], address: Address
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app = make_app(settings)
    sources = app[SOURCES]
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    collect_rarely()
    try:
        await web.TCPSite(runner, address.host, address.port).start()
        log.info("%s: listening on %s:%d", name, address.host, address.port)
        with exporting(settings, name, sources):
            mark_ready(settings, name)
            await stop.wait()
    finally:
        await runner.cleanup()


class Outage:
    """Says once in a while that callers are turned away, however many there are."""

    def __init__(self) -> None:
        self._answered = 0
        self._told_at = -OUTAGE_LOG_SECONDS

    def note(self, error: Exception) -> None:
        """One more was answered 503."""
        self._answered += 1
        now = time.monotonic()
        if now - self._told_at >= OUTAGE_LOG_SECONDS:
            log.warning("%d requests answered 503 (%s); see GET /readyz", self._answered, type(error).__name__)
            self._answered, self._told_at = 0, now


async def alive(_: web.Request) -> web.Response:
    """The process answers."""
    return web.json_response({"status": "ok"})


async def readiness(
    settings: Settings, pool: Pool, withdrawals_known: Callable[[float], Awaitable[None]] | None = None
) -> web.Response:
    """200 where Postgres and Kafka answer; else 503 with which one does not.

    ``withdrawals_known``: for a service that needs it, waits until what was withdrawn is known, for so many seconds; raises
    TimeoutError. Not told of while Kafka is away.
    """
    away: list[Store] = []
    try:
        await within(PROBE_SECONDS, _ask(pool))
    except (psycopg.OperationalError, TimeoutError):
        away.append("postgres")
    try:
        await asyncio.to_thread(make_admin(settings).list_topics, timeout=PROBE_SECONDS)
    except KafkaException:
        away.append("kafka")
    if withdrawals_known is not None and "kafka" not in away:
        try:
            # Just after the start it is read still.
            await withdrawals_known(PROBE_SECONDS)
        except TimeoutError:
            away.append("withdrawals")
    return web.json_response({"status": "away" if away else "ok", "away": away}, status=503 if away else 200)


async def _ask(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute("SELECT 1")
