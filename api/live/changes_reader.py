"""Reads ``inbox.changes`` whole from now on, outside any group: every process hears of every change, whoever made it.

And looks at Postgres at each heartbeat for what it did not hear of: Kafka may be away, a process may die between the two stores.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence

import psycopg
from confluent_kafka import OFFSET_END, Consumer, KafkaException, Message, TopicPartition

from api.live.hub import Hub
from connectors.kafka import ADMIN_TIMEOUT_SECONDS, make_consumer
from connectors.postgres import inbox
from connectors.postgres.pool import Pool
from connectors.settings import Settings
from schemas.codec import Codec, CodecError
from schemas.topics import INBOX_CHANGES

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
BATCH_RECORDS = 1_000
# Between tries when Kafka refuses; a broker that is only away is waited for by the client itself.
RETRY_SECONDS = 5.0


class ChangesReader:
    """Wakes the hub's connections. Its thread never ends before ``stop``: what goes wrong is tried again."""

    def __init__(self, settings: Settings, codec: Codec, hub: Hub) -> None:
        """Must be made in the hub's event loop."""
        self._settings = settings
        self._codec = codec
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._reading = threading.Event()
        self._thread = threading.Thread(target=self._main, name="inbox-changes", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    async def stop(self) -> None:
        """End the thread, and wait for that."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)

    async def reading(self, seconds: float) -> bool:
        """Wait until changes are heard of by Kafka; False when they are not within ``seconds``: the heartbeat does until then."""
        return await asyncio.to_thread(self._reading.wait, seconds)

    def _main(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except KafkaException as error:
                log.warning("%s: %s; inboxes are looked at by the heartbeat alone", INBOX_CHANGES, error.args[0].str())
                self._stopping.wait(RETRY_SECONDS)
            finally:
                self._reading.clear()

    def _follow(self) -> None:
        consumer = make_consumer(self._settings, "api-inbox-reader", auto_offset_reset="latest")
        try:
            self._assign(consumer)
            self._reading.set()
            while not self._stopping.is_set():
                # The first record at once, and whatever else is there; consume() alone would wait for a whole batch.
                first = consumer.poll(POLL_SECONDS)
                if first is not None:
                    self._hand_over([first, *consumer.consume(BATCH_RECORDS, 0)])
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer) -> None:
        topic = consumer.list_topics(INBOX_CHANGES, timeout=ADMIN_TIMEOUT_SECONDS).topics[INBOX_CHANGES]
        if topic.error is not None:
            raise KafkaException(topic.error)
        now = []
        for partition in topic.partitions:
            place = TopicPartition(INBOX_CHANGES, partition)
            _, end = consumer.get_watermark_offsets(place, timeout=ADMIN_TIMEOUT_SECONDS)
            # Exactly the end of this moment: "the end" as the client finds it out later would leave out what comes until then.
            now.append(TopicPartition(INBOX_CHANGES, partition, OFFSET_END if end is None else end))
        consumer.assign(now)

    def _hand_over(self, messages: Sequence[Message]) -> None:
        heard: list[tuple[bytes, bytes]] = []
        for message in messages:
            error = message.error()
            if error is not None:
                if error.retriable():
                    continue
                raise KafkaException(error)
            key, value = message.key(), message.value()
            if key is not None and value is not None:
                heard.append((key, value))
        if heard:
            self._loop.call_soon_threadsafe(self._wake, heard)

    def _wake(self, heard: Sequence[tuple[bytes, bytes]]) -> None:
        for key, value in heard:
            recipient = key.decode("utf-8", "replace")
            if not self._hub.is_here(recipient):
                continue  # by far the most: not even decoded
            try:
                self._hub.wake(recipient, self._codec.decode(value).value["version"])
            except CodecError as error:
                log.warning("%s: %s; the heartbeat tells what it said", INBOX_CHANGES, error.code)


async def look_now_and_then(pool: Pool, hub: Hub, seconds: float) -> None:
    """Wake who missed something, every ``seconds``, until cancelled."""
    told_at = float("-inf")
    while True:
        await asyncio.sleep(seconds)
        try:
            async with pool.connection() as connection:
                hub.wake_all(await inbox.versions(connection, hub.recipients()))
        except psycopg.OperationalError as error:
            if time.monotonic() - told_at > ADMIN_TIMEOUT_SECONDS:
                log.warning("Postgres does not answer (%s); connections wait", type(error).__name__)
                told_at = time.monotonic()
