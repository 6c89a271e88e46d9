"""What goes in and out of a batch. Keys and values are bytes, may be anyone's health data, and are never printed."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]


def shape(data: bytes | None) -> str:
    """How bytes may be shown in a repr or an error: their length, never themselves."""
    return "None" if data is None else f"<{len(data)} bytes>"


class Record:
    """One input record. ``timestamp_ms`` is the record's own, in ms since the epoch (-1: it has none)."""

    __slots__ = ("headers", "key", "offset", "partition", "timestamp_ms", "topic", "value")

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int,
        headers: Headers = (),
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.key = key
        self.value = value
        self.timestamp_ms = timestamp_ms
        self.headers = headers

    def __repr__(self) -> str:
        return f"<Record {self.topic}[{self.partition}]@{self.offset} key={shape(self.key)} value={shape(self.value)}>"


class DueTimer:
    """One timer. Fires at or after ``due_ms``; among due ones lower ``priority`` first (0–255), then the earlier."""

    __slots__ = ("due_ms", "payload", "priority", "timer_id")

    def __init__(self, timer_id: bytes, due_ms: int, priority: int, payload: bytes) -> None:
        self.timer_id = timer_id
        self.due_ms = due_ms
        self.priority = priority
        self.payload = payload

    def __repr__(self) -> str:
        return f"<DueTimer id={shape(self.timer_id)} due_ms={self.due_ms} priority={self.priority} payload={shape(self.payload)}>"


class Output(NamedTuple):
    """One record to be produced. ``partition`` None: by the key's hash (murmur2). ``timestamp_ms`` None: now."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers | None = None
    partition: int | None = None
    timestamp_ms: int | None = None

    def __repr__(self) -> str:
        return f"<Output {self.topic} key={shape(self.key)} value={shape(self.value)}>"
