"""What notify remembers of each notification: decided or not, its plan, and how far each step came. Forgotten after some weeks.

Rows: ``n`` + notification id → NotificationState; ``x`` + notification id: cancelled after it was decided.
Timer ``f`` + notification id, with what it takes up, to forget it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from schemas.codec import Codec
from streams.decisions import Conclusion
from streams.requests import Asked
from streams.reservations import Reservations, Taken
from streams.rules.schedule import STATE_KEPT_MS
from streams.rules.status import final_of, merged, new_step
from streams.runtime import DueTimer
from streams.waiting import FORGET_STATE, PRIORITIES, State, id_bytes, ms_of

STATE = "luxe.pipeline.NotificationState"
_NOTIFICATION = b"n"
_CANCELLED = b"x"
# How a suppressed notification ended, by the reason; ``suppressed`` for all others.
_ENDED = {"expired": "expired", "cancelled": "cancelled"}


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
        reason = made.reason.value
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
        forget_ms = ms_of(made.until or now) + STATE_KEPT_MS
        payload = b"" if taken is None else taken.encoded()
        state.set_timer(FORGET_STATE + key, forget_ms, payload, PRIORITIES["low"], fresh=asked.sequence == 0)

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
        return None if timer is None else Taken.decoded(timer.payload)

    @staticmethod
    def keep(state: State, notification_id: str, taken: Taken) -> None:
        """What it took up has changed."""
        timer = state.get_timer(FORGET_STATE + id_bytes(notification_id))
        if timer is not None:
            state.set_timer(timer.timer_id, timer.due_ms, taken.encoded(), PRIORITIES["low"])

    def source_of(self, state: State, notification_id: str) -> tuple[str, int, int]:
        """Where the request of a notification that waits lay."""
        kept = self.get(state, notification_id)
        return ("", -1, -1) if kept is None else (kept["source_topic"], kept["source_partition"], kept["source_offset"])

    def note_status(self, state: State, status: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
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
                kept |= {"final": final_of(kept["steps"]), "updated_at": now}
                state.put(_NOTIFICATION + id_bytes(status["notification_id"]), self._codec.encode_bare(STATE, kept))
            return kept
        return None

    @staticmethod
    def forget(state: State, timer: DueTimer) -> None:
        """A notification has grown old."""
        state.delete(_NOTIFICATION + timer.timer_id[1:])
        state.delete(_CANCELLED + timer.timer_id[1:])
        taken = Taken.decoded(timer.payload)
        if taken is not None:
            Reservations.forget(state, taken)
