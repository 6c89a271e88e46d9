"""What is counted of silent pushes after an inbox changed; part of the table in connectors.metrics.catalogue."""

from __future__ import annotations

from connectors.metrics.metric import Metric

PUSH_SYNCS = Metric(
    "luxe_push_syncs_total",
    "counter",
    ("outcome",),
    ("push",),
    "Silent pushes after an inbox changed: sent, gone (the device is), refused, unanswered; or not: stopped (by a gate), held "
    "(it gave way, and is tried again); of people: unwanted (push is off), unreadable, no_room (LUXE_PUSH_SYNC_PEOPLE wait).",
)
PUSH_SYNC_WAITING = Metric(
    "luxe_push_sync_waiting", "gauge", (), ("push",), "People whose devices are to hear that their inbox changed."
)

METRICS = (PUSH_SYNCS, PUSH_SYNC_WAITING)
