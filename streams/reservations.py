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
from streams.rules.terms import Terms
from streams.waiting import State, id_bytes

_TALLY = b"c"
_MEANING = b"u"
# When (ms), version of the aggregate, hash of the content, notification.
_TOLD = struct.Struct(">qq16s16s")
_FAILED = frozenset({"undelivered", "failed", "bounced", "cancelled", "suppressed", "expired"})
_ARRIVED = frozenset({"delivered", "read", "clicked", "acknowledged", "unsubscribed", "complained"})
# After the others there is nothing to give back, and nothing to take again.
SETTLING = _FAILED | _ARRIVED
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
    """Of one notification. ``first``: how many steps were taken at once. ``meaning``: the row of its subject, and what it holds.

    ``sent``: its place in the tally, None: none. ``wire``: the request, empty: it is not decided again.
    """

    recipient: str
    first: int
    attempt: int
    meaning: tuple[bytes, bytes] | None
    sent: Sent | None
    wire: bytes
    given_back: bool = False

    def __repr__(self) -> str:
        return f"<Taken attempt {self.attempt}>"

    def too_late(self, steps: Sequence[Mapping[str, Any]], status: Mapping[str, Any]) -> bool:
        """Does this status say that quiet hours began before any of its first messages went out?"""
        return (
            bool(self.wire)
            and (status["status"], status["reason"], status["attempt"]) == ("expired", "send_not_after", self.attempt)
            and all(step["status"] == "expired" for step in steps[: self.first])
        )

    def encoded(self) -> bytes:
        """As the timer keeps it."""
        meaning = self.meaning and (self.meaning[0].hex(), self.meaning[1].hex())
        sent = None if self.sent is None else list(self.sent)
        return orjson.dumps((self.recipient, self.first, self.attempt, meaning, sent, self.wire.hex(), self.given_back))

    @classmethod
    def decoded(cls, kept: bytes) -> Taken | None:
        """From the timer; None: it took up nothing."""
        if not kept:
            return None
        recipient, first, attempt, meaning, sent, wire, given_back = orjson.loads(kept)
        pair = None if meaning is None else (bytes.fromhex(meaning[0]), bytes.fromhex(meaning[1]))
        of_tally = None if sent is None else Sent(*sent)
        return cls(recipient, first, attempt, pair, of_tally, bytes.fromhex(wire), given_back)


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
        first: int,
        attempt: int,
        wire: bytes,
    ) -> Taken | None:
        """It is sent. ``wire`` empty: nothing can make it come back undecided. None: it takes up nothing."""
        terms, now_ms, recipient = given.terms, given.now_ms, request["recipient"]
        sent = told = None
        if given.limits.counts(terms):
            sent = Sent(now_ms, request["notification_id"], terms.category, terms.frequency_class, first)
            _keep(state, recipient, given.tally.with_(sent).recent(now_ms))
        if meaning is not None:
            held = _TOLD.pack(now_ms, meaning.version, meaning.content, id_bytes(request["notification_id"]))
            state.put(meaning.row, held)
            told = (meaning.row, held)
        if sent is None and told is None and not wire:
            return None
        return Taken(recipient, first, attempt, told, sent, wire)

    @staticmethod
    def settle(state: State, taken: Taken, steps: Sequence[Mapping[str, Any]]) -> bool:
        """After a receipt: what none of its first messages brought home is given back; what arrives after all is taken again.

        False: nothing changed.
        """
        statuses = [step["status"] for step in steps[: taken.first]]
        if _ARRIVED.isdisjoint(statuses) if taken.given_back else not _FAILED.issuperset(statuses):
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
