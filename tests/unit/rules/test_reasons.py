"""Reason codes are documented, each once."""

from __future__ import annotations

from pathlib import Path

from streams.rules.reasons import Reason, table

DOCUMENT = Path(__file__).parents[3] / "docs" / "reasons.md"


def test_the_document_is_the_table() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == table(), "run: python -m streams.rules.reasons > docs/reasons.md"


def test_every_reason_has_a_meaning_of_its_own() -> None:
    assert len({reason.meaning for reason in Reason}) == len(Reason)
    assert all(reason.meaning.endswith(".") for reason in Reason)
