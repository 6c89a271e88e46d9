"""What is said of one metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]

# A provider answers in tens of milliseconds, and a call is given up after 10 to 60 s (architecture §7).
CALL_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# Ours answer in milliseconds; a request is given up after 10 s.
REQUEST_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# A transaction of one record commits in 2 ms, a full batch is a quarter of a second's work.
BATCH_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
BATCH_ROWS = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)
RANGE_ROWS = (10.0, 100.0, 1_000.0, 10_000.0, 50_000.0, 100_000.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``services``: whose processes have it. ``buckets``: of a histogram, upper bounds in its unit."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    services: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()
