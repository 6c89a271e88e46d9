"""What is counted of the forms that emails carry; part of the table in connectors.metrics.catalogue."""

from __future__ import annotations

from connectors.metrics.metric import Metric

FORMS = Metric(
    "luxe_email_forms_total",
    "counter",
    ("result",),
    ("email",),
    "Forms that emails named: attached, absent (none on file), withheld (level 3), left_out (past the bounds of one email).",
)
