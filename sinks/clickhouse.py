"""The ClickHouse sink as a process: ingester and, with the embedded engine, the read-only endpoint beside it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import KafkaException

from connectors.clickhouse import sms_prices
from connectors.clickhouse.client import (
    apply_ddl,
    engine_directory,
    is_embedded,
    open_client,
    private_temporary_directory,
)
from connectors.clickhouse.endpoint import ensure_password, make_app
from connectors.clickhouse.sms_prices import SmsPricesError
from connectors.collector import collect_rarely
from connectors.exit_status import EXIT_SETTINGS
from connectors.kafka import make_consumer
from connectors.kafka_admin import topic_ids
from connectors.kafka_diagnosis import why_not
from connectors.kafka_lag import ConsumerLag
from connectors.logs import configure_logging
from connectors.metrics.exporter import exporting
from connectors.postgres.ingest_positions import IngestPositions
from connectors.readiness import mark_ready
from connectors.sealing import KeyCache, KeyRing
from connectors.settings import Settings, SettingsError
from schemas.codec import Codec
from schemas.registry import open_registry
from schemas.topics import INBOX_CHANGES, INTAKE_STATE, NOTIFY_STATE, TOPICS
from sinks.ingest.batches import OutdatedError, Shapes
from sinks.ingest.ingester import MAX_BUFFERED, SINK, Ingester
from sinks.ingest.sealing import EventSealer

log = logging.getLogger(__name__)

# Everything but the changelogs, which are state in another form and hold nothing that is not on these topics, and what only
# wakes connections.
_NOT_INGESTED = (INTAKE_STATE, NOTIFY_STATE, INBOX_CHANGES)
INGESTED_TOPICS = tuple(topic.name for topic in TOPICS if topic.name not in _NOT_INGESTED)
# Static membership: a restart within the session time-out takes its partitions back without a rebalance.
SESSION_TIMEOUT_MS = 10_000
EXIT_FAILED = 1


def main() -> int:
    """Run until SIGTERM or SIGINT; the exit status."""
    try:
        settings = Settings()
    except SettingsError as error:
        log.error("%s", error)  # noqa: TRY400 — the message says all
        return EXIT_SETTINGS
    configure_logging(settings.log_format)
    try:
        asyncio.run(_serve(settings))
    except KafkaException as error:
        log.error("Kafka: %s; run `luxe status`", why_not(settings, error.args[0]))  # noqa: TRY400 — says all
        return EXIT_FAILED
    except (ClickHouseError, OutdatedError, SmsPricesError) as error:
        log.error("%s", error)  # noqa: TRY400 — the message says all; a trace adds nothing for who reads it
        return EXIT_FAILED
    return 0


async def _serve(settings: Settings) -> None:
    stop = threading.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    prices = sms_prices.load(settings.sms_prices_file)
    private_temporary_directory(settings)
    registry = open_registry(settings.schema_registry_url, _secret(settings))
    client = await asyncio.to_thread(open_client, settings)
    await asyncio.to_thread(apply_ddl, client, prices)
    codec = Codec(registry)
    dsn = settings.postgres_dsn.get_secret_value()
    lag = ConsumerLag()
    ingester = Ingester(
        make_consumer(
            settings,
            SINK,
            **lag.config,
            group_instance_id=f"{SINK}-{os.environ.get('LUXE_INSTANCE', '0')}",
            session_timeout_ms=SESSION_TIMEOUT_MS,
            enable_partition_eof=True,
            queued_max_messages_kbytes=32 * 1024,
        ),
        IngestPositions(dsn, SINK),
        client,
        Shapes(registry),
        codec,
        EventSealer(dsn, KeyCache(KeyRing.load(settings.kek_path)), codec),
        topic_ids(settings, INGESTED_TOPICS),
    )
    collect_rarely(2 * MAX_BUFFERED)
    async with AsyncExitStack() as stack:
        if is_embedded(settings):
            await _serve_endpoint(settings, stack)
        stack.enter_context(exporting(settings, SINK, [*ingester.sources, lag.source]))
        running = loop.run_in_executor(None, ingester.run, stop)
        assigned = loop.run_in_executor(None, ingester.assigned.wait)
        waiting: set[asyncio.Future[Any]] = {running, assigned}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            mark_ready(settings, SINK)
        try:
            await running
        finally:
            ingester.assigned.set()
            await assigned
            log.info("%d records in", ingester.rows)
    client.close()


async def _serve_endpoint(settings: Settings, stack: AsyncExitStack) -> None:
    app = make_app(engine_directory(settings) / "data", ensure_password(settings))
    runner = web.AppRunner(app, access_log=None)  # access logs would hold queries, and so what they look for
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, settings.clickhouse_http_host, settings.clickhouse_http_port).start()
    log.info("read-only HTTP on %s:%d", settings.clickhouse_http_host, settings.clickhouse_http_port)


def _secret(settings: Settings) -> str | None:
    auth = settings.schema_registry_auth
    return auth.get_secret_value() if auth is not None else None
