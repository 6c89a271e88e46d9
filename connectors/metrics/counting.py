"""Numbers while a process works: an addition in a dictionary, or in a list. Prometheus' own objects are made when somebody asks.

Written by one thread each, or under the caller's lock; read by the exporter's thread, which takes copies.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.utils import floatToGoString

from connectors.metrics.catalogue import Metric

Labels = tuple[str, ...]

# Of one metric in one process. The words are ours and far fewer; a bug must not fill Prometheus' memory all the same.
MAX_SERIES = 1_000
OTHER = "other"


class Source(Protocol):
    """What the exporter reads."""

    metric: Metric

    def family(self) -> Family:
        """The metric as it stands."""


class Counts:
    """A counter: how often what happened."""

    __slots__ = ("_values", "metric")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._values: dict[Labels, float] = {}

    def add(self, *labels: str, by: float = 1) -> None:
        """Once more, or ``by`` more. The labels in the metric's order."""
        values = self._values
        found = values.get(labels)
        if found is None:
            labels = _within_bounds(values, labels)
            found = values.get(labels, 0)
        values[labels] = found + by

    def value(self, *labels: str) -> float:
        """How often so far."""
        return self._values.get(labels, 0)

    def family(self) -> Family:
        return _counter(self.metric, self._values.copy().items())


class Timings:
    """A histogram: how many within each bucket of the metric, and their sum."""

    __slots__ = ("_bounds", "_values", "metric")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._bounds = metric.buckets
        self._values: dict[Labels, tuple[list[int], list[float]]] = {}

    def observe(self, value: float, *labels: str) -> None:
        """One more, in the metric's unit."""
        found = self._values.get(labels)
        if found is None:
            labels = _within_bounds(self._values, labels)
            found = self._values.setdefault(labels, ([0] * (len(self._bounds) + 1), [0.0]))
        counts, total = found
        counts[bisect_left(self._bounds, value)] += 1
        total[0] += value

    def family(self) -> Family:
        family = HistogramMetricFamily(self.metric.name, self.metric.meaning, labels=self.metric.labels)
        for labels, (counts, total) in self._values.copy().items():
            so_far, buckets = 0, []
            for bound, count in zip((*map(floatToGoString, self._bounds), "+Inf"), counts.copy(), strict=True):
                so_far += count
                buckets.append((bound, float(so_far)))
            family.add_metric(labels, buckets, total[0])
        return family


class Read:
    """A gauge, or a counter kept elsewhere: read only when asked. ``read`` is called in the exporter's thread and may raise."""

    __slots__ = ("_read", "metric")

    def __init__(self, metric: Metric, read: Callable[[], Iterable[tuple[Labels, float]]]) -> None:
        self.metric = metric
        self._read = read

    def family(self) -> Family:
        if self.metric.kind == "counter":
            return _counter(self.metric, self._read())
        family = GaugeMetricFamily(self.metric.name, self.metric.meaning, labels=self.metric.labels)
        for labels, value in self._read():
            family.add_metric(labels, value)
        return family


def one(read: Callable[[], float], *labels: str) -> Callable[[], list[tuple[Labels, float]]]:
    """For Read: a single number."""
    return lambda: [(labels, read())]


def _counter(metric: Metric, values: Iterable[tuple[Labels, float]]) -> Family:
    family = CounterMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _within_bounds(values: Mapping[Labels, object], labels: Labels) -> Labels:
    return labels if len(values) < MAX_SERIES else (OTHER,) * len(labels)
