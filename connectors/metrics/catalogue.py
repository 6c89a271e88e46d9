"""Every metric of ours: its name, its labels, who has it, what it says. docs/metrics.md is made of this table.

Label values are words of ours, of a bounded number: never an id, a person, an address, or what somebody else wrote.
"""

from __future__ import annotations

from connectors.metrics import attached, push_sync, streamed, swept, upgrading, withdrawn
from connectors.metrics.metric import BATCH_ROWS, BATCH_SECONDS, CALL_SECONDS, RANGE_ROWS, REQUEST_SECONDS
from connectors.metrics.metric import Metric as Metric
from connectors.metrics.streamed import STREAMS

SINKS = ("sms", "email", "push", "in_app")
HTTP = ("api", "webhooks")
RELAY, WEBHOOKS, CLICKHOUSE, SEGMENTS, COORDINATOR = "relay", "webhooks", "clickhouse", "segments", "coordinator"

# Queues

LAG = Metric(
    "luxe_consumer_lag_records",
    "gauge",
    ("topic", "partition"),
    (*STREAMS, *SINKS, CLICKHOUSE, COORDINATOR),
    "Records on the topic that this process, which owns the partition, has not read yet. Up to 10 s old.",
)
QUEUE = Metric(
    "luxe_delivery_queue_records",
    "gauge",
    ("channel", "lane"),
    SINKS,
    "Queue depth of a lane: messages not yet read from its topic, and those in flight. Up to 5 s old.",
)
IN_FLIGHT = Metric(
    "luxe_deliveries_in_flight",
    "gauge",
    ("channel", "lane"),
    SINKS,
    "Messages taken whose end is not in Kafka yet; at most the lane's slots (LUXE_SINKS_SLOTS_…).",
)
PINNED = Metric(
    "luxe_deliveries_pinned_records",
    "gauge",
    ("channel", "lane"),
    SINKS,
    "Records taken that no commit covers, for one before them has not ended; of a partition LUXE_SINKS_BEHIND_OLDEST at most.",
)

# Deliveries

