"""What intake remembers of an aggregate: how far it came, whether it is closed, and whom its events were for.

Events of one aggregate lie in one partition, so this is read and written by one writer, in the transaction of the event.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import orjson

from streams.catalog_model import EventRule

# Events of one aggregate recognised as duplicates. Producers repeat what they sent last, not what they sent ten changes ago;
# and notify recognises notification ids for longer.
SEEN_EVENTS = 8

Standing = Literal["in_force", "duplicate", "superseded", "closed"]


@dataclass(frozen=True, slots=True)
class AggregateMemory:
    """``version``: highest seen. ``floor``: the highest version that withdrew, or would have; what is below it is superseded.

    ``closed``: cancelled, and not restored since. ``recipients``: recipient keys its events were for. ``seen``: latest event
    ids. ``touched_ms``: when it last changed, ms since the epoch.
    """

    version: int = -1
    floor: int = -1
    closed: bool = False
    recipients: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    touched_ms: int = 0

    def __repr__(self) -> str:
        return f"<AggregateMemory v{self.version} floor={self.floor} closed={self.closed} for {len(self.recipients)}>"

    def encoded(self) -> bytes:
        """As state keeps it."""
        return orjson.dumps((self.version, self.floor, self.closed, self.recipients, self.seen, self.touched_ms))

    @classmethod
    def decoded(cls, data: bytes) -> AggregateMemory:
        """From state."""
        version, floor, closed, recipients, seen, touched_ms = orjson.loads(data)
        return cls(version, floor, closed, tuple(recipients), tuple(seen), touched_ms)

    def standing(self, event_id: str, version: int, rule: EventRule) -> Standing:
        """What an event that arrives now still means."""
        if event_id in self.seen:
            return "duplicate"
        if self.closed and not (rule.reopens and version > self.floor):
            return "closed"
        return "superseded" if version < self.floor else "in_force"

    def noted(self, version: int, *, floor: int, now_ms: int) -> AggregateMemory:
        """After an event that is not in force. ``floor``: its version where it would have withdrawn for all, else -1.

        So an older event, heard later, does not bring back what this one says is over. It does not count as seen: told again, or
        replayed from the dead letters, once what it waited for was heard, it is in force.
        """
        return replace(
            self,
            version=max(self.version, version),
            floor=max(self.floor, floor),
            touched_ms=now_ms,
        )

    def after(
        self, event_id: str, version: int, *, floor: int, closed: bool, recipients: tuple[str, ...], now_ms: int
    ) -> AggregateMemory:
        """After an event in force. ``floor``: its version where it withdraws for all, else -1."""
        return AggregateMemory(
            version=max(self.version, version),
            floor=max(self.floor, floor),
            closed=closed,
            recipients=recipients,
            seen=(*self.seen, event_id)[-SEEN_EVENTS:],
            touched_ms=now_ms,
        )


NOTHING = AggregateMemory()
