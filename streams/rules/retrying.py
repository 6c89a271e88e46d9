"""When a delivery that failed is tried again, or that it is not. Pure; times in ms.

What passes by itself is tried again a few times, more often where it is urgent: architecture §7's 5, 3, 3 and 2 attempts by lane,
after 1 s and then longer, up to 5 minutes, each a little off the exact time, so that what failed together does not come back
together. What a server refused after it was accepted (a full mailbox, a handset switched off) needs an hour: the
specification's soft bounce.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Error classes (connectors.providers.outcome) after which the same message may succeed by itself.
PASSING = ("transient", "throttled")
# The specification's baseDelay and maxDelay. Four times longer each time: five attempts then span about a minute and a half,
# what a provider's restart takes; a provider that is down altogether opens the sink's breaker and burns no attempt.
BASE_MS = 1000
FACTOR = 4
LONGEST_MS = 300_000
# A provider that wants to be left alone for longer is not waited for: what is told a day late is told to nobody's use.
LONGEST_RETRY_AFTER_MS = 24 * 3_600_000
# Its softBounce: an hour, three attempts whatever the lane.
SOFT_BOUNCE_MS = 3_600_000
SOFT_BOUNCE_ATTEMPTS = 3
ATTEMPTS: Mapping[str, int] = {"critical": 5, "high": 3, "normal": 3, "low": 2}
# A code that no table of ours knows may pass, or never: one more try, and the sink has told the operators of it.
UNKNOWN_ATTEMPTS = 2
# Twilio took it from a number of ours that may not send, or in the name of a suspended account, as only its receipt says
# (connectors/webhooks/sender_news.py gives the reason). It never left, so it waits as those do that the sink holds meanwhile: an
# hour at a time, each of them a try. A registration is mended in hours; a day of them is the bound, where nothing expires before.
SENDER_REFUSED = "sender_refused"
SENDER_REFUSED_ATTEMPTS = 24
# A campaign's picture that cannot be had: once more without it (streams/messages.py), also where its receipt says so only later.
MEDIA_ATTEMPTS = 2
_SPREADS = 1 << 16


def backoff_ms(failures: int, spread: int) -> int:
    """How long after its ``failures``-th failure (1, 2, …) it is tried again: half of the step at least, all of it at most.

    ``spread``: 0 to 65535, drawn from the notification's id.
    """
    whole = int(min(LONGEST_MS, BASE_MS * FACTOR ** min(failures - 1, 16)))
    return whole // 2 + whole // 2 * spread // _SPREADS


def is_sender_refused(status: Mapping[str, Any]) -> bool:
    """Was it its sender that was refused, and not the message?"""
    return bool(status["reason"] == SENDER_REFUSED)


def retry_ms(
    status: Mapping[str, Any], lane: str, failures: int, now_ms: int, spread: int, *, is_last: bool
) -> int | None:
    """When a delivery whose status (DeliveryStatus) says that it failed is tried again, ms since the epoch; None: not at all.

    ``failures``: how often it failed, this one included, a refused sender's refusals left out. ``is_last``: no other channel is
    left, which would be quicker than a refused sender's return.
    """
    if is_sender_refused(status):
        # Nobody sees a critical one wait: without another channel it fails, and staff are told at once.
        waits = is_last and lane != "critical" and status["attempt"] < SENDER_REFUSED_ATTEMPTS
        return _an_hour_later(now_ms, spread) if waits else None
    error_class = status["error_class"]
    if error_class == "media" and status["status"] in ("failed", "undelivered"):
        return now_ms + backoff_ms(failures, spread) if failures < MEDIA_ATTEMPTS else None
    if status["status"] in ("undelivered", "bounced"):
        most = UNKNOWN_ATTEMPTS if error_class == "unknown" else SOFT_BOUNCE_ATTEMPTS if error_class in PASSING else 0
        soft = status["status"] == "undelivered" and failures < most
        return _an_hour_later(now_ms, spread) if soft else None
    if status["status"] != "failed":
        return None
    attempts = ATTEMPTS[lane]
    if error_class == "unknown":
        attempts = min(attempts, UNKNOWN_ATTEMPTS)
    elif error_class not in PASSING:
        return None
    if failures >= attempts:
        return None
    due_ms = now_ms + backoff_ms(failures, spread)
    retry_at = status["retry_at"]
    if retry_at is None:
        return due_ms
    asked_ms: int = round(retry_at.timestamp() * 1000)
    return min(max(due_ms, asked_ms), now_ms + LONGEST_RETRY_AFTER_MS)


def _an_hour_later(now_ms: int, spread: int) -> int:
    """Or up to a minute less, so that what failed together does not come back together."""
    return now_ms + SOFT_BOUNCE_MS - SOFT_BOUNCE_MS // 60 * spread // _SPREADS
