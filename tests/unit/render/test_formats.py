"""Values as locales write them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.render import formats
from streams.render.sms import segments

AT = datetime(2026, 12, 25, 1, 30, tzinfo=UTC)


def test_dates_times_and_money() -> None:
    assert formats.day(date(2026, 12, 24), "en-US") == "Dec 24, 2026"
    assert formats.day(date(2026, 12, 24), "es-MX") == "24 dic 2026"
    assert formats.clock("14:00", "en-US") == "2:00 PM"
    assert formats.clock("14:00", "de") == "14:00"
    assert formats.instant(AT, "America/New_York", "en-US") == "Dec 24, 2026, 8:30 PM"
    assert formats.instant(AT, "Europe/Berlin", "de") == "25.12.2026, 02:30"
    assert formats.money(Decimal("1234.50"), "USD", "en-US") == "$1,234.50"
    assert formats.money(Decimal("1234.50"), "EUR", "fr-FR") == "1 234,50 €"
    assert formats.number(1234.5, "en-US") == "1,234.5"


@pytest.mark.parametrize("tag", ["xx-YY", "", "en-US-x-private", "not a locale", "zh-Hant-TW"])
def test_a_strange_locale_never_fails(tag: str) -> None:
    assert formats.day(date(2026, 12, 24), tag)


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="hour must be"):
        formats.clock("25:00", "en-US")


@pytest.mark.parametrize(
    ("tag", "clinic", "expected"),
    [
        ("es-MX", "en-US", ("es-MX", "es", "en-US", "en")),
        ("en-US", "en-US", ("en-US", "en")),
        ("zh-Hant-TW", "es", ("zh-Hant-TW", "zh-Hant", "zh", "es", "en")),
        ("", "", ("en",)),
    ],
)
def test_fallbacks(tag: str, clinic: str, expected: tuple[str, ...]) -> None:
    assert formats.fallbacks(tag, clinic) == expected


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.times().map(lambda at: f"{at:%H:%M}"))
def test_english_and_spanish_formats_fit_a_text_message(day: date, at: str) -> None:
    for tag in ("en-US", "es-MX"):
        assert segments(f"{formats.day(day, tag)} {formats.clock(at, tag)}").alphabet == "gsm7"
