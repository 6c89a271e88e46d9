"""What the live routes need for as long as the application lives: the hub, its readers, and the producer of wake-ups."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from aiohttp import web

from api.live.changes_reader import ChangesReader, look_now_and_then
from api.live.feed import Feed
from api.live.hub import Hub, Limits
from api.resources import FEED, HUB, INBOX_CHANGES, POOL, RECORDS, SETTINGS
from connectors.inbox_changes import InboxChanges
from connectors.metrics.catalogue import LIVE
from connectors.metrics.counting import Read, one
from connectors.metrics.requests import SOURCES
from connectors.statuses import AcknowledgedProducer

log = logging.getLogger(__name__)

# A wake-up that Kafka did not take by then is of no use any more: the heartbeat was quicker.
WAKE_UP_SECONDS = 30.0
# A broker that is up says in half a second where its topics end. The API serves without it too.
READING_SECONDS = 5.0
# Somebody waits in another tab: no company is waited for.
LINGER_MS = 0.0


async def live(app: web.Application) -> AsyncIterator[None]:
    """To be entered after the stores."""
    settings, codec = app[SETTINGS], app[RECORDS].codec
    producer = AcknowledgedProducer(
        settings, on_failure=_failed, linger_ms=LINGER_MS, message_timeout_seconds=WAKE_UP_SECONDS
    )
    app[INBOX_CHANGES] = InboxChanges(producer, codec)
    app[HUB] = hub = Hub(Limits(settings.inbox_connections, settings.inbox_connections_each))
    app[SOURCES].append(Read(LIVE, one(lambda: len(hub))))
    app[FEED] = Feed(app[POOL], app[RECORDS])
    reader = ChangesReader(settings, codec, hub)
    reader.start()
    # Before anybody connects: what is told from now on is heard.
    if not await reader.reading(READING_SECONDS):
        log.warning("Kafka does not answer yet; until it does, inboxes are looked at by the heartbeat alone")
    looking = asyncio.create_task(look_now_and_then(app[POOL], hub, settings.inbox_heartbeat_seconds))
    yield
    looking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looking
    await reader.stop()
    await producer.settle(1.0)


def _failed(error: Exception) -> None:
    log.warning(
        "a change of an inbox was not told (%s); connections learn of it at their heartbeat", type(error).__name__
    )
