"""docs/metrics.md and its examples name what there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from cli.metrics import markdown_table
from connectors.metrics.catalogue import BY_NAME, METRICS, Metric
from tests.docs.fences import ROOT

PAGE = ROOT / "docs" / "metrics.md"
FOLDER = ROOT / "docs" / "examples" / "prometheus"
# What Prometheus itself, and its library, tell of a process that it asks.
FOREIGN = {"up", "process_resident_memory_bytes", "process_open_fds", "process_max_fds", "process_start_time_seconds"}
NAME = re.compile(r"\b(?:luxe_[a-z_]+|process_[a-z_]+|up)\b(?!\s*:)")
SELECTOR = re.compile(r"\b(luxe_[a-z_]+)\{([^}]*)\}")
FUNCTIONS = re.compile(r"\b(rate|increase|sum|max|min|histogram_quantile|by|time|on|without|clamp_min)\b")


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


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_an_expression_names_metrics_and_labels_there_are(where: str, expression: str) -> None:
    names = set(NAME.findall(expression))
    assert names, where
    for name in names - FOREIGN:
        assert metric_of(name) is not None, f"{where}: no metric {name}"
    for name, matchers in SELECTOR.findall(expression):
        metric = metric_of(name)
        assert metric is not None
        for matcher in filter(None, matchers.split(",")):
            label = re.split(r"[=!]", matcher.strip(), maxsplit=1)[0].strip()
            assert label in (*metric.labels, "service", "le"), f"{where}: {name} has no label {label}"


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_an_expression_is_closed(where: str, expression: str) -> None:
    depth = 0
    for character in expression:
        depth += {"(": 1, ")": -1}.get(character, 0)
        assert depth >= 0, where
    assert depth == 0, where
    for counter in re.findall(r"(\w+)\((luxe_\w+_total)[^\w]", expression):
        assert counter[0] in ("rate", "increase"), f"{where}: a counter wants rate or increase"


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
