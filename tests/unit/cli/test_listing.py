"""Lists that stay readable on a narrow screen: no word of theirs is broken."""

from __future__ import annotations

from io import StringIO

import pytest
from click.testing import CliRunner
from rich.console import Console

from cli import listing
from cli.main import luxe
from connectors.metrics.catalogue import METRICS
from schemas.topics import TOPICS
from streams.catalog import Catalog

HEADINGS = ("name", "on", "what it says")
ROWS = [
    ("appointment_confirmation", "appointment.created", "at once"),
    ("", "appointment.moved", ""),
    ("other", "", "[bold]not markup[/bold]"),
]


def printed(width: int) -> str:
    out = StringIO()
    listing.show(Console(file=out, width=width), "Two", HEADINGS, ROWS, "that is all")
    return out.getvalue()


def test_a_table_where_there_is_room() -> None:
    (first,) = [line for line in printed(100).splitlines() if "appointment_confirmation" in line]
    assert "appointment.created" in first
    assert "at once" in first


def test_a_block_a_row_where_there_is_none() -> None:
    lines = [line.rstrip() for line in printed(50).splitlines()]
    assert lines == [
        *("Two", "", "appointment_confirmation"),
        *("  on            appointment.created", "  what it says  at once", "  on            appointment.moved"),
        *("", "other", "  what it says  [bold]not markup[/bold]", "", "that is all"),
    ]


NAMES = {
    "catalog": list(Catalog.load().types),
    "topics": [topic.name for topic in TOPICS],
    "metrics": [metric.name for metric in METRICS],
}


@pytest.mark.parametrize("command", NAMES)
@pytest.mark.parametrize("columns", [80, 300])
def test_every_name_is_whole(command: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    done = CliRunner().invoke(luxe, [command, "list"])
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert max(map(len, lines)) <= columns
    words = set(done.output.split())
    assert [name for name in NAMES[command] if name not in words] == []
