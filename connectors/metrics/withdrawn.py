"""What is told of the reader of what was moved or called off; part of the table in connectors.metrics.catalogue."""

from __future__ import annotations

from connectors.metrics.metric import Metric

WITHDRAWALS_AGE = Metric(
    "luxe_withdrawals_age_seconds",
    "gauge",
    (),
    ("api", "webhooks"),
    "Since what was moved or called off was last known to its end, of the partition where that is longest ago; past "
    "LUXE_REPLIES_STALE_SECONDS (10 s) no answer is taken (503).",
)

METRICS = (WITHDRAWALS_AGE,)
