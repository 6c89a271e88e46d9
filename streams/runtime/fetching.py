"""What is fetched: one librdkafka reader in a thread of its own, for all partitions that the group gave this process.

Faust's driver tells whose a partition is; this reads it, from the position that the partition's own store names. aiokafka could
read too, but its fetch leaves out every partition whose records nobody took yet, and asks for those again only when that fetch
has come back: up to its whole wait too late. It also writes each request and reads each answer in Python, for all partitions.

The event loop gives orders and is handed record lists; all else happens here. A hand-over is waited for, so that a busy loop is
not buried: what is not handed over yet stays within librdkafka's bounds.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from connectors.settings import Settings
from streams.runtime.clients import is_end, reader, transient
from streams.runtime.errors import FatalError, fatal_from
from streams.runtime.records import Record
from streams.runtime.tuning import Tuning

log = logging.getLogger(__name__)

Place: TypeAlias = tuple[str, int]  # topic, partition
Fetched: TypeAlias = list[tuple[Place, int, list[Record]]]  # with the number of the place's last beginning

_POLL_SECONDS = 0.02  # and so how late an order is obeyed while nothing comes
_HANDED_RECORDS = 2000  # in one hand-over: 1–2 ms of the loop
_HANDOVERS = 2  # one that the loop works through, one that waits for it
# In the client, for each partition, before its own fetching pauses; the data plane's bounds (tuning.queue_…) come on top.
_CLIENT_RECORDS = 5_000
_CLIENT_KBYTES = 32 * 1024  # of all partitions


class Fetcher(threading.Thread):
    """Reads the places it was told to begin. Orders come from the event loop, in their order; hand-overs go there."""

    def __init__(
        self,
        settings: Settings,
        tuning: Tuning,
        *,
        accept: Callable[[Fetched], None],
        lost: Callable[[Mapping[Place, int]], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        """``accept`` and ``lost`` (places whose next offset the log no longer holds) are called in the event loop."""
        super().__init__(name="fetcher", daemon=True)
        self._settings, self._tuning = settings, tuning
        self._accept, self._lost, self._on_error = accept, lost, on_error
        self._orders: deque[Callable[[Consumer], None]] = deque()
        self._handovers = threading.Semaphore(_HANDOVERS)
        self._stopping = False
        self._next: dict[Place, int] = {}  # next offset of each place that was begun
        self._numbers: dict[Place, int] = {}
        self._reading: set[Place] = set()

    def start_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the thread, handing over to ``loop``. Once only; later calls do nothing."""
        if not self.is_alive():
            self._loop = loop
            self.start()

    # -- orders, from the event loop ----------------------------------------------------------------------------------

    def begin(self, places: Mapping[Place, tuple[int, int]]) -> None:
        """Reads these from now on: place → (number of this beginning, offset)."""
        self._orders.append(lambda consumer: self._begin(consumer, dict(places)))

    def end(self) -> None:
        """Reads nothing until the next beginning."""
        self._orders.append(self._end)

    def hold(self, places: Iterable[Place]) -> None:
        """Reads these no further until ``go_on``."""
        self._orders.append(lambda consumer: self._stop_reading(consumer, set(places) & self._reading))

    def go_on(self, places: Iterable[Place]) -> None:
        """Reads these on, from where they were held."""
        self._orders.append(lambda consumer: self._read_on(consumer, set(places) & self._numbers.keys()))

    def stop(self) -> None:
        """Ends the thread soon."""
        self._stopping = True

    def positions(self) -> dict[Place, int]:
        """The next offset of each place that is read, held ones included. From any thread."""
        return dict(self._next)

    # -- the thread ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until stopped, or an error that this process cannot get over."""
        consumer = reader(
            self._settings,
            **{
                "fetch.wait.max.ms": self._tuning.fetch_wait_ms,
                "max.partition.fetch.bytes": self._tuning.fetch_partition_bytes,
                "queued.min.messages": _CLIENT_RECORDS,
                "queued.max.messages.kbytes": _CLIENT_KBYTES,
            },
        )
        try:
            while not self._stopping:
                self._obey(consumer)
                self._fetch(consumer)
        except KafkaException as error:
            self._on_error(fatal_from("fetching", error))
        except BaseException as error:  # noqa: BLE001 - a fetcher that died in silence would look like an empty log
            self._on_error(error)
        finally:
            consumer.close()

    def _obey(self, consumer: Consumer) -> None:
        while self._orders:
            self._orders.popleft()(consumer)

    def _begin(self, consumer: Consumer, places: dict[Place, tuple[int, int]]) -> None:
        self._stop_reading(consumer, places.keys() & self._reading)
        for place, (number, offset) in places.items():
            self._numbers[place], self._next[place] = number, offset
        self._read_on(consumer, set(places))

    def _end(self, consumer: Consumer) -> None:
        self._stop_reading(consumer, set(self._reading))
        self._numbers.clear()
        self._next.clear()

    def _stop_reading(self, consumer: Consumer, places: set[Place]) -> None:
        if places:
            consumer.incremental_unassign([TopicPartition(*place) for place in places])
            self._reading -= places

    def _read_on(self, consumer: Consumer, places: set[Place]) -> None:
        fresh = places - self._reading
        if fresh:
            consumer.incremental_assign([TopicPartition(*place, self._next[place]) for place in fresh])
            self._reading |= fresh

    def _fetch(self, consumer: Consumer) -> None:
        first = consumer.poll(_POLL_SECONDS)  # `consume` would wait for a full list
        if first is None:
            return
        found: dict[Place, list[Record]] = {}
        self._take(first, found)
        for message in consumer.consume(_HANDED_RECORDS, 0):
            self._take(message, found)
        if found:
            self._hand_over(consumer, [(place, self._numbers[place], records) for place, records in found.items()])

    def _take(self, message: Message, found: dict[Place, list[Record]]) -> None:
        error = message.error()
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if topic is None or partition is None or offset is None:
            if error is not None and not transient(error):
                raise KafkaException(error)
            return
        place = (topic, partition)
        if error is not None:
            self._note(error, place, offset)
        elif place in self._reading and offset >= self._next[place]:
            self._next[place] = offset + 1
            record = Record(
                topic,
                partition,
                offset,
                message.key(),
                message.value(),
                message.timestamp()[1],
                tuple(message.headers() or ()),  # type: ignore[arg-type]
            )
            records = found.get(place)
            if records is None:
                found[place] = [record]
            else:
                records.append(record)

    def _note(self, error: KafkaError, place: Place, offset: int) -> None:
        if is_end(error):
            # Past what lies there and is given to no reader: control records, aborted transactions.
            if place in self._reading:
                self._next[place] = max(self._next[place], offset)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            if place in self._reading:
                self._loop.call_soon_threadsafe(self._lost, {place: self._next[place]})
        elif not transient(error) and error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:  # the watchdog looks for that
            raise KafkaException(error)

    def _hand_over(self, consumer: Consumer, fetched: Fetched) -> None:
        while not self._handovers.acquire(timeout=_POLL_SECONDS):
            self._obey(consumer)  # what is told meanwhile cannot wait for a loop that waits for us
            if self._stopping:
                return
        try:
            self._loop.call_soon_threadsafe(self._handed, fetched)
        except RuntimeError as error:  # the loop has ended
            raise FatalError("the event loop ended before its fetcher") from error

    def _handed(self, fetched: Fetched) -> None:
        self._handovers.release()
        self._accept(fetched)
