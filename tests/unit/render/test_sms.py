"""Segments, by the tables of 3GPP TS 23.038."""

from __future__ import annotations

import pytest

from streams.render.ceilings import TemplateError
from streams.render.engine import Rendered
from streams.render.sms import content, plain, segments


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("gsm7", 0, 1)),
        ("a" * 160, ("gsm7", 160, 1)),
        ("a" * 161, ("gsm7", 161, 2)),
        ("a" * 306, ("gsm7", 306, 2)),
        ("a" * 307, ("gsm7", 307, 3)),
        ("Señor Ñ, à 5€", ("gsm7", 14, 1)),
        ("{" * 80, ("gsm7", 160, 1)),
        ("{" * 81, ("gsm7", 162, 2)),
        # An escaped pair is not split: the 153rd septet stays empty.
        ("a" * 152 + "€" + "a" * 10, ("gsm7", 164, 2)),
        ("a" * 152 + "€" + "a" * 151, ("gsm7", 305, 2)),
        ("a" * 152 + "€" + "a" * 152, ("gsm7", 306, 3)),
        ("ç", ("ucs2", 1, 1)),  # only the capital is in the alphabet
        ("й" * 70, ("ucs2", 70, 1)),
        ("й" * 71, ("ucs2", 71, 2)),
        ("й" * 134, ("ucs2", 134, 2)),
        ("й" * 135, ("ucs2", 135, 3)),
        ("😀" * 35, ("ucs2", 70, 1)),
        ("😀" * 36, ("ucs2", 72, 2)),
        # 67 units hold 33 pairs; the 34th moves on whole.
        ("😀" * 66, ("ucs2", 132, 2)),
        ("😀" * 67, ("ucs2", 134, 3)),
        ("`", ("ucs2", 1, 1)),
        ("line\nbreak\r\n", ("gsm7", 12, 1)),
    ],
)
def test_segments(text: str, expected: tuple[str, int, int]) -> None:
    assert segments(text) == expected


def test_typography_that_would_cost_segments_is_made_plain() -> None:
    text = "“Sarah’s” visit\u202f– 2:00\u202fPM…"
    assert plain(text) == '"Sarah\'s" visit - 2:00 PM...'
    assert segments(plain(text)).alphabet == "gsm7"
    assert plain("Señora 😀") == "Señora 😀"


def test_a_text_beyond_what_the_provider_takes_is_a_templates_fault() -> None:
    message, parts = content(Rendered(None, "a" * 1530, None), "+15551234567")
    assert (message["to"], parts) == ("+15551234567", 10)
    with pytest.raises(TemplateError, match="11 segments"):
        content(Rendered(None, "a" * 1531, None), "+15551234567")
