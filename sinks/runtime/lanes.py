"""One lane of a channel: its topic, a librdkafka consumer in a thread of its own, its slots, its commits."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from connectors.kafka import make_consumer
from connectors.kafka_lag import ConsumerLag
from connectors.settings import Settings
from schemas.topics import deliver_topic
from sinks.runtime.offsets import PartitionOffsets
from sinks.runtime.tuning import Tuning

log = logging.getLogger(__name__)

# How long the thread sleeps in the client before it looks whether it should stop or commit.
POLL_SECONDS = 0.1
# Without a free slot for this long, the client must be polled all the same, or the group takes the partitions away.
HOLD_SECONDS = 1.0


def group_of(channel: str, lane: str) -> str:
    """The consumer group of one lane: each is assigned and committed on its own."""
    return f"sinks-{channel}-{lane}"


@dataclass(slots=True, eq=False)
class Taken:
    """A record in flight. ``finish`` once everything owed for it is durable elsewhere."""

    message: Message
    offset: int
    assignment: Assignment

    @property
    def leaving(self) -> bool:
        """Revoked, or the whole lane is ending: what only waits need not be waited for."""
        return self.assignment.leaving

    @property
    def headers(self) -> list[tuple[str, bytes | None]]:
        """The record's headers, as bytes."""
        found = self.message.headers() or ()
        pairs = found.items() if isinstance(found, dict) else found
        return [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]

    def finish(self) -> None:
        """Give its slot back and let its offset be committed."""
        self.assignment.finish(self.offset)

    def abandon(self) -> None:
        """Give its slot back undone, once its partition is revoked: the next owner begins it."""
        self.assignment.abandon(self.offset)

    def step_aside(self) -> bool:
        """Give its slot to another while it waits for what others need not wait for; False where too many have."""
        return self.assignment.slots.step_aside()

    def step_back(self) -> None:
        """Take a slot again after ``step_aside``, if need be one too many."""
        self.assignment.slots.step_back()

    @property
    def revoked(self) -> bool:
        """The partition is, or is about to be, another worker's."""
        return self.assignment.revoked


class Slots:
    """How many messages of a lane are in flight, shared between its thread, which takes, and the event loop, which ends."""

    def __init__(self, total: int, aside: int = 0) -> None:
        """``aside``: how many more may be in flight that wait, and leave their slots to others."""
        self.changed = threading.Condition()
        self.stopping = threading.Event()
        self._total = total
        self._taken = 0
        self._aside = 0
        self._most_aside = aside
        self._held = False
        # The thread is woken once this many are free, not at every end: each waking costs both threads a switch.
        self._enough = max(1, total // 8)

    @property
    def free(self) -> int:
        """Messages that may be taken."""
        return 0 if self._held else max(0, self._total - self._taken)

    def hold(self, held: bool) -> None:
        """Take nothing more until told otherwise."""
        with self.changed:
            self._held = held
            self.changed.notify_all()

    def step_aside(self) -> bool:
        """A message that waits leaves its slot to another; False: too many have."""
        with self.changed:
            if self._aside >= self._most_aside:
                return False
            self._aside += 1
            self.give_back(wake=False)
            return True

    def step_back(self) -> None:
        """It goes on."""
        with self.changed:
            self._aside -= 1
            self._taken += 1

    @property
    def taken(self) -> int:
        """Messages in flight, those aside too."""
        return self._taken + self._aside

    def take(self) -> None:
        """One is taken; the caller holds ``changed``."""
        self._taken += 1

    def give_back(self, *, wake: bool) -> None:
        """One has ended; the caller holds ``changed``. ``wake``: somebody waits for this very one."""
        self._taken -= 1
        if wake or self.free >= self._enough:
            self.changed.notify_all()

    def stop(self) -> None:
        """Wake whoever waits: the lane is to end."""
        with self.changed:
            self.stopping.set()
            self.changed.notify_all()

    def wait_for_enough(self) -> int:
        """Free slots, after waiting for a batch's worth of them; 0 when none got free in time."""
        with self.changed:
            if self.free < self._enough:
                self.changed.wait_for(
                    lambda: self.stopping.is_set() or self.free >= self._enough,
                    POLL_SECONDS if self.free else HOLD_SECONDS,
                )
            return self.free


class Assignment:
    """One partition for as long as we hold it. Taken in the lane's thread, finished in the event loop."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self._offsets = PartitionOffsets()
        self._committed: int | None = None
        self.revoked = False

    def take(self, offset: int) -> None:
        """See PartitionOffsets.take."""
        with self.slots.changed:
            self._offsets.take(offset)
            self.slots.take()

    def finish(self, offset: int) -> None:
        """See PartitionOffsets.finish."""
        with self.slots.changed:
            self._offsets.finish(offset)
            self.slots.give_back(wake=not self._offsets.in_flight)

    def abandon(self, offset: int) -> None:
        """See PartitionOffsets.abandon."""
        with self.slots.changed:
            self._offsets.abandon(offset)
            self.slots.give_back(wake=not self._offsets.in_flight)

    @property
    def leaving(self) -> bool:
        """Revoked, or its lane is ending."""
        return self.revoked or self.slots.stopping.is_set()

    @property
    def in_flight(self) -> int:
        """Records taken, neither finished nor abandoned."""
        return self._offsets.in_flight

    def uncommitted(self) -> int | None:
        """The position to commit, if it moved since ``committed`` was told."""
        position = self._offsets.position
        return position if position != self._committed else None

    def committed(self, position: int) -> None:
        """The broker has it."""
        self._committed = position


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
        self._ended: Future[None] = Future()
        self._commit_due = 0.0
        self._drain_seconds = tuning.drain_seconds
        self._thread = threading.Thread(target=self._main, name=f"lane-{channel}-{lane}", daemon=True)

    @property
    def in_flight(self) -> int:
        """Messages taken whose end is not in Kafka yet."""
        return self._slots.taken

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
        held: set[int] = set()
        try:
            while not self._slots.stopping.is_set() and not self._slots.free:
                new = [partition for partition in consumer.assignment() if partition.partition not in held]
                consumer.pause(new)
                held |= {partition.partition for partition in new}
                message = consumer.poll(POLL_SECONDS)  # of a partition assigned just now, if any: one over the slots
                self._hand_over([message] if message is not None else [])
                self._commit_if_due(consumer)
        finally:
            consumer.resume([partition for partition in consumer.assignment() if partition.partition in held])

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
        self._forget(leaving)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Somebody else has them already: nothing of ours may be committed over theirs."""
        for partition in partitions:
            assignment = self._assignments.get(partition.partition)
            if assignment is not None:
                assignment.revoked = True
        self._tell_leaving()
        self._forget([partition.partition for partition in partitions])

    def _tell_leaving(self) -> None:
        self._loop.call_soon_threadsafe(self._leaving)

    def _forget(self, partitions: Sequence[int] | dict[int, Assignment]) -> None:
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
