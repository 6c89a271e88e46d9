"""Who waits for leave to call the provider, and until when."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sinks.runtime.permit import Permit
from sinks.runtime.purse import Purse
from sinks.runtime.room import Room
from sinks.runtime.subjects import Subject


class Waits(Protocol):
    """What the runtime needs of a record that waits; see sinks.runtime.lanes.Taken."""

    @property
    def leaving(self) -> bool: ...

    def step_aside(self) -> bool: ...

    def step_back(self) -> None: ...


@dataclass(slots=True, eq=False)
class Waiter:
    """One of them. ``asks``: what became of a message; it sends none. ``room``: where it needs a place too."""

    taken: Waits
    lane: str
    subjects: tuple[Subject, ...]
    purses: tuple[Purse, ...]
    until: float | None
    fresh: bool
    permit: asyncio.Future[Permit | None]
    asks: bool = False
    aside: bool = False
    room: Room | None = None

    @property
    def crowded(self) -> bool:
        """Whether it waits for a place."""
        return self.room is not None and self.room.full


def late_at(message: Mapping[str, Any]) -> float | None:
    """When a message need not be sent any more, in seconds since the epoch."""
    limits = [message[name].timestamp() for name in ("expires_at", "send_not_after") if message[name] is not None]
    return min(limits, default=None)
