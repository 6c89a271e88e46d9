"""What is counted of the sweep for texts that the webhook missed; part of the table in connectors.metrics.catalogue."""

from __future__ import annotations

from connectors.metrics.metric import Metric

SWEPT_TEXTS = Metric(
    "luxe_inbound_swept_total",
    "counter",
    ("result",),
    ("webhooks",),
    "Texts from phones that the webhook missed: recovered by the sweep, or unusable (no telephone wrote it).",
)
SWEEPS_CUT = Metric(
    "luxe_inbound_sweeps_cut_total",
    "counter",
    (),
    ("webhooks",),
    "Sweeps that did not see everything since the last: it is longer ago than LUXE_INBOUND_SWEEP_DAYS, or a number got 5,000 "
    "texts within 2 s. Texts may be missing.",
)
SWEEP_AGE = Metric(
    "luxe_inbound_sweep_age_seconds",
    "gauge",
    (),
    ("webhooks",),
    "Since the last sweep for missed texts that was whole, by any process; not there where LUXE_INBOUND_SWEEP_SECONDS is 0.",
)

METRICS = (SWEPT_TEXTS, SWEEPS_CUT, SWEEP_AGE)
