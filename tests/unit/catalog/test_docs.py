"""The documentation's table is the catalogue's."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.catalog import command
from streams.catalog import CATALOG_PATH, Catalog
from streams.catalog_model import NotificationType
from streams.catalog_table import markdown

DOCUMENT = (Path(__file__).parents[3] / "docs" / "catalogue.md").read_text(encoding="utf-8")


def test_the_table_is_the_catalogues() -> None:
    assert DOCUMENT.endswith(markdown(Catalog.load())), (
        "run `luxe catalog list --markdown` and put its output at the end of docs/catalogue.md"
    )


@pytest.mark.parametrize("column", [name for name in NotificationType.model_fields if name != "triggers"])
def test_every_column_is_explained(column: str) -> None:
    assert f"`{column}`" in DOCUMENT


def test_the_command_lists_and_checks(tmp_path: Path) -> None:
    run = CliRunner(env={"COLUMNS": "400"}).invoke
    listed = run(command, ["list", "--event", "payment.received"])
    assert "receipt_delivery" in listed.output
    assert "low_stock_alert" not in listed.output
    assert run(command, ["list", "--json"]).output.count("\n") == len(Catalog.load().types)
    assert run(command, ["list", "--event", "no.such"]).exit_code == 1
    assert run(command, ["check", str(CATALOG_PATH)]).exit_code == 0
    wrong = tmp_path / "catalog.yaml"
    wrong.write_text(CATALOG_PATH.read_text(encoding="utf-8").replace("lane: low", "lane: slow"), encoding="utf-8")
    refused = run(command, ["check", str(wrong)])
    assert refused.exit_code == 1
    assert "lane" in refused.output
