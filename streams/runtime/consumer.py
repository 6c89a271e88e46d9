"""Faust's aiokafka driver, for the membership alone: who is in the group, and whose each partition is.

Stock Faust makes an Event, a Message and two tasks of each record, and one full buffer stops the loop for all partitions.
Here nothing is fetched at all: the data plane's own fetcher reads what the group assigned (fetching.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import aiokafka
from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, server_list
from faust.transport.drivers.aiokafka import Consumer as FaustConsumer
from faust.transport.drivers.aiokafka import Transport as FaustTransport

from connectors import kafka_security

if TYPE_CHECKING:
    from streams.runtime.plane import DataPlane

log = logging.getLogger(__name__)


def plane_of(app: Any) -> DataPlane:
    """The data plane of an app of ours (Faust's types know only its own)."""
    plane: DataPlane = app.plane
    return plane


class WholeRangeAssignor(RangePartitionAssignor):  # type: ignore[misc]  # aiokafka has no types
    """Range, that shares out nothing rather than what is there of the topics.

    Just after its start a broker may not name a topic's partitions yet. Range leaves such a topic out, and a group whose leader
    heard that runs nothing until somebody joins. Raised here, it ends the leader's membership, and so its process, which is
    started again.
    """

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> Any:
        """As range does. Raises UnknownTopicOrPartitionError for a topic whose partitions are not known."""
        for topic in sorted({topic for member in members.values() for topic in member.subscription}):
            if not cluster.partitions_for_topic(topic):
                raise UnknownTopicOrPartitionError(f"the broker names no partition of {topic} yet")
        return super().assign(cluster, members)


class ConsumerThread(AIOKafkaConsumerThread):
    """The driver's own thread: it keeps the membership alive, and never waits for an agent."""

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf: Any = self.app.conf
        plane = plane_of(self.app)
        # Range gives a member the same partition numbers of every topic, which one partition object of ours needs.
        # (Faust's own choice for an app without tables is round-robin: with three members it parts them.)
        self._assignor = WholeRangeAssignor
        return aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=plane.member_id,
            bootstrap_servers=server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[WholeRangeAssignor],
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            **kafka_security.aiokafka(plane.plan.settings),
        )

    def check_membership(self, timeout_seconds: float) -> None:
        """Raises aiokafka's KafkaError that has ended the membership. Blocking; from any thread but this. Raises TimeoutError.

        The coordinator keeps such an error until it is asked, and neither beats nor joins any more.
        """
        asyncio.run_coroutine_threadsafe(self._check_membership(), self.thread_loop).result(timeout_seconds)

    async def _check_membership(self) -> None:
        self._ensure_consumer()._coordinator.check_errors()

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
    """Faust's consumer, which fetches nothing."""

    _thread: ConsumerThread

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Nothing comes this way; Faust's fetcher, whose loop this is, only has to live until it is stopped."""
        await fetcher.wait_until_stopped()

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