DELIVERIES = Metric(
    "luxe_deliveries_total",
    "counter",
    ("channel", "lane", "status", "error_class"),
    SINKS,
    "Attempts that ended: sent, failed, unknown, suppressed, cancelled or expired; error_class is empty where none failed.",
)
RETRIES = Metric(
    "luxe_delivery_retries_total",
    "counter",
    ("channel", "lane", "error_class"),
    SINKS,
    "Attempts that failed and named a time for the next one.",
)
CALLS = Metric(
    "luxe_provider_call_seconds",
    "histogram",
    ("channel", "result"),
    SINKS,
    "Calls to the provider, by how they ended: accepted, refused, unknown (no answer), error (a fault of ours).",
    CALL_SECONDS,
)
RECENT_CALLS = Metric(
    "luxe_provider_recent_calls",
    "gauge",
    ("channel", "lane"),
    SINKS,
    "Calls to the provider that ended within the last 5 minutes.",
)
RECENT_ERRORS = Metric(
    "luxe_provider_recent_errors",
    "gauge",
    ("channel", "lane"),
    SINKS,
    "Of those, how many the provider is to blame for: no answer, or any class but permanent_recipient and opted_out.",
)
LAST_SUCCESS = Metric(
    "luxe_provider_last_success_timestamp_seconds",
    "gauge",
    ("channel", "lane"),
    SINKS,
    "When the provider last took a message, in seconds since 1970; absent before the first one of this process.",
)
LEDGER_ROWS = Metric(
    "luxe_ledger_batch_rows",
    "histogram",
    ("channel", "step"),
    SINKS,
    "Rows of the attempt ledger written in one statement; step: begin (before the call) or finish (after it).",
    BATCH_ROWS,
)
GATES_AGE = Metric(
    "luxe_gates_age_seconds",
    "gauge",
    ("channel",),
    SINKS,
    "Of the partition of gates that was known to its end the longest ago; sending waits at LUXE_SINKS_GATES_STALE_SECONDS (5 s).",
)
BREAKERS = Metric(
    "luxe_breaker_state",
    "gauge",
    ("channel", "subject", "state"),
    SINKS,
    "1 for the state (closed, open, half_open) that the breaker of a subject is in: the account, or one of its senders; else 0.",
)
WAITING = Metric(
    "luxe_deliveries_held", "gauge", ("channel",), SINKS, "Messages that wait, unbegun, for a breaker, limit or slot."
)
PAUSES = Metric(
    "luxe_breaker_pauses_total", "counter", ("channel", "cause"), SINKS, "Times one opened: down, account, throttled."
)
PROBES = Metric(
    "luxe_breaker_probes_total", "counter", ("channel",), SINKS, "Calls let through to see whether it is over."
)
POSTPONED = Metric(
    "luxe_deliveries_postponed_total",
    "counter",
    ("channel",),
    SINKS,
    "Refused messages that wait for the provider's return, their attempt unspent.",
)
LIMIT_TOKENS = Metric(
    "luxe_rate_limit_tokens_total",
    "counter",
    ("channel", "limit"),
    SINKS,
    "Tokens leased of account_second, account_day, sender_minute, clinic_minute or clinic_day; those not used lapse.",
)
LIMIT_SHORT = Metric(
    "luxe_rate_limit_short_total", "counter", ("channel", "limit"), SINKS, "Times that one had less than was needed."
)
LIMIT_WAITING = Metric(
    "luxe_rate_limit_waiting", "gauge", ("channel", "limit"), SINKS, "Messages that wait for a token of that limit."
)
DEAD_LETTERS = Metric(
    "luxe_dead_letters_total",
    "counter",
    ("stage", "code"),
    (*STREAMS, *SINKS, WEBHOOKS, COORDINATOR),
    "Records, or entries of a provider's batch, that went to dead-letters, by their code (`luxe dead-letters`).",
)

# Receipts

RECEIPTS = Metric(
    "luxe_receipts_total",
    "counter",
    ("provider", "status"),
    (WEBHOOKS,),
    "Receipts taken: signed, understood, and durable. The same one posted twice counts twice.",
)
RECEIPTS_REFUSED = Metric(
    "luxe_receipts_refused_total",
    "counter",
    ("provider", "reason"),
    (WEBHOOKS,),
    "Requests or entries not taken. signature: not signed by the provider, or too old; form: signed, yet not in its form; "
    "entry: one entry of a batch is not in its form, the others were taken; size: larger than any genuine one.",
)
RECEIPTS_PARKED = Metric(
    "luxe_receipts_parked_total",
    "counter",
    ("provider",),
    (WEBHOOKS,),
    "Receipts whose message the ledger did not know yet.",
)
RECEIPTS_CLAIMED = Metric(
    "luxe_receipts_claimed_total", "counter", ("provider",), (WEBHOOKS,), "Parked receipts whose message became known."
)
RECEIPTS_WAITING = Metric(
    "luxe_receipts_waiting",
    "gauge",
    ("provider", "state"),
    (RELAY,),
    "Receipts of unknown messages in Postgres: parked (up to 5 minutes) or quarantined. The same from every relay: take max.",
)

# Waitlist

WAITLIST_TOLD = Metric(
    "luxe_waitlist_told_total",
    "counter",
    ("what",),
    (COORDINATOR,),
    "What it told of slots: offer_made, expired, taken, withdrawn, declined, nobody_left, too_late, claimed, claimed_twice, "
    "withdrawn_from_holder.",
)
WAITLIST_SKIPPED = Metric(
    "luxe_waitlist_skipped_total",
    "counter",
    ("reason",),
    (COORDINATOR,),
    "Candidates who could not be asked, by the rule that said so.",
)
WAITLIST_LATE = Metric(
    "luxe_waitlist_late_seconds",
    "histogram",
    (),
    (COORDINATOR,),
    "From a slot's time to when it was looked at.",
    REQUEST_SECONDS,
)

