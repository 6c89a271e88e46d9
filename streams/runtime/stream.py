"""The stream of an agent: it yields batches, each inside an open transaction, and commits each when the next is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faust.streams import Stream

from streams.runtime.batch import Batch
from streams.runtime.consumer import plane_of

if TYPE_CHECKING:
    from streams.runtime.plane import DataPlane


class Batches:
    """Batches of all running partitions, one at a time. While one commits, the next partition's batch is worked on."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._current: Batch | None = None

    def __aiter__(self) -> Batches:
        return self

    async def __anext__(self) -> Batch:
        if self._current is not None:
            done, self._current = self._current, None
            self._plane.finish(done)
        self._current = await self._plane.next_batch()
        return self._current


class BatchStream(Stream[Batch]):
    """What Faust hands to an agent of ours (its ``Stream`` setting)."""

    def __aiter__(self) -> Batches:
        return Batches(plane_of(self.app))
