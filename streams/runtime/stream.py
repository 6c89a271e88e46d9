"""The stream of an agent. Faust's agent is given the partitions as they come; each is a stream of its batches.

So the agent's body runs once for each partition, and one that waits or works long never holds up the others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from faust.streams import Stream

from streams.runtime.batch import Batch
from streams.runtime.consumer import plane_of

if TYPE_CHECKING:
    from streams.runtime.partition import Partition
    from streams.runtime.plane import DataPlane


class Batches:
    """One partition's batches, each inside an open transaction that is committed when the next one is asked for."""

    def __init__(self, plane: DataPlane, partition: Partition) -> None:
        self._plane, self._partition = plane, partition
        self._current: Batch | None = None

    @property
    def ended(self) -> bool:
        """Whether the partition has gone to another owner: there is no next batch."""
        return self._partition.is_closed

    def __aiter__(self) -> Batches:
        return self

    async def __anext__(self) -> Batch:
        await self.commit()
        batch = await self._plane.next_batch(self._partition)
        if batch is None:
            raise StopAsyncIteration
        self._current = batch
        return batch

    async def commit(self) -> None:
        """Commits the batch that was given out last, if that was not done yet."""
        if self._current is not None:
            done, self._current = self._current, None
            await self._plane.commit(self._partition, done)


class PartitionStream(Stream[Batches]):
    """What Faust hands to an agent of ours (its ``Stream`` setting)."""

    def __aiter__(self) -> AsyncIterator[Batches]:
        return plane_of(self.app).opened()
