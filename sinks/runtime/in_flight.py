"""What of a lane is in flight: records taken, the slots they hold, and how far each partition may be committed."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from confluent_kafka import Message

from sinks.runtime.offsets import PartitionOffsets

# How long a batch's worth of free slots is waited for while some are free.
BATCH_SECONDS = 0.1
# Without a free slot for this long, the client must be polled all the same, or the group takes the partitions away.
HOLD_SECONDS = 1.0


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
                    BATCH_SECONDS if self.free else HOLD_SECONDS,
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
    def pinned(self) -> int:
        """See PartitionOffsets.pinned."""
        return self._offsets.pinned

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
