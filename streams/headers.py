"""What travels in the headers of everything that an event causes: its trace, its correlation, its time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from streams.runtime import Record
from streams.runtime.records import Headers

# https://www.w3.org/TR/trace-context/#traceparent-header. Anything else that a producer calls so may be anybody's name.
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def caused_by(record: Record, event: Mapping[str, Any]) -> Headers:
    """The headers for outputs of an event. Where the producer brought no trace, one begins: its ids are the event's own."""
    trace = next((v for name, v in record.headers if name == "traceparent" and v and _TRACEPARENT.fullmatch(v)), None)
    if trace is None:
        digits = event["event_id"].replace("-", "").lower()
        trace = f"00-{digits}-{digits[16:]}-01".encode()
    correlation = event["correlation_id"]
    occurred_at_ms = int(event["occurred_at"].timestamp() * 1000)
    return (
        ("traceparent", trace),
        ("correlation_id", correlation.encode() if correlation else b""),
        ("occurred_at_ms", str(occurred_at_ms).encode()),
    )
