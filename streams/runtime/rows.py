"""The rows of one partition's store, and of its changelog. First byte: what a row is.

========== ============================ =================================== ==========
row        key                          value                               changelog?
========== ============================ =================================== ==========
state      ``s`` + the agent's key      the agent's value                   yes
timer      ``t`` + timer id             due_ms, priority, payload           yes
position   ``p`` + topic                topic id (16 bytes), next offset    yes
output     ``o`` + topic                empty: it was ever produced to       yes
due index  ``d`` + priority, due_ms, id empty                               no: made from the timers
meta       ``m`` + name                 about this store                    no
========== ============================ =================================== ==========
"""

from __future__ import annotations

import struct

from streams.runtime.errors import FatalError
from streams.runtime.records import DueTimer

STATE = b"s"
TIMER = b"t"
POSITION = b"p"
OUTPUT = b"o"
DUE = b"d"
META = b"m"
COUNT = META + b"timers"  # how many the store holds; a restore that changed anything removes it

_TIMER_VALUE = struct.Struct(">qB")
_DUE_KEY = struct.Struct(">cBQ")
_POSITION_VALUE = struct.Struct(">16sq")

# Times are ms since the epoch and never negative, so that their big-endian bytes sort as they do.
MAX_DUE_MS = 2**62


def timer_value(due_ms: int, priority: int, payload: bytes) -> bytes:
    """A timer row's value."""
    return _TIMER_VALUE.pack(due_ms, priority) + payload


def timer_of(timer_id: bytes, value: bytes) -> DueTimer:
    """The timer in a timer row's value."""
    due_ms, priority = _TIMER_VALUE.unpack_from(value)
    return DueTimer(timer_id, due_ms, priority, value[_TIMER_VALUE.size :])


def due_key(priority: int, due_ms: int, timer_id: bytes) -> bytes:
    """A due index row's key: sorts by priority, then due time, then id."""
    return _DUE_KEY.pack(DUE, priority, due_ms) + timer_id


def due_key_of(timer_row_key: bytes, value: bytes) -> bytes:
    """The due index key that belongs to a timer row."""
    due_ms, priority = _TIMER_VALUE.unpack_from(value)
    return due_key(priority, due_ms, timer_row_key[1:])


def due_of(key: bytes) -> tuple[int, int, bytes]:
    """(priority, due_ms, timer id) of a due index key."""
    _, priority, due_ms = _DUE_KEY.unpack_from(key)
    return priority, due_ms, key[_DUE_KEY.size :]


def position_value(topic_id: bytes, next_offset: int) -> bytes:
    """A position row's value; ``topic_id`` is the topic's UUID, 16 bytes."""
    return _POSITION_VALUE.pack(topic_id, next_offset)


def position_of(value: bytes) -> tuple[bytes, int]:
    """(topic id, next offset) of a position row's value."""
    try:
        topic_id, next_offset = _POSITION_VALUE.unpack(value)
    except struct.error:
        raise FatalError(
            f"position row: expected {_POSITION_VALUE.size} bytes, found {len(value)}: the changelog is not this app's"
        ) from None
    return topic_id, next_offset
