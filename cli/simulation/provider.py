"""A made-up provider: what becomes of each call, drawn from the seed and the delivery's own id, so the same at every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

# How long a message lies in its topic until its sink calls: from an idle sink's to that of one with a queue before it.
_SINK_MS = (40, 1_500)
_SECOND_MS = 1_000
_MINUTE_MS = 60 * _SECOND_MS
_HOUR_MS = 60 * _MINUTE_MS


class Said(NamedTuple):
    """One status of a delivery (DeliveryStatus): how long after the call it comes, and its other fields."""

    after_ms: int
    status: str
    more: Mapping[str, Any] = {}


class _Share(NamedTuple):
    """Of a thousand calls, so many end like this. ``within_ms``: the last status comes between these after the call."""

    per_mille: int
    statuses: tuple[str, ...]
    within_ms: tuple[int, int]
    more: Mapping[str, Any] = {}


_PASSES = {"error_class": "transient", "error_code": "503"}
_NOBODY = {"error_class": "permanent", "error_code": "30003"}

# Worse than any real month, so that a year holds enough of each: 2 in 100 fail at once and pass, 2 fail for good, 4 come late,
# 2 are never heard of again.
_SHARES: Mapping[str, tuple[_Share, ...]] = {
    "sms": (
        _Share(900, ("sent", "delivered"), (_SECOND_MS, 20 * _SECOND_MS)),
        _Share(40, ("sent", "delivered"), (10 * _MINUTE_MS, 3 * _HOUR_MS)),
        _Share(20, ("failed",), (100, 900), _PASSES),
        _Share(20, ("sent", "undelivered"), (_SECOND_MS, _MINUTE_MS), _NOBODY),
        _Share(20, ("sent",), (100, 900)),
    ),
    "email": (
        _Share(900, ("sent", "delivered"), (_SECOND_MS, _MINUTE_MS)),
        _Share(40, ("sent", "delivered"), (_HOUR_MS, 20 * _HOUR_MS)),
        _Share(20, ("failed",), (100, 900), _PASSES),
        _Share(20, ("sent", "bounced"), (_SECOND_MS, _HOUR_MS), {"error_class": "permanent", "error_code": "550"}),
        _Share(20, ("sent",), (100, 900)),
    ),
    "push": (
        _Share(300, ("sent", "delivered"), (_SECOND_MS, 10 * _SECOND_MS)),
        _Share(640, ("sent",), (100, 900)),  # Firebase's receipts come from the app alone, and few apps send them
        _Share(20, ("failed",), (100, 900), _PASSES),
        _Share(40, ("failed",), (100, 900), {"error_class": "permanent", "error_code": "UNREGISTERED"}),
    ),
    "in_app": (
        _Share(600, ("delivered",), (10, 100)),
        _Share(400, ("delivered", "read"), (_MINUTE_MS, 48 * _HOUR_MS)),
    ),
}
_ACCEPTED_MS = 90


class VirtualProvider:
    """All channels' providers, and the sinks before them."""

    def __init__(self, seed: int) -> None:
        self._salt = seed.to_bytes(8, "big", signed=True)

    def call_after_ms(self, message: Mapping[str, Any]) -> int:
        """How long its sink takes until it calls for this ChannelMessage."""
        low, high = _SINK_MS
        return low + self._draw(message, b"sink") % (high - low)

    def answer(self, message: Mapping[str, Any]) -> Sequence[Said]:
        """What becomes of the call, in the order in which it is heard."""
        drawn = self._draw(message, b"fate")
        place = drawn % 1000
        for share in _SHARES[message["channel"]]:
            if place < share.per_mille:
                break
            place -= share.per_mille
        low, high = share.within_ms
        last_ms = low + (drawn >> 16) % (high - low)
        *first, last = share.statuses
        early_ms = min(_ACCEPTED_MS, last_ms)
        return [*(Said(early_ms, one) for one in first), Said(last_ms, last, share.more)]

    def _draw(self, message: Mapping[str, Any], use: bytes) -> int:
        told = f"{message['delivery_id']} {message['attempt']}".encode()
        return int.from_bytes(blake2b(told, digest_size=8, key=self._salt, person=use).digest(), "big")
