"""Places for messages that are megabytes in memory while they are sent: emails with forms. So many at once, and no more."""

from __future__ import annotations


class Room:
    """Entered with the permit and left with it; who finds no place waits in sinks.runtime.admission. Of one event loop."""

    def __init__(self, places: int) -> None:
        self._places = places
        self.inside = 0

    @property
    def full(self) -> bool:
        """Whether the next one waits."""
        return self.inside >= self._places

    def enter(self) -> None:
        """Take a place. Raises RuntimeError when there is none: who enters has looked."""
        if self.full:
            raise RuntimeError("a room that is full was entered")
        self.inside += 1

    def leave(self) -> None:
        """Give it back."""
        self.inside -= 1
