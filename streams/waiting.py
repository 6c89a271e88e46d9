"""What waits in notify's state: timers of requests that are not due, found by aggregate when a newer version withdraws them.

Rows: ``w`` + aggregate + version + notification id → event id, one for each waiting request; ``m`` + aggregate → its mark.
Timers: ``n`` + notification id, with the request; ``m`` + aggregate, to forget the mark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from schemas.codec import Codec
from schemas.topics import LANES
from streams.rules.reasons import Reason
from streams.rules.schedule import (
    NO_MARK,
    VISIT,
    Mark,
    Visit,
    aggregate_key,
    waiting_of,
    waiting_suffix,
)
from streams.runtime import DueTimer

TIMER = "luxe.pipeline.Timer"
REQUEST_DUE = b"n"
FORGET_STATE = b"f"
FORGET_MARK = b"m"
DIGEST_DUE = b"g"
COLLECTED = b"q"
_WAITING = b"w"
_MARK = b"m"
_SCANNED = 100  # rows of one aggregate read at a time; more than a handful never wait

PRIORITIES: Mapping[str, int] = {lane: number for number, lane in enumerate(LANES)}


class State(Protocol):
    """What ``streams.runtime.Event`` offers of state and timers."""

    def get(self, key: bytes) -> bytes | None: ...
    def put(self, key: bytes, value: bytes) -> None: ...
    def delete(self, key: bytes) -> None: ...
    def scan(self, prefix: bytes, limit: int) -> list[tuple[bytes, bytes]]: ...
    def set_timer(
        self, timer_id: bytes, due_ms: int, payload: bytes, priority: int = ..., *, fresh: bool = ...
    ) -> None: ...
    def cancel_timer(self, timer_id: bytes) -> bool: ...
    def get_timer(self, timer_id: bytes) -> DueTimer | None: ...


class Waited(NamedTuple):
    """A request that waited: its id, its wire bytes, and the decisions made of it so far."""

    notification_id: str
    wire: bytes
    sequence: int


class Withdrawn(NamedTuple):
    """A request that waited and is not sent any more: itself, and why."""

    waited: Waited
    reason: Reason


@lru_cache(maxsize=1024)  # each of an event's ids is asked for some five times
def id_bytes(uuid: str) -> bytes:
    """The 16 bytes of a UUID's text form."""
    return bytes.fromhex(uuid.replace("-", ""))


