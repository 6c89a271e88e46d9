"""What is counted of records newer than the process that reads them; part of the table in connectors.metrics.catalogue."""

from __future__ import annotations

from connectors.metrics.metric import Metric

LATER_SCHEMAS = Metric(
    "luxe_deliveries_later_schema",
    "gauge",
    ("channel",),
    ("sms", "email", "push", "in_app"),
    "Messages and gates that wait because this process is older than who wrote them: it does not know their schema.",
)

METRICS = (LATER_SCHEMAS,)
