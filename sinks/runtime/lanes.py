"""One lane of a channel: its topic, a librdkafka consumer in a thread of its own, its slots, its commits."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from connectors.kafka import make_consumer
from connectors.kafka_lag import ConsumerLag
from connectors.settings import Settings
from schemas.topics import deliver_topic
from sinks.runtime.in_flight import Assignment, Slots, Taken
from sinks.runtime.tuning import Tuning

log = logging.getLogger(__name__)

# How long the thread sleeps in the client before it looks whether it should stop or commit.
POLL_SECONDS = 0.1


def group_of(channel: str, lane: str) -> str:
    """The consumer group of one lane: each is assigned and committed on its own."""
    return f"sinks-{channel}-{lane}"


class Lane:
    """Consumes one lane's topic and hands records to the event loop, never more in flight than it has slots."""

    def __init__(
        self,
        settings: Settings,
        tuning: Tuning,
        *,
        channel: str,
        lane: str,
        loop: asyncio.AbstractEventLoop,
        take: Callable[[Sequence[Taken]], None],
        leaving: Callable[[], None] = lambda: None,
    ) -> None:
        """``take`` is called in ``loop`` with records in the order of their partitions, ``leaving`` when some are to go."""
        self.name = lane
        self.topic = deliver_topic(channel, lane)
        self._settings = settings
        self._tuning = tuning
        self._group = group_of(channel, lane)
        self._lag = ConsumerLag()
        self._slots = Slots(tuning.slots(lane), tuning.waiting_aside)
        self._loop = loop
        self._take = take
        self._leaving = leaving
        self._assignments: dict[int, Assignment] = {}
        # Partitions that the client was told to pause: all while no slot is free, one while its oldest record waits too long.
        self._held: set[int] = set()
        self._halted: set[int] = set()
        self._ended: Future[None] = Future()
        self._commit_due = 0.0
        self._drain_seconds = tuning.drain_seconds
        self._thread = threading.Thread(target=self._main, name=f"lane-{channel}-{lane}", daemon=True)

    @property
    def in_flight(self) -> int:
        """Messages taken whose end is not in Kafka yet."""
        return self._slots.taken

    @property
    def pinned(self) -> int:
        """Records taken that no commit covers."""
        return sum(assignment.pinned for assignment in list(self._assignments.values()))

    @property
    def unread(self) -> dict[int, int]:
        """Partition → messages on the topic that were not taken yet, as the client knew some seconds ago."""
        return {partition: records for (_, partition), records in self._lag.unread.items()}

    def start(self) -> None:
        """Join the group and begin to take."""
        self._thread.start()

    def stop(self, *, drain: bool) -> None:
        """Take no more; what is in flight may end within the drain time if ``drain``, then commit and leave the group."""
        self._drain_seconds = self._tuning.drain_seconds if drain else 0.0
        self._slots.stop()
        self._tell_leaving()

    def hold(self, held: bool) -> None:
        """Take nothing for a while, and stay in the group."""
        self._slots.hold(held)

    async def ended(self) -> None:
        """Wait for the lane's end. Raises what ended it, KafkaException above all."""
        await asyncio.shield(asyncio.wrap_future(self._ended))  # a waiter that gives up must not end it

    def _main(self) -> None:
        """The thread's body: whatever happens in it becomes the lane's end."""
        try:
            self._consume()
        except Exception as error:  # noqa: BLE001 - handed to the event loop, which ends the process with it
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    def _consume(self) -> None:
        consumer = make_consumer(
            self._settings,
            self._group,
            partition_assignment_strategy="cooperative-sticky",
            session_timeout_ms=int(self._tuning.session_timeout_seconds * 1000),
            # The client's own prefetch: what a second needs, not what memory holds.
            queued_max_messages_kbytes=4096,
            **self._lag.config,
        )
        try:
            consumer.subscribe(
                [self.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not self._slots.stopping.is_set():
                room = self._slots.wait_for_enough()
                if room and not self._slots.stopping.is_set():
                    self._hand_over(self._poll(consumer, room))
                elif not self._slots.stopping.is_set():
                    self._hold(consumer)
                self._halt(consumer)
                self._commit_if_due(consumer)
            self._drain(list(self._assignments.values()))
            self._commit(consumer, self._assignments)
        finally:
            consumer.close()

    # Taking

    def _poll(self, consumer: Consumer, room: int) -> list[Message]:
        # consume() waits for the whole batch or the whole time-out; a first poll() returns as soon as there is one record.
        first = consumer.poll(POLL_SECONDS)
        if first is None:
            return []
        return [first, *(consumer.consume(room - 1, 0) if room > 1 else ())]

    def _hold(self, consumer: Consumer) -> None:
        """No slot is free: go on answering the group without taking. Pausing throws the prefetch away, so only now."""
        try:
            while not self._slots.stopping.is_set() and not self._slots.free:
                paused = self._held | self._halted
                new = [partition for partition in consumer.assignment() if partition.partition not in paused]
                consumer.pause(new)
                self._held |= {partition.partition for partition in new}
                message = consumer.poll(POLL_SECONDS)  # of a partition assigned just now, if any: one over the slots
                self._hand_over([message] if message is not None else [])
                self._commit_if_due(consumer)
        finally:
            self._resume(consumer, self._held)
            self._held = set()

    def _halt(self, consumer: Consumer) -> None:
        """Take no more from a partition whose oldest record waits, once so many are behind it: it goes on when half are left.

        They would all be read again after a restart, and are all remembered until it ends.
        """
        most = self._tuning.behind_oldest
        full = {number for number, one in self._assignments.items() if one.pinned >= most} - self._halted
        if full:
            numbers = ", ".join(map(str, sorted(full)))
            log.warning("%s: %d messages behind the oldest that waits, in partitions %s", self.topic, most, numbers)
            consumer.pause([partition for partition in consumer.assignment() if partition.partition in full])
        eased = {number for number in self._halted if self._assignments[number].pinned <= most // 2}
        if eased:
            self._resume(consumer, eased)
        self._halted = (self._halted | full) - eased

    def _resume(self, consumer: Consumer, numbers: Collection[int]) -> None:
        consumer.resume([partition for partition in consumer.assignment() if partition.partition in numbers])

    def _hand_over(self, messages: Sequence[Message]) -> None:
        batch: list[Taken] = []
        for message in messages:
            error = message.error()
            if error is not None:
                if error.retriable():
                    log.warning("%s: %s, the client tries again", self.topic, error.name())
                    continue
                raise KafkaException(error)
            partition, offset = message.partition(), message.offset()
            assignment = self._assignments.get(partition) if partition is not None else None
            if assignment is None or offset is None:
                continue  # handed out before a rebalance that took its partition away
            assignment.take(offset)
            batch.append(Taken(message, offset, assignment))
        if batch:
            self._loop.call_soon_threadsafe(self._take, batch)

    # Assignment and commits

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._assignments[partition.partition] = Assignment(self._slots)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """What is in flight may end, bounded; then its position is committed before the next owner reads it."""
        leaving = {p.partition: self._assignments[p.partition] for p in partitions if p.partition in self._assignments}
        for assignment in leaving.values():
            assignment.revoked = True
        self._tell_leaving()
        if not self._slots.stopping.is_set():  # else they had their time
            self._drain(list(leaving.values()))
        self._commit(consumer, leaving)
        self._forget(consumer, leaving)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Somebody else has them already: nothing of ours may be committed over theirs."""
        for partition in partitions:
            assignment = self._assignments.get(partition.partition)
            if assignment is not None:
                assignment.revoked = True
        self._tell_leaving()
        self._forget(consumer, [partition.partition for partition in partitions])

    def _tell_leaving(self) -> None:
        self._loop.call_soon_threadsafe(self._leaving)

    def _forget(self, consumer: Consumer, partitions: Collection[int]) -> None:
        # The client would remember that they are paused, should they ever come back.
        self._resume(consumer, (self._held | self._halted).intersection(partitions))
        self._held.difference_update(partitions)
        self._halted.difference_update(partitions)
        for partition in partitions:
            self._assignments.pop(partition, None)

    def _drain(self, assignments: list[Assignment]) -> None:
        seconds = self._drain_seconds
        with self._slots.changed:
            self._slots.changed.wait_for(lambda: not any(a.in_flight for a in assignments), seconds)
        left = sum(assignment.in_flight for assignment in assignments)
        if left:
            log.warning("%s: %d messages had not ended after %g s; they are taken up again", self.topic, left, seconds)

    def _commit_if_due(self, consumer: Consumer) -> None:
        now = time.monotonic()
        if now >= self._commit_due:
            self._commit_due = now + self._tuning.commit_interval_seconds
            self._commit(consumer, self._assignments)

    def _commit(self, consumer: Consumer, assignments: dict[int, Assignment]) -> None:
        positions = {
            number: position
            for number, assignment in assignments.items()
            if (position := assignment.uncommitted()) is not None
        }
        if not positions:
            return
        offsets = [TopicPartition(self.topic, number, position) for number, position in positions.items()]
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            # The next commit covers it; at worst records come again, and the ledger knows them.
            log.warning("%s: commit failed (%s), tried again", self.topic, error.args[0].name())
            return
        for number, position in positions.items():
            assignments[number].committed(position)
