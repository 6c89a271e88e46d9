"""What a notification that is sent takes up, and gives back if it does not arrive: its place in the recipient's caps, and its
meaning, which for a while keeps the same from being told again. And what it needs to be decided a second time.

Rows: ``c`` + recipient → Tally; ``u`` + hash of type, recipient and subject → what was told last. What a notification took up is
the payload of the timer that forgets it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from schemas.codec import Decoded
from streams.rules.event_fields import event_fields
from streams.rules.given import Given
from streams.rules.limits import NOTHING_SENT, Limits, Sent, Tally
from streams.rules.progress import Progress
from streams.rules.schedule import STATE_KEPT_MS
from streams.rules.status import ARRIVED, WITHOUT_SUCCESS
from streams.rules.terms import Terms
from streams.waiting import PRIORITIES, State, id_bytes

_TALLY = b"c"
_MEANING = b"u"
# When (ms), version of the aggregate, hash of the content, notification.
_TOLD = struct.Struct(">qq16s16s")
# Form, length of what stands before the request.
_HEAD = struct.Struct(">BH")
_FORM = 2
_LOWEST = PRIORITIES["low"]
# Says who sent it when, not what it says.
_ENVELOPE = frozenset(
    {
        "event_id", "event_type", "occurred_at", "schema_version", "source", "correlation_id", "clinic_id", "aggregate_id",
        "aggregate_version", "metadata",
    }
)  # fmt: skip


class Meaning(NamedTuple):
    """What a notification tells: the row of its subject, the aggregate's version, and a hash of what the event says."""

    row: bytes
    version: int
    content: bytes


@dataclass(slots=True)
class Taken:
    """Of one notification. ``attempt``: the highest of any of its steps. ``meaning``: the row of its subject, and what it holds.

    ``sent``: its place in the tally, None: none. ``forget_ms``: when all of it is forgotten. ``lane``: its number.
    ``progress``: of its plan, None: nothing more is done about it; and only till then ``wire``, the request, is kept.
    """

    recipient: str
    attempt: int
    meaning: tuple[bytes, bytes] | None
    sent: Sent | None
    forget_ms: int
    lane: int
    progress: Progress | None
    wire: bytes
    given_back: bool = False

    def __repr__(self) -> str:
        return f"<Taken attempt {self.attempt}>"

    @property
    def next_ms(self) -> int:
        """When there is something to do about it."""
        return self.forget_ms if self.progress is None else min(self.forget_ms, self.progress.next_ms)

    def close(self) -> None:
        """Nothing more is done about it."""
        self.progress, self.wire = None, b""

    def encoded(self) -> bytes:
        """As the timer keeps it."""
        meaning = self.meaning and (self.meaning[0].hex(), self.meaning[1].hex())
        sent = None if self.sent is None else list(self.sent)
        progress = None if self.progress is None else self.progress.as_list()
        head = orjson.dumps(
            (self.recipient, self.attempt, meaning, sent, self.given_back, self.forget_ms, self.lane, progress)
        )
        return _HEAD.pack(_FORM, len(head)) + head + self.wire

    @classmethod
    def decoded(cls, kept: bytes, due_ms: int) -> Taken | None:
        """From the timer that is due then; None: it took up nothing."""
        if not kept:
            return None
        if kept[0] != _FORM:
            # As it was before plans were pursued: it was decided again where quiet hours began too early, which the request was
            # kept for. Of its plan nothing is known but what was sent.
            recipient, first, attempt, meaning, sent, request, given_back = orjson.loads(kept)
            forget_ms, lane, wire = due_ms, _LOWEST, bytes.fromhex(request)
            progress = Progress.resumed(first, due_ms - STATE_KEPT_MS).as_list() if wire else None
        else:
            end = _HEAD.size + _HEAD.unpack_from(kept)[1]
            recipient, attempt, meaning, sent, given_back, forget_ms, lane, progress = orjson.loads(
                kept[_HEAD.size : end]
            )
            wire = kept[end:]
        return cls(
            recipient,
            attempt,
            None if meaning is None else (bytes.fromhex(meaning[0]), bytes.fromhex(meaning[1])),
            None if sent is None else Sent(*sent),
            forget_ms,
            lane,
            None if progress is None else Progress.of_list(progress),
            wire,
            given_back,
        )


