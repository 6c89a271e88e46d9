"""What notify remembers of each notification: decided or not, its plan, and how far each step came. Forgotten after some weeks.

Rows: ``n`` + notification id → NotificationState; ``x`` + notification id: cancelled after it was decided. Timer ``f`` +
notification id, with what it takes up and how far its plan was carried out: due when there is something to do about that, and in
the end to forget it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from schemas.codec import Codec
from streams.decisions import Conclusion
from streams.requests import Asked
from streams.reservations import Reservations, Taken
from streams.rules.schedule import STATE_KEPT_MS
from streams.rules.status import StepState, final_of, merged, new_step
from streams.runtime import DueTimer
from streams.waiting import FORGET_STATE, PRIORITIES, State, id_bytes, ms_of

STATE = "luxe.pipeline.NotificationState"
_NOTIFICATION = b"n"
_CANCELLED = b"x"
# How a suppressed notification ended, by the reason; ``suppressed`` for all others.
_ENDED = {"expired": "expired", "cancelled": "cancelled"}


class Noted(NamedTuple):
    """A status taken in: the notification's state after it, and the step it is about, before and after."""

    kept: dict[str, Any]
    number: int
    before: StepState
    after: StepState

    @property
    def changed(self) -> bool:
        """Did it say anything new?"""
        return self.before is not self.after


class Notifications:
    """See the module."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    @staticmethod
    def is_known(state: State, notification_id: str) -> bool:
        """Was it decided, or put off, before? Then its request is a duplicate."""
        return state.get(_NOTIFICATION + id_bytes(notification_id)) is not None

    def get(self, state: State, notification_id: str) -> dict[str, Any] | None:
        """The notification's state (luxe.pipeline.NotificationState)."""
        kept = state.get(_NOTIFICATION + id_bytes(notification_id))
        return None if kept is None else self._codec.decode_bare(STATE, kept)

    def remember(self, state: State, asked: Asked, made: Conclusion, now: datetime, taken: Taken | None) -> None:
        """After a decision. ``taken``: what it takes up."""
        request = asked.request
        key = id_bytes(request["notification_id"])
        topic, partition, offset = asked.source
        reason = str(made.reason)
        attempt = 1 if taken is None else taken.attempt
        row = {
            "notification_id": request["notification_id"],
            "recipient": request["recipient"],
            "notification_type": request["notification_type"],
            "outcome": made.outcome,
            "reason": reason,
            "sequence": asked.sequence + 1,
            "final": _ENDED.get(reason, "suppressed") if made.outcome == "suppress" else "",
            "steps": [new_step(step["step"], step["channel"], step["delivery_id"], attempt) for step in made.steps],
            "source_topic": topic,
            "source_partition": partition,
            "source_offset": offset,
            "updated_at": now,
        }
        state.put(_NOTIFICATION + key, self._codec.encode_bare(STATE, row))
        fresh = asked.sequence == 0
        if taken is None:
            forget_ms = ms_of(made.until or now) + STATE_KEPT_MS
            state.set_timer(FORGET_STATE + key, forget_ms, b"", PRIORITIES["low"], fresh=fresh)
        else:
            if made.until is not None:
                taken.forget_ms = max(taken.forget_ms, ms_of(made.until) + STATE_KEPT_MS)
            self._set(state, key, taken, fresh=fresh)

    @staticmethod
    def cancel(state: State, notification_id: str) -> None:
        """Whatever is decided of it from now on, it is not sent. One that nothing is known of is left alone."""
        id_ = id_bytes(notification_id)
        if state.get(_NOTIFICATION + id_) is not None:
            state.put(_CANCELLED + id_, b"")

    @staticmethod
    def is_cancelled(state: State, notification_id: str) -> bool:
        """Was it cancelled after it was decided?"""
        return state.get(_CANCELLED + id_bytes(notification_id)) is not None

    @staticmethod
    def taken(state: State, notification_id: str) -> Taken | None:
        """What a notification takes up; None: nothing."""
        timer = state.get_timer(FORGET_STATE + id_bytes(notification_id))
        return None if timer is None else Taken.decoded(timer.payload, timer.due_ms)

    def keep(self, state: State, notification_id: str, taken: Taken) -> None:
        """What it took up, or how far it came, has changed."""
        self._set(state, id_bytes(notification_id), taken)

    @staticmethod
    def _set(state: State, key: bytes, taken: Taken, *, fresh: bool = False) -> None:
        # Looking after a message is as urgent as the message was; forgetting it never is.
        priority = PRIORITIES["low"] if taken.progress is None else taken.lane
        state.set_timer(FORGET_STATE + key, taken.next_ms, taken.encoded(), priority, fresh=fresh)

    def carry_on(self, state: State, kept: dict[str, Any], now: datetime) -> None:
        """Keeps a notification's state after its plan was taken further: ``kept``, with its steps changed."""
        kept |= {"final": final_of(kept["steps"]), "updated_at": now}
        state.put(_NOTIFICATION + id_bytes(kept["notification_id"]), self._codec.encode_bare(STATE, kept))

    def source_of(self, state: State, notification_id: str) -> tuple[str, int, int]:
        """Where the request of a notification that waits lay."""
        kept = self.get(state, notification_id)
        return ("", -1, -1) if kept is None else source_of(kept)

    def kept_by(self, state: State, timer: DueTimer) -> dict[str, Any] | None:
        """The notification whose timer this is."""
        kept = state.get(_NOTIFICATION + timer.timer_id[1:])
        return None if kept is None else self._codec.decode_bare(STATE, kept)

    def note_status(self, state: State, status: Mapping[str, Any], now: datetime) -> Noted | None:
        """The notification after one DeliveryStatus. None: nothing is known of it, or it has no such step."""
        kept = self.get(state, status["notification_id"])
        if kept is None:
            return None
        for number, step in enumerate(kept["steps"]):
            if step["delivery_id"] != status["delivery_id"]:
                continue
            after = merged(step, status["attempt"], status["status"], status["status_at"])
            if after != step:
                kept["steps"][number] = after
                self.carry_on(state, kept, now)
            return Noted(kept, number, step, after)
        return None

    @staticmethod
    def forget(state: State, timer: DueTimer, taken: Taken | None) -> None:
        """A notification has grown old."""
        state.delete(_NOTIFICATION + timer.timer_id[1:])
        state.delete(_CANCELLED + timer.timer_id[1:])
        if taken is not None:
            Reservations.forget(state, taken)


def source_of(kept: Mapping[str, Any]) -> tuple[str, int, int]:
    """Where a notification's request lay: topic, partition, offset."""
    return kept["source_topic"], kept["source_partition"], kept["source_offset"]
