"""What travels in the headers of everything that an event causes: its trace, its correlation, its time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streams.runtime import Record
from streams.runtime.records import Headers


def caused_by(record: Record, event: Mapping[str, Any]) -> Headers:
    """The headers for outputs of an event. A trace begins here where the producer brought none: its ids are the event's own."""
    trace = next((value for name, value in record.headers if name == "traceparent" and value), None)
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
