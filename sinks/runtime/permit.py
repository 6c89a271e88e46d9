"""Leave for one call: what its provider and sender let through, and what becomes of that when the call is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sinks.runtime.allowance import Token
from sinks.runtime.breaker import Breaker
from sinks.runtime.room import Room


class Permit:
    """Held from before the ledger is asked until the call's end is known. ``late``: its time is over, and no call may be made.

    ``room``: where it has a place, of which there are few, until it is closed or leaves.
    """

    __slots__ = ("_close", "breakers", "lane", "late", "room", "spent", "tickets", "tokens")

    def __init__(
        self,
        lane: str,
        breakers: Sequence[Breaker],
        tickets: Sequence[int],
        tokens: Sequence[Token],
        close: Callable[[Permit], None],
        *,
        late: bool = False,
        room: Room | None = None,
    ) -> None:
        self.lane = lane
        self.breakers = breakers
        self.tickets = tickets
        self.tokens = tokens
        self.late = late
        self.room = room
        if room is not None:
            room.enter()
        self.spent = False  # its call was made, and its end told
        self._close = close

    @property
    def is_probe(self) -> bool:
        """Whether a paused provider is tried with it."""
        return any(breaker.is_probe(ticket) for breaker, ticket in zip(self.breakers, self.tickets, strict=True))

    @property
    def paused(self) -> bool:
        """Whether the provider or the sender is paused by now."""
        return any(breaker.opened_at is not None for breaker in self.breakers)

    @property
    def in_doubt(self) -> bool:
        """Whether calls have failed lately, and none was answered since."""
        return any(breaker.streak > 0 for breaker in self.breakers)

    def leave_room(self) -> bool:
        """Give its place back; False: it has none."""
        room, self.room = self.room, None
        if room is not None:
            room.leave()
        return room is not None

    def close(self) -> None:
        """Give back what was not used."""
        self._close(self)
