"""docs/acceptance.md says of the code what can be counted in it, and names tests that are there."""

from __future__ import annotations

import re

import pytest

from schemas.definitions import definitions, subjects
from schemas.events import EVENT_TYPES
from streams.catalog import Catalog
from streams.render.sources import load_templates
from tests.docs.fences import ROOT

LEDGER = (ROOT / "docs" / "acceptance.md").read_text(encoding="utf-8")
PATHS = sorted(set(re.findall(r"`(tests/[\w/.]+)`", LEDGER)))


def counted() -> dict[str, str]:
    """What a row says ► how it says it today."""
    catalog = Catalog.load()
    texts = load_templates(catalog)
    spanish = sum(1 for row in texts if row["locale"] == "es")
    return {
        "contracts": f"{len(EVENT_TYPES)} events, {len(definitions()) - len(EVENT_TYPES)} pipeline records, "
        f"{len(subjects())} subjects",
        "golden examples": f"green, all {len(definitions())} records",
        "catalogue": f"{len(catalog.types)} types for {len(EVENT_TYPES)} events, {len(texts)} texts, "
        f"{spanish} of them in Spanish",
    }


def test_what_can_be_counted_is_as_counted() -> None:
    assert {row: said for row, said in counted().items() if f"| {said} |" not in LEDGER} == {}, "correct its row"


@pytest.mark.parametrize("path", PATHS)
def test_what_shows_a_promise_is_there(path: str) -> None:
    assert (ROOT / path).exists()
