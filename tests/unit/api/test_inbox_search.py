"""Searching opened text: whatever case and accents people type, all of their words."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.inbox_search import folded, says_all

CONTENT = {"subject": "Ihr Termin", "body": "Dr. Núñez, Größe 3\nZimmer 4", "html": "Rechnung 2024-12"}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("termin", True),
        ("NUNEZ zimmer", True),
        ("grosse", True),
        ("GRÖSSE", True),
        ("rechnung 2024", True),
        ("termin arzt", False),
        ("  ", True),
    ],
)
def test_all_words_wherever_they_stand(words: str, found: bool) -> None:
    assert says_all(CONTENT, words) == found


def test_what_has_no_title_and_no_detail_is_searched_too() -> None:
    assert says_all({"subject": None, "body": "Hello", "html": None}, "hello")


@example("🄐")
@given(st.text(max_size=40))
def test_text_finds_itself_and_folding_twice_is_folding_once(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    assert says_all({"subject": None, "body": text, "html": None}, text)
