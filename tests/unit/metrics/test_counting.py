"""Plain numbers, as Prometheus reads them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from connectors.metrics.catalogue import METRICS, Metric
from connectors.metrics.counting import MAX_SERIES, OTHER, Counts, Read, Source, Timings, one
from connectors.metrics.exporter import Sources, registry_of

COUNTER = Metric("luxe_things_total", "counter", ("kind",), ("sms",), "Things.")
GAUGE = Metric("luxe_depth", "gauge", (), ("sms",), "Depth.")
HISTOGRAM = Metric("luxe_took_seconds", "histogram", ("kind",), ("sms",), "Took.", (0.1, 1.0))


def text_of(*sources: Source) -> str:
    registry = CollectorRegistry()
    registry.register(Sources(sources))
    return generate_latest(registry).decode()


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_counter_is_written_as_prometheus_reads_it() -> None:
    counts = Counts(COUNTER)
    counts.add("a")
    counts.add("a", by=2)
    counts.add('with "quotes"\nand \\')
    text = text_of(counts)
    assert "# TYPE luxe_things_total counter" in text
    assert samples(text)["luxe_things_total", (("kind", "a"),)] == 3
    assert samples(text)["luxe_things_total", (("kind", 'with "quotes"\nand \\'),)] == 1
    assert counts.value("a") == 3


@given(st.lists(st.floats(min_value=0, max_value=10, allow_nan=False)))
def test_a_histogram_counts_each_value_once_and_adds_up(values: list[float]) -> None:
    timings = Timings(HISTOGRAM)
    for value in values:
        timings.observe(value, "a")
    found = samples(text_of(timings))
    if not values:
        assert not any(name.startswith("luxe_took") for name, _ in found)
        return
    for bound in ("0.1", "1.0", "+Inf"):
        bucket = found["luxe_took_seconds_bucket", (("kind", "a"), ("le", bound))]
        assert bucket == sum(value <= float(bound) for value in values)
    assert found["luxe_took_seconds_count", (("kind", "a"),)] == len(values)
    assert math.isclose(found["luxe_took_seconds_sum", (("kind", "a"),)], sum(values))


def test_what_cannot_be_read_is_left_out_counted_and_stops_no_other() -> None:
    def away() -> float:
        raise OSError("Postgres is away")

    found = samples(text_of(Read(GAUGE, one(away)), Read(GAUGE, one(lambda: 7))))
    assert found["luxe_depth", ()] == 7
    assert found["luxe_metrics_unreadable_total", (("metric", "luxe_depth"),)] == 1


def test_series_are_bounded_whatever_is_counted() -> None:
    counts, timings = Counts(COUNTER), Timings(HISTOGRAM)
    for number in range(3 * MAX_SERIES):
        counts.add(str(number))
        timings.observe(1.0, str(number))
    assert counts.value(OTHER) == 2 * MAX_SERIES
    assert len([name for name in samples(text_of(counts)) if name[0] == COUNTER.name]) == MAX_SERIES + 1
    assert len([name for name in samples(text_of(timings)) if name[0].endswith("_count")]) == MAX_SERIES + 1


def test_a_process_tells_its_memory_and_start_too() -> None:
    found = samples(generate_latest(registry_of(())).decode())
    assert found["process_resident_memory_bytes", ()] > 0
    assert found["process_start_time_seconds", ()] > 0


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_prometheus_conventions(metric: Metric) -> None:
    assert metric.name.startswith("luxe_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert metric.services
    assert metric.meaning.endswith(".")
    assert not set(metric.labels) & {"le", "quantile", "service", "job", "instance"}
