"""What newer versions of an aggregate do to what still waits, or comes late, for the same recipient.

Of every (recipient, aggregate) that something was withdrawn from, a mark remembers the highest versions seen, so that the order
in which requests arrive does not matter: a cancellation that comes before what it cancels still cancels it.
"""

from __future__ import annotations

import struct
from typing import NamedTuple
from uuid import UUID

from streams.rules.reasons import Reason

DAY_MS = 24 * 60 * 60 * 1000

# How long a mark is kept after its last change. Requests are kept for 14 days (schemas/topics.py), so later than that nothing
# can come that it should still stop, replays included; what waits in timers died when the mark was made.
MARK_KEPT_MS = 35 * DAY_MS
# A visit that was called off is remembered for longer, as by intake: what is for it, and not of it (its forms), waits in timers
# of its own, until then.
VISIT = "appointment"
CLOSED_KEPT_MS = 400 * DAY_MS
# How long a notification's state is kept after its decision: as long as its request or a receipt could come again.
STATE_KEPT_MS = 35 * DAY_MS

_MARK = struct.Struct(">qq16sq")
# Of what nothing is settled of: the older form, which a notify worker from before it could be reads too.
_MARK_BEFORE = struct.Struct(">qq16s")
_NONE = -1
_NO_EVENT = bytes(16)
_VERSION_AND_ID = struct.Struct(">q16s")


class Mark(NamedTuple):
    """Versions below ``superseded_below`` are superseded, up to ``closed_through`` cancelled.

    ``closed_by``: the event that closed it (16 bytes), whose own notifications, of that very version, are to be sent; zeroes
    when two events closed the same version. ``settled_through``: the highest version of which the recipient did what it asked
    of them.
    """

    superseded_below: int = _NONE
    closed_through: int = _NONE
    closed_by: bytes = _NO_EVENT
    settled_through: int = _NONE

    def overtakes(self, version: int, event_id: bytes, *, asks: bool = False) -> Reason | None:
        """Why a notification of this version, asked for by this event, is not sent any more; None: it is.

        ``asks``: it only asks for what may be done already.
        """
        if asks and version <= self.settled_through:
            return Reason.ALREADY_DONE
        if version < self.closed_through or (version == self.closed_through and event_id != self.closed_by):
            return Reason.CANCELLED
        if version < self.superseded_below:
            return Reason.SUPERSEDED
        return None

    @property
    def is_closed(self) -> bool:
        """Was it called off, and does not stand again since? What reopens has a higher version, and supersedes what is lower."""
        return self.closed_through >= max(self.superseded_below, 0)

    def kept_ms(self, aggregate_type: str) -> int:
        """How long it is remembered after its last change, ms."""
        return CLOSED_KEPT_MS if self.is_closed and aggregate_type == VISIT else MARK_KEPT_MS

    def after(self, withdraws: str, version: int, event_id: bytes) -> Mark:
        """The mark once a request that withdraws ``older`` or ``all`` was seen. Order-free and idempotent."""
        if withdraws == "older":
            return self._replace(superseded_below=max(self.superseded_below, version))
        if withdraws == "all" and version >= self.closed_through:
            contested = version == self.closed_through and event_id != self.closed_by
            return self._replace(closed_through=version, closed_by=_NO_EVENT if contested else event_id)
        return self

    def settled(self, version: int | None) -> Mark:
        """The mark once it was heard that this was done, up to this version; None: nothing was. Order-free and idempotent."""
        return self if version is None else self._replace(settled_through=max(self.settled_through, version))

    def packed(self) -> bytes:
        """The state row's value: 32 bytes where nothing is settled, 40 where something is."""
        return _MARK_BEFORE.pack(*self[:-1]) if self.settled_through == _NONE else _MARK.pack(*self)

    @classmethod
    def unpacked(cls, value: bytes) -> Mark:
        """From the state row's value."""
        return cls(*(_MARK if len(value) == _MARK.size else _MARK_BEFORE).unpack(value))


NO_MARK = Mark()


class Visit(NamedTuple):
    """An appointment that something is for, and not of: a form's, a consent's. ``mark``: what its patient's state knows of it."""

    appointment_id: str
    mark: Mark

    @property
    def version(self) -> int:
        """It is known to stand from this one on: only a later cancellation calls it off."""
        return self.mark.superseded_below


def event_bytes(event_id: str) -> bytes:
    """The 16 bytes of an event's UUID. Raises ValueError."""
    return UUID(event_id).bytes


def aggregate_key(recipient: str, aggregate_type: str, aggregate_id: str) -> bytes:
    """The part of a state key that says whose and which; no such key is another's prefix."""
    return (
        f"{len(recipient)}:{recipient}{len(aggregate_type)}:{aggregate_type}{len(aggregate_id)}:{aggregate_id}".encode()
    )


def waiting_suffix(version: int, notification_id: bytes) -> bytes:
    """Sorts what waits for one aggregate by version, then id."""
    return _VERSION_AND_ID.pack(version, notification_id)


def waiting_of(key: bytes) -> tuple[int, bytes]:
    """(version, notification id) from the end of a waiting row's key."""
    version, notification_id = _VERSION_AND_ID.unpack(key[-_VERSION_AND_ID.size :])
    return version, notification_id