# Postgres

OUTBOX_ROWS = Metric(
    "luxe_outbox_unpublished_rows",
    "gauge",
    (),
    (RELAY,),
    "Changes in Postgres that are not in Kafka yet. The same from every relay: take max.",
)
OUTBOX_AGE = Metric(
    "luxe_outbox_oldest_seconds",
    "gauge",
    (),
    (RELAY,),
    "Age of the oldest of them; 0 when there is none. Opt-outs wait behind it.",
)
OUTBOX_PUBLISHED = Metric(
    "luxe_outbox_published_total", "counter", (), (RELAY,), "Rows published to Kafka by this relay."
)
RELAY_LEADS = Metric("luxe_relay_leads", "gauge", (), (RELAY,), "1 where this relay publishes, 0 where it stands by.")

# ClickHouse

INGESTED = Metric("luxe_ingest_rows_total", "counter", (), (CLICKHOUSE,), "Records inserted.")
INGEST_RANGE = Metric(
    "luxe_ingest_range_rows", "histogram", (), (CLICKHOUSE,), "Records of one partition inserted together.", RANGE_ROWS
)
INGEST_SECONDS = Metric(
    "luxe_ingest_range_seconds", "histogram", (), (CLICKHOUSE,), "Inserting one such range.", BATCH_SECONDS
)
INGEST_UNREADABLE = Metric(
    "luxe_ingest_unreadable_total", "counter", (), (CLICKHOUSE,), "Records kept in the table of unreadable ones."
)

# Segments

SEGMENTS_PROJECTED = Metric(
    "luxe_segments_projected_total", "counter", (), (SEGMENTS,), "Records read into patients' standings."
)
SEGMENT_UNUSABLE = Metric(
    "luxe_segments_unusable_total", "counter", (), (SEGMENTS,), "Of these, what intake keeps as dead letters."
)
SEGMENT_EVENTS = Metric(
    "luxe_segments_emitted_total", "counter", ("segment",), (SEGMENTS,), "Events told: somebody joined a segment."
)
SEGMENT_MISSED = Metric(
    "luxe_segments_missed_total",
    "counter",
    ("segment",),
    (SEGMENTS,),
    "Occasions that passed while nothing scanned, and were no longer useful afterwards.",
)

# HTTP

REQUESTS = Metric(
    "luxe_http_requests_total",
    "counter",
    ("method", "route", "status"),
    HTTP,
    "Requests answered; route is the template (`/v1/recipients/{id}`), `other` where no route matched.",
)
REQUEST_DURATIONS = Metric(
    "luxe_http_request_seconds",
    "histogram",
    ("method", "route"),
    HTTP,
    "From a request's head to its answer's; streams (the live inbox) are left out.",
    REQUEST_SECONDS,
)
REQUESTS_OPEN = Metric(
    "luxe_http_requests_in_flight", "gauge", (), HTTP, "Requests being answered now, open streams among them."
)
LIVE = Metric(
    "luxe_live_connections",
    "gauge",
    (),
    ("api",),
    "Open connections to live inboxes, WebSocket and SSE; at most LUXE_INBOX_CONNECTIONS.",
)

SCRAPE_FAULTS = Metric(
    "luxe_metrics_unreadable_total",
    "counter",
    ("metric",),
    (*STREAMS, *SINKS, RELAY, WEBHOOKS, CLICKHOUSE, SEGMENTS, COORDINATOR, "api"),
    "Times that a metric could not be read when asked for (Postgres away, say); it was left out of that answer.",
)

_PARTS = (
    *(attached.METRICS, swept.METRICS, withdrawn.METRICS, streamed.METRICS, push_sync.METRICS, upgrading.METRICS),
    tuple(vars().values()),
)
METRICS: tuple[Metric, ...] = tuple(one for part in _PARTS for one in part if isinstance(one, Metric))
BY_NAME: dict[str, Metric] = {metric.name: metric for metric in METRICS}
