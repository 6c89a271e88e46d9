"""Faust's aiokafka driver with another inner loop: whole record lists go to the partition they belong to.

Stock Faust makes an Event, a Message and two tasks of each record, and one full buffer stops the loop for all partitions.
Here the data plane says which partitions have room, only those are fetched, and nothing is ever held.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import aiokafka
from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, server_list
from faust.transport.drivers.aiokafka import Consumer as FaustConsumer
from faust.transport.drivers.aiokafka import Transport as FaustTransport

from streams.runtime.errors import FatalError
from streams.runtime.records import Record

if TYPE_CHECKING:
    from streams.runtime.plane import DataPlane

log = logging.getLogger(__name__)


def plane_of(app: Any) -> DataPlane:
    """The data plane of an app of ours (Faust's types know only its own)."""
    plane: DataPlane = app.plane
    return plane


_FETCH_SECONDS = 0.2  # how long one fetch waits for records, and so how late it learns that a partition has room again
_MAX_FETCHED_RECORDS = 2000  # in one hand-over: 1–2 ms of the loop


class ConsumerThread(AIOKafkaConsumerThread):
    """The driver's own thread: it fetches, keeps the membership alive, and never waits for an agent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # A record list fetched before a seek and handed over after it would be taken for what follows the new position.
        # So each seek has a number, and each list carries that of its partition's last seek; both are noted in this thread.
        self._seeks: dict[TopicPartition, int] = {}

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf: Any = self.app.conf
        plane = plane_of(self.app)
        # Range gives a member the same partition numbers of every topic, which one partition object of ours needs.
        # (Faust's own choice for an app without tables is round-robin: with three members it parts them.)
        self._assignor = RangePartitionAssignor
        return aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=plane.member_id,
            bootstrap_servers=server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[RangePartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="none",  # we seek; an offset that the log no longer holds must be heard of
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            max_partition_fetch_bytes=plane.tuning.fetch_partition_bytes,
            fetch_max_wait_ms=plane.tuning.fetch_wait_ms,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            isolation_level="read_committed",
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
        )

    async def fetch(self, wanted: Iterable[Any]) -> list[tuple[Any, int, list[Record]]]:
        """Records by partition, each with the number of the partition's last seek."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._fetch(wanted), self.thread_loop))

    async def _fetch(self, wanted: Iterable[Any]) -> list[tuple[Any, int, list[Record]]]:
        consumer = self._ensure_consumer()
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        assigned = consumer.assignment()
        partitions = [tp for tp in wanted if tp in assigned]
        if not partitions:
            await asyncio.sleep(_FETCH_SECONDS)
            return []
        try:
            with fetcher._subscriptions.fetch_context():
                fetched = await fetcher.fetched_records(
                    partitions, timeout=_FETCH_SECONDS, max_records=_MAX_FETCHED_RECORDS
                )
        except NoOffsetForPartitionError:
            return []  # from before our seek: the group holds no offset, and that is no matter
        return [(tp, self._seeks.get(tp, 0), records) for tp, records in fetched.items() if records]

    async def seek_all(self, seeks: Mapping[Any, tuple[int, int | None]]) -> dict[Any, int]:
        """Seeks partitions, each given (seek number, position), to the position or to where the log begins; returns the offsets.

        Partitions that are not assigned any more are left out: the next assignment seeks them. Raises FatalError for a log
        that ends before the position.
        """
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._seek_all(seeks), self.thread_loop))

    async def _seek_all(self, seeks: Mapping[Any, tuple[int, int | None]]) -> dict[Any, int]:
        consumer = self._ensure_consumer()
        partitions = [TopicPartition(*tp) for tp in seeks]
        starts, ends = await asyncio.gather(consumer.beginning_offsets(partitions), consumer.end_offsets(partitions))
        done: dict[Any, int] = {}
        for tp, (number, position) in seeks.items():
            offset = starts[tp] if position is None else max(position, starts[tp])
            if offset > ends[tp]:  # going back would do again what is done, going on would skip what comes
                raise FatalError(
                    f"{tp.topic}[{tp.partition}] was read to {offset}, but ends at {ends[tp]}: the broker has lost records "
                    "that it had confirmed; look for an unclean leader election, and go on with a topic created anew"
                )
            try:
                consumer.seek(TopicPartition(*tp), offset)
            except IllegalStateError:
                continue
            self._seeks[tp] = number
            done[tp] = offset
        return done

    def positions(self, timeout_seconds: float) -> dict[Any, int]:
        """The fetch position of each assigned partition. Blocking; from any thread but this. Raises TimeoutError.

        Raises also aiokafka's KafkaError that has ended the membership: its coordinator keeps it until it is asked, and
        neither beats nor joins any more.
        """
        return asyncio.run_coroutine_threadsafe(self._positions(), self.thread_loop).result(timeout_seconds)

    async def _positions(self) -> dict[Any, int]:
        consumer = self._ensure_consumer()
        consumer._coordinator.check_errors()
        found: dict[Any, int] = {}
        for tp in consumer.assignment():
            state = consumer._subscription.subscription.assignment.state_value(tp)
            if state is not None and state.has_valid_position:
                found[tp] = state.position
        return found

    async def hint(self, positions: Mapping[Any, int]) -> bool:
        """Writes the group's offsets. They are only a hint, so a failure is only told."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._hint(positions), self.thread_loop))

    async def _hint(self, positions: Mapping[Any, int]) -> bool:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        offsets = {
            TopicPartition(*tp): OffsetAndMetadata(offset, "") for tp, offset in positions.items() if tp in assigned
        }
        if not offsets:
            return False
        try:
            await consumer.commit(offsets)
        except KafkaError as error:
            log.info("group offsets not written (they are only a hint): %s", type(error).__name__)
            return False
        return True


class BatchedConsumer(FaustConsumer):
    """Faust's consumer, whose drain feeds the data plane."""

    _thread: ConsumerThread

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            await self._drain(fetcher)
        except KafkaError as error:  # what aiokafka does not get over by itself
            plane_of(self.app).fail(FatalError(f"fetching: {type(error).__name__}"))

    async def _drain(self, fetcher: Any) -> None:
        plane = plane_of(self.app)
        while not (self.should_stop or fetcher.should_stop):
            if not self.flow_active:
                await self.can_resume_flow.wait()
                continue
            wanted = await plane.wanted(_FETCH_SECONDS)
            if not wanted:
                continue
            try:
                fetched = await self._thread.fetch(wanted)
            except ConsumerStoppedError:
                if self.app.should_stop:
                    return
                raise
            except OffsetOutOfRangeError as error:
                plane.out_of_range(error.args[0])
                continue
            for tp, seek, records in fetched:
                plane.accept(tp, seek, records)

    async def perform_seek(self) -> None:
        """Faust seeks to the group's committed offsets after each rebalance. The data plane seeks to the stored positions."""

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Writes the positions as the group's offsets, a hint for those who look at lag."""
        hints = plane_of(self.app).take_hints()
        return await self._thread.hint(hints) if hints else False

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Faust's detector looks at sensors that our path does not pass; streams.runtime.watchdog is ours."""


class Transport(FaustTransport):
    """The aiokafka driver with our consumer."""

    Consumer: ClassVar[Any] = BatchedConsumer