class Waiting:
    """See the module."""

    def __init__(self, codec: Codec, asking: Set[str] = frozenset()) -> None:
        """``asking``: the notification types that only ask for something, until it is done."""
        self._codec, self._asking = codec, asking

    def mark_of(self, state: State, request: Mapping[str, Any]) -> Mark:
        """What is remembered of the request's aggregate for its recipient."""
        kept = state.get(_MARK + _aggregate(request))
        return NO_MARK if kept is None else Mark.unpacked(kept)

    def overtaken(self, mark: Mark, request: Mapping[str, Any]) -> Reason | None:
        """Why the mark says that the request is not sent any more; None: it is."""
        asks = request["notification_type"] in self._asking
        return mark.overtakes(request["aggregate_version"], id_bytes(request["event_id"]), asks=asks)

    @staticmethod
    def visit(state: State, recipient: str, appointment_id: str | None) -> Visit | None:
        """What is known of this appointment of theirs; None: of none."""
        if not appointment_id:
            return None
        kept = state.get(_MARK + aggregate_key(recipient, VISIT, appointment_id))
        return Visit(appointment_id, NO_MARK if kept is None else Mark.unpacked(kept))

    def withdraw(
        self, state: State, request: Mapping[str, Any], before: Mark, now_ms: int
    ) -> tuple[Mark, list[Withdrawn]]:
        """Applies what the request withdraws and settles: the mark after it, and the waiting ones it ends."""
        mark = before.after(request["withdraws"], request["aggregate_version"], id_bytes(request["event_id"]))
        mark = mark.settled(request["settled_version"])
        aggregate = _aggregate(request)
        state.put(_MARK + aggregate, mark.packed())
        state.set_timer(
            FORGET_MARK + aggregate, now_ms + mark.kept_ms(request["aggregate_type"]), b"", PRIORITIES["low"]
        )
        return mark, list(self._ended(state, aggregate, mark))

    def _ended(self, state: State, aggregate: bytes, mark: Mark) -> Iterator[Withdrawn]:
        start = _WAITING + aggregate
        for row, event_id in _all_rows(state, start):
            version, notification_id = waiting_of(row)
            reason = mark.overtakes(version, event_id)
            if version <= mark.settled_through and self._asks(state, notification_id):
                reason = Reason.ALREADY_DONE
            if reason is None:
                continue
            state.delete(row)
            kept = self._end(state, notification_id)
            if kept is not None:
                yield Withdrawn(_waited(kept), reason)

    def _asks(self, state: State, notification_id: bytes) -> bool:
        """Does the waiting one only ask for something? Read from the request itself: few wait when something is done."""
        timer = state.get_timer(REQUEST_DUE + notification_id)
        kept = state.get(COLLECTED + notification_id) if timer is None else timer.payload
        if kept is None:
            return False
        request = self._codec.decode(self._codec.decode_bare(TIMER, kept)["request"]).value
        return request["notification_type"] in self._asking

    def withdraw_one(self, state: State, notification_id: str) -> Waited | None:
        """Ends the wait of this one notification; None: it does not wait."""
        id_ = id_bytes(notification_id)
        kept = self._end(state, id_)
        if kept is None:
            return None
        state.delete(_waiting_row(kept, id_))
        return _waited(kept)

    def _end(self, state: State, notification_id: bytes) -> Mapping[str, Any] | None:
        """Takes a request out of its timer, or from among what is collected; None: it is in neither."""
        timer = state.get_timer(REQUEST_DUE + notification_id)
        if timer is not None:
            state.cancel_timer(timer.timer_id)
            return self._codec.decode_bare(TIMER, timer.payload)
        collected = state.get(COLLECTED + notification_id)
        if collected is None:
            return None
        state.delete(COLLECTED + notification_id)
        return self._codec.decode_bare(TIMER, collected)

    def wait(
        self,
        state: State,
        request: Mapping[str, Any],
        wire: bytes,
        until_ms: int,
        sequence: int,
        reason: Reason,
    ) -> None:
        """Sets the request's timer. ``sequence``: decisions made of it, this one included."""
        notification_id = id_bytes(request["notification_id"])
        timer = self._encoded(request, wire, until_ms, sequence, reason)
        # The first decision of a notification that nothing was known of: it has no timer yet.
        priority, fresh = PRIORITIES[request["lane"]], sequence == 1
        state.set_timer(REQUEST_DUE + notification_id, until_ms, timer, priority, fresh=fresh)
        state.put(_waiting_row(request, notification_id), id_bytes(request["event_id"]))

    def collect(
        self,
        state: State,
        request: Mapping[str, Any],
        wire: bytes,
        until_ms: int,
        sequence: int,
        reason: Reason,
        digest: str,
    ) -> None:
        """Puts the request with others of its recipient, to be told in a digest of this type, when the first of them is due."""
        notification_id, group = id_bytes(request["notification_id"]), _group(request["recipient"], digest)
        state.put(COLLECTED + notification_id, self._encoded(request, wire, until_ms, sequence, reason))
        state.put(_waiting_row(request, notification_id), id_bytes(request["event_id"]))
        state.put(DIGEST_DUE + group + notification_id, b"")
        timer = state.get_timer(DIGEST_DUE + group)
        if timer is None or timer.due_ms > until_ms:
            state.set_timer(DIGEST_DUE + group, until_ms, digest.encode(), PRIORITIES["low"])

    @staticmethod
    def collected(state: State, timer: DueTimer) -> list[DueTimer]:
        """What a digest that is due is made of, as it is kept, each to be read by ``taken_out``; nothing that was withdrawn."""
        found = []
        for row, _ in _all_rows(state, timer.timer_id):
            state.delete(row)
            kept_at = COLLECTED + row[-16:]
            kept = state.get(kept_at)
            if kept is not None:
                state.delete(kept_at)
                found.append(DueTimer(kept_at, timer.due_ms, timer.priority, kept))
        return found

    def taken_out(self, state: State, collected: DueTimer) -> Waited:
        """A request that was collected. Raises CodecError for one that nobody can read; its waiting row stays then, harmless."""
        value = self._codec.decode_bare(TIMER, collected.payload)
        state.delete(_waiting_row(value, collected.timer_id[1:]))
        return _waited(value)

    def _encoded(self, request: Mapping[str, Any], wire: bytes, until_ms: int, sequence: int, reason: Reason) -> bytes:
        return self._codec.encode_bare(
            TIMER,
            {
                "timer_id": request["notification_id"],
                "kind": "request_due" if reason is Reason.NOT_DUE else "deferral",
                "notification_id": request["notification_id"],
                "recipient": request["recipient"],
                "due_at": at_ms(until_ms),
                "lane": request["lane"],
                "aggregate_type": request["aggregate_type"],
                "aggregate_id": request["aggregate_id"],
                "aggregate_version": request["aggregate_version"],
                "sequence": sequence,
                "reason": str(reason),
                "request": wire,
            },
        )

    def fired(self, state: State, timer: DueTimer) -> Waited:
        """A request whose timer fired."""
        row = self._codec.decode_bare(TIMER, timer.payload)
        state.delete(_waiting_row(row, timer.timer_id[1:]))
        return _waited(row)

    @staticmethod
    def forget_mark(state: State, timer: DueTimer) -> None:
        """An aggregate's mark has grown old."""
        state.delete(_MARK + timer.timer_id[1:])


def _waited(row: Mapping[str, Any]) -> Waited:
    return Waited(row["notification_id"], row["request"], row["sequence"])


def _aggregate(request: Mapping[str, Any]) -> bytes:
    return aggregate_key(request["recipient"], request["aggregate_type"], request["aggregate_id"])


def _group(recipient: str, digest: str) -> bytes:
    return aggregate_key(recipient, "digest", digest)


def _waiting_row(request: Mapping[str, Any], notification_id: bytes) -> bytes:
    return _WAITING + _aggregate(request) + waiting_suffix(request["aggregate_version"], notification_id)


def _all_rows(state: State, prefix: bytes) -> list[tuple[bytes, bytes]]:
    """All rows below a prefix, read before any of them is changed."""
    limit = _SCANNED
    while len(rows := state.scan(prefix, limit)) == limit:
        limit *= 10
    return rows


def ms_of(at: datetime) -> int:
    """Milliseconds since the epoch."""
    # On other clocks two moments an hour apart may be equal to a cache: the hour that autumn repeats.
    return _ms_of_utc(at) if at.tzinfo is UTC else round(at.timestamp() * 1000)


@lru_cache(maxsize=1024)  # times of one event are asked for again and again
def _ms_of_utc(at: datetime) -> int:
    return round(at.timestamp() * 1000)


@lru_cache(maxsize=64)  # a batch has one "now"
def at_ms(ms: int) -> datetime:
    """The instant, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC)
