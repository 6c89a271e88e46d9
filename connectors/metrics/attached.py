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
FORMS_UNDER_WAY = Metric(
    "luxe_email_forms_under_way",
    "gauge",
    (),
    ("email",),
    "Emails with forms being sent now, megabytes each; at most LUXE_SINKS_FORMS_AT_ONCE, past which more of them wait.",
)
METRICS = (FORMS, FORMS_UNDER_WAY)