def meaning_of(request: Mapping[str, Any], terms: Terms, event: Decoded, key: bytes) -> Meaning | None:
    """None: the type may be told as often as it is asked for. ``key``: 16 bytes; what events say can be guessed."""
    if not terms.dedupe_ms:
        return None
    subject = (
        f"{request['notification_type']}\0{request['recipient']}\0{request['aggregate_type']}\0{request['aggregate_id']}\0"
        f"{request['occurrence']}"
    )
    content = b""
    if terms.dedupe_by == "content":
        value = event.value
        said = orjson.dumps([value[name] for name in _said_by(event.name)], default=str)
        content = blake2b(said, digest_size=16, key=key).digest()
    return Meaning(_MEANING + blake2b(subject.encode(), digest_size=16).digest(), request["aggregate_version"], content)


@cache  # one entry an event record
def _said_by(record: str) -> tuple[str, ...]:
    return tuple(name for name in event_fields(record) if name not in _ENVELOPE)


class Reservations:
    """See the module."""

    @staticmethod
    def is_duplicate(
        state: State, request: Mapping[str, Any], terms: Terms, meaning: Meaning | None, now_ms: int
    ) -> bool:
        """Was the same told within the type's window, by another notification? By content, a newer version never is the same."""
        kept = None if meaning is None else state.get(meaning.row)
        if meaning is None or kept is None:
            return False
        told_ms, version, content, notification = _TOLD.unpack(kept)
        if notification == id_bytes(request["notification_id"]) or told_ms <= now_ms - terms.dedupe_ms:
            return False
        return terms.dedupe_by == "subject" or (version, content) == (meaning.version, meaning.content)

    @staticmethod
    def tally(state: State, request: Mapping[str, Any], terms: Terms, limits: Limits) -> Tally:
        """What the recipient was sent lately, this one left out; nothing where nobody needs to know."""
        if not limits.counts(terms):
            return NOTHING_SENT
        return _tally(state, request["recipient"]).without(request["notification_id"])

    @staticmethod
    def take(
        state: State,
        given: Given,
        request: Mapping[str, Any],
        meaning: Meaning | None,
        attempt: int,
        progress: Progress,
        wire: bytes,
    ) -> Taken:
        """It is sent: its place in the caps, and its meaning."""
        terms, now_ms, recipient = given.terms, given.now_ms, request["recipient"]
        sent = told = None
        if given.limits.counts(terms):
            sent = Sent(now_ms, request["notification_id"], terms.category, terms.frequency_class, progress.end)
            _keep(state, recipient, given.tally.with_(sent).recent(now_ms))
        if meaning is not None:
            held = _TOLD.pack(now_ms, meaning.version, meaning.content, id_bytes(request["notification_id"]))
            state.put(meaning.row, held)
            told = (meaning.row, held)
        return Taken(
            recipient, attempt, told, sent, now_ms + STATE_KEPT_MS, PRIORITIES[request["lane"]], progress, wire
        )

    @staticmethod
    def settle(state: State, taken: Taken, steps: Sequence[Mapping[str, Any]]) -> bool:
        """What no message of it brought home is given back, once nothing is left to try; what arrives after all is taken again.

        False: nothing changed.
        """
        arrived = not ARRIVED.isdisjoint(step["status"] for step in steps)
        if taken.given_back != arrived:
            return False
        if not arrived and (taken.progress is not None or not all(step["status"] in WITHOUT_SUCCESS for step in steps)):
            return False
        taken.given_back = not taken.given_back
        if taken.sent is not None:
            tally = _tally(state, taken.recipient)
            tally = tally.without(taken.sent.notification) if taken.given_back else tally.with_(taken.sent)
            _keep(state, taken.recipient, tally)
        if taken.meaning is not None:
            row, told = taken.meaning
            if not taken.given_back:
                state.put(row, told)
            elif state.get(row) == told:
                state.delete(row)
        return True

    @staticmethod
    def forget(state: State, taken: Taken) -> None:
        """A notification has grown old: nothing of it counts any more."""
        if taken.sent is not None:
            tally = _tally(state, taken.recipient)
            _keep(state, taken.recipient, tally.without(taken.sent.notification))
        if taken.meaning is not None and state.get(taken.meaning[0]) == taken.meaning[1]:
            state.delete(taken.meaning[0])


def _tally(state: State, recipient: str) -> Tally:
    kept = state.get(_TALLY + recipient.encode())
    return NOTHING_SENT if kept is None else Tally(tuple(Sent(*one) for one in orjson.loads(kept)))


def _keep(state: State, recipient: str, tally: Tally) -> None:
    if tally.sent:
        state.put(_TALLY + recipient.encode(), orjson.dumps([list(one) for one in tally.sent]))
    else:
        state.delete(_TALLY + recipient.encode())
