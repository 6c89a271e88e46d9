"""Everything that the loopback provider can be told to do wrong, a little of each: what `luxe demo --misbehave` runs against.

Shares are of the requests of a channel. Together some third of all messages meet with something; which, the seed decides.
"""

from __future__ import annotations

from typing import Any

# Longer than the loopback's own pace, shorter than anybody watching a demonstration waits.
LATE_MS = 4_000


def rules(seed: int) -> list[dict[str, Any]]:
    """As POST /faults of the loopback provider takes them (docs/loopback-provider.md)."""
    wrongs: list[tuple[str | None, float, dict[str, Any]]] = [
        (None, 0.30, {"kind": "latency", "ms": 50, "jitter_ms": 400}),
        (None, 0.03, {"kind": "status", "status": 500}),
        (None, 0.03, {"kind": "status", "status": 503}),
        (None, 0.02, {"kind": "status", "status": 429, "retry_after_seconds": 1}),
        (None, 0.03, {"kind": "reset_before"}),
        (None, 0.03, {"kind": "reset_after"}),
        (None, 0.01, {"kind": "hang", "seconds": 2, "accept": True}),
        (None, 0.01, {"kind": "hang", "seconds": 2}),
        ("sms", 0.02, {"kind": "twilio_error", "code": 21614}),
        ("sms", 0.02, {"kind": "twilio_error", "code": 21610}),
        ("sms", 0.02, {"kind": "twilio_error", "code": 30007}),
        ("sms", 0.04, {"kind": "undelivered", "code": 30005}),
        ("sms", 0.02, {"kind": "undelivered", "code": 30003}),
        ("email", 0.03, {"kind": "email_event", "event": "bounce"}),
        ("email", 0.02, {"kind": "email_event", "event": "blocked"}),
        ("email", 0.02, {"kind": "email_event", "event": "dropped"}),
        ("email", 0.03, {"kind": "email_event", "event": "deferred"}),
        ("email", 0.01, {"kind": "email_event", "event": "spamreport"}),
        ("push", 0.05, {"kind": "fcm_error", "code": "UNREGISTERED"}),
        ("push", 0.05, {"kind": "fcm_error", "code": "UNAVAILABLE"}),
        (None, 0.10, {"kind": "receipts", "mode": "duplicate"}),
        (None, 0.10, {"kind": "receipts", "mode": "late", "late_ms": LATE_MS}),
        (None, 0.10, {"kind": "receipts", "mode": "out_of_order"}),
        (None, 0.05, {"kind": "receipts", "mode": "never"}),
        (None, 0.02, {"kind": "receipts", "mode": "wrong_signature"}),
    ]
    return [
        {"effect": effect, "probability": share, "seed": seed + number}
        | ({} if channel is None else {"channel": channel})
        for number, (channel, share, effect) in enumerate(wrongs)
    ]
