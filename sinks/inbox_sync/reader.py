"""Reads ``inbox.changes`` in a group of its own: each change is heard of by one of the push sinks, a person's by the same."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, Message

from connectors.inbox_changes import RECORD
from connectors.kafka import is_record, make_consumer
from connectors.settings import Settings
from schemas.codec import Codec, CodecError
from schemas.topics import INBOX_CHANGES

log = logging.getLogger(__name__)

GROUP = "sinks-push-sync"
POLL_SECONDS = 0.1
BATCH_RECORDS = 1_000
RETRY_SECONDS = 5.0
# What changed before is old news to a badge: whoever was away for a day, or is new, does not begin with the day's changes.
OLD_SECONDS = 600.0


class ChangesReader:
    """Hands over whose inboxes had something read, archived, acknowledged. Its thread never ends before ``stop``.

    Best effort: a position is committed once it was read, whatever becomes of it.
    """

    def __init__(self, settings: Settings, codec: Codec, heard: Callable[[Sequence[str]], None]) -> None:
        """``heard``: called in the event loop that this is made in, with recipients."""
        self._settings = settings
        self._codec = codec
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._main, name="inbox-sync", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    async def stop(self) -> None:
        """End the thread, and wait for that."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)

    def _main(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except Exception as error:  # noqa: BLE001 - foreseen or not, it must not end the thread that nobody watches
                log.warning("%s: %s; badges stay as they are, trying again", INBOX_CHANGES, type(error).__name__)
                self._stopping.wait(RETRY_SECONDS)

    def _follow(self) -> None:
        consumer = make_consumer(self._settings, GROUP, enable_auto_commit=True)
        try:
            consumer.subscribe([INBOX_CHANGES])
            while not self._stopping.is_set():
                self._read(consumer)
        finally:
            consumer.close()

    def _read(self, consumer: Consumer) -> None:
        first = consumer.poll(POLL_SECONDS)
        if first is None:
            return
        oldest_ms = (time.time() - OLD_SECONDS) * 1_000
        changed = dict.fromkeys(
            recipient
            for message in (first, *consumer.consume(BATCH_RECORDS, 0))
            if is_record(message) and message.timestamp()[1] >= oldest_ms
            for recipient in self._changed(message)
        )
        if changed:
            self._loop.call_soon_threadsafe(self._heard, tuple(changed))

    def _changed(self, message: Message) -> tuple[str, ...]:
        """Whose inbox a record says was changed; what arrived has a message of its own, or is not urgent."""
        value = message.value()
        if value is None:
            return ()
        try:
            change = self._codec.decode(value)
        except CodecError as error:
            log.warning("%s: %s; a badge stays as it is", INBOX_CHANGES, error.code)
            return ()
        return (change.value["recipient"],) if change.name == RECORD and change.value["kind"] == "changed" else ()
