"""Segments of a text: what a carrier bills."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.loopback.segments import GSM_BASIC, GSM_EXTENDED, segment_count


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("a" * 152 + "€" * 1 + "a" * 153, 3),  # the € does not fit into the first part: it is never cut
    ],
)
def test_segments_at_the_edges(text: str, segments: int) -> None:
    assert segment_count(text) == segments


@given(st.text(alphabet=sorted(GSM_BASIC | GSM_EXTENDED), max_size=1600), st.characters(codec="utf-8"))
def test_a_longer_text_never_takes_fewer_segments(text: str, more: str) -> None:
    assert segment_count(text + more) >= segment_count(text)
