"""What the streams tell of their records, timers and partitions; part of the table in connectors.metrics.catalogue."""

from __future__ import annotations

from connectors.metrics.metric import BATCH_SECONDS, Metric

STREAMS = ("intake", "notify")

EVENTS = Metric("luxe_stream_events_total", "counter", ("app",), STREAMS, "Records and timers handled.")
TIMERS_FIRED = Metric("luxe_timers_fired_total", "counter", ("app",), STREAMS, "Timers that fired.")
TIMERS_PENDING = Metric(
    "luxe_timers_pending",
    "gauge",
    ("app",),
    STREAMS,
    "Timers set that have not fired yet, in the partitions of this process.",
)
TIMERS_LATE = Metric(
    "luxe_timers_late_seconds",
    "gauge",
    ("app",),
    STREAMS,
    "How long the earliest timer is due by now; 0 while none is.",
)
SKIPPED = Metric(
    "luxe_stream_skipped_total", "counter", ("app",), STREAMS, "Records read again that a transaction had handled."
)
OUTPUTS = Metric("luxe_stream_outputs_total", "counter", ("app",), STREAMS, "Records produced.")
WORK = Metric(
    "luxe_stream_batch_seconds",
    "histogram",
    ("app",),
    STREAMS,
    "From a batch's begin to its commit's: reading state, deciding, rendering.",
    BATCH_SECONDS,
)
COMMITS = Metric(
    "luxe_stream_commit_seconds",
    "histogram",
    ("app",),
    STREAMS,
    "Committing a batch's transaction and writing its state; its count is the number of transactions.",
    BATCH_SECONDS,
)
QUEUED = Metric(
    "luxe_stream_queued_records", "gauge", ("app",), STREAMS, "Records fetched that wait for their batch here."
)
PARTITIONS = Metric(
    "luxe_stream_partitions",
    "gauge",
    ("app", "phase"),
    STREAMS,
    "Partitions of this process: running, suspended (in a rebalance, or waiting for a view), opening (fencing and restoring).",
)
RESTORED = Metric(
    "luxe_stream_restored_records_total", "counter", ("app",), STREAMS, "Changelog records read into state stores."
)
RESTORE_LEFT = Metric(
    "luxe_stream_restore_remaining_records",
    "gauge",
    ("app",),
    STREAMS,
    "Changelog offsets that restores under way have still to read; 0 when none is.",
)
VIEW_LAG = Metric(
    "luxe_stream_view_lag_records", "gauge", ("app", "view"), STREAMS, "Records of a preference table not read yet."
)
REBALANCES = Metric("luxe_stream_rebalances_total", "counter", ("app",), STREAMS, "Rebalances of the group that ended.")
POSITIONS_LOST = Metric(
    "luxe_stream_positions_lost_total",
    "counter",
    ("app",),
    STREAMS,
    "Times that retention had deleted input before it was read. Events are gone: none may ever be.",
)
OUTCOMES = Metric(
    "luxe_stream_outcomes_total",
    "counter",
    ("app", "outcome"),
    STREAMS,
    "What was made of events (intake: as mapped), of requests, due timers and statuses (notify: deliver, defer, suppress, …).",
)

METRICS = (
    EVENTS,
    TIMERS_FIRED,
    TIMERS_PENDING,
    TIMERS_LATE,
    SKIPPED,
    OUTPUTS,
    WORK,
    COMMITS,
    QUEUED,
    PARTITIONS,
    RESTORED,
    RESTORE_LEFT,
    VIEW_LAG,
    REBALANCES,
    POSITIONS_LOST,
    OUTCOMES,
)
