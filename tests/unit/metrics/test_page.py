"""docs/metrics.md and its examples name what there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from promql_parser import AggregateExpr, Call, Expr, VectorSelector, parse, walk

from cli.metrics import markdown_table
from connectors.metrics.catalogue import BY_NAME, METRICS, Metric
from tests.docs.fences import ROOT

PAGE = ROOT / "docs" / "metrics.md"
FOLDER = ROOT / "docs" / "examples" / "prometheus"
# What Prometheus itself, and its library, tell of a process that it asks.
FOREIGN = {"up", "process_resident_memory_bytes", "process_open_fds", "process_max_fds", "process_start_time_seconds"}
# Those that Prometheus adds to whatever it reads from a process of ours.
ADDED = ("service", "job", "instance")


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for number, block in enumerate(re.findall(r"```promql\n(.*?)```", PAGE.read_text(), re.S)):
        for line in filter(None, (line.strip() for line in block.splitlines())):
            if not line.startswith("#"):
                yield f"page {number}", line


def metric_of(name: str) -> Metric | None:
    for ending in ("", "_bucket", "_sum", "_count"):
        if ending and not name.endswith(ending):
            continue
        metric = BY_NAME.get(name.removesuffix(ending) if ending else name)
        if metric is not None and (metric.kind == "histogram") == bool(ending):
            return metric
    return None


def test_the_page_has_the_table_of_the_code() -> None:
    assert markdown_table() in PAGE.read_text(), "run `luxe metrics list --markdown` and put it into docs/metrics.md"


def test_names_are_given_once() -> None:
    assert len(BY_NAME) == len(METRICS)


def nodes(expression: str) -> list[Expr]:
    """The expression and all it is made of, by Prometheus' own grammar. Raises ValueError for what Prometheus would refuse."""
    found: list[Expr] = []
    walk(parse(expression), found.append)
    return found


def labels_of(name: str) -> set[str]:
    metric = metric_of(name)
    assert metric is not None or name in FOREIGN, f"no metric {name}"
    return {*(metric.labels if metric else ()), *ADDED, "le"}


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_an_expression_is_one_to_prometheus_and_names_metrics_and_labels_there_are(where: str, expression: str) -> None:
    selectors = [node for node in nodes(expression) if isinstance(node, VectorSelector)]
    assert selectors, where
    for selector in selectors:
        assert selector.name is not None
        for matcher in selector.matchers.matchers:
            assert matcher.name in labels_of(selector.name), f"{where}: {selector.name} has no label {matcher.name}"
    known = set[str]().union(*(labels_of(selector.name or "") for selector in selectors))
    for node in nodes(expression):
        if isinstance(node, AggregateExpr) and node.modifier is not None:
            assert set(node.modifier.labels) <= known, where


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_a_counter_is_asked_for_its_rate(where: str, expression: str) -> None:
    rated = {
        inner.name
        for node in nodes(expression)
        if isinstance(node, Call) and node.func.name in ("rate", "increase")
        for inner in nodes(str(node))
        if isinstance(inner, VectorSelector)
    }
    for node in nodes(expression):
        if isinstance(node, VectorSelector) and node.name is not None and node.name not in FOREIGN:
            metric = metric_of(node.name)
            assert metric is not None
            assert metric.kind == "gauge" or node.name in rated, f"{where}: {node.name} wants rate or increase"


@pytest.mark.parametrize(
    "wrong",
    [
        "sum by (channel (luxe_deliveries_total)",
        "rate(luxe_deliveries_total)",
        "luxe_deliveries_total{status=sent}",
        "increase(luxe_deliveries_total[5 minutes])",
        "clamp_min(luxe_deliveries_in_flight)",
        "average(luxe_deliveries_in_flight)",
    ],
)
def test_what_prometheus_would_refuse_is_found(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(wrong)


def test_alerts_say_what_is_wrong_and_where_to_read_on() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
        page = rule["annotations"]["runbook"].partition("#")[0]
        assert (ROOT / page).is_file(), f"{rule['alert']}: no page {page}"
        if "for" in rule:
            assert re.fullmatch(r"\d+[smh]", rule["for"])


def test_the_scrape_example_finds_processes_by_the_file_that_we_write() -> None:
    document = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    [job] = document["scrape_configs"]
    assert job["file_sd_configs"][0]["files"]
    assert job.get("metrics_path", "/metrics") == "/metrics"
    assert document["rule_files"] == ["alerts.yml"]
