"""Dates, times, numbers and money as a locale writes them. Babel is slow, and a day's values repeat: every answer is cached."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time
from babel.numbers import format_currency, format_decimal

from streams.rules.timing import zone

DEFAULT_LOCALE = "en-US"
# A day of a big clinic: some thousand different days and instants, some languages.
FORMATS_CACHED = 16_384
LOCALES_CACHED = 512

# CLDR sets narrow and no-break spaces (2:00 PM, 1 234,50 €). One of them makes a text message UCS-2, which halves its segments.
_SPACES = str.maketrans({"\u202f": " ", "\u00a0": " ", "\u2009": " "})


@lru_cache(maxsize=LOCALES_CACHED)
def locale_of(tag: str) -> Locale:
    """The locale of a BCP 47 tag, or of its language alone, or US English: a format must never fail an event."""
    for candidate in (tag, tag.partition("-")[0], DEFAULT_LOCALE):
        try:
            return Locale.parse(candidate, sep="-")
        except (UnknownLocaleError, ValueError):
            continue
    raise AssertionError("the default locale exists")


@lru_cache(maxsize=LOCALES_CACHED)
def fallbacks(tag: str, clinic_tag: str) -> tuple[str, ...]:
    """Locales to look for a text in, best first: ``es-MX`` → ``es`` → the clinic's → its language → ``en``."""
    found: list[str] = []
    for wanted in (tag, clinic_tag, "en"):
        parts = wanted.split("-")
        for length in range(len(parts), 0, -1):
            candidate = "-".join(parts[:length])
            if candidate and candidate not in found:
                found.append(candidate)
    return tuple(found)


@lru_cache(maxsize=FORMATS_CACHED)
def day(value: date, tag: str) -> str:
    """``Dec 24, 2024``."""
    return format_date(value, "medium", locale_of(tag)).translate(_SPACES)


@lru_cache(maxsize=FORMATS_CACHED)
def clock(value: str, tag: str) -> str:
    """``14:00`` → ``2:00 PM``. Raises ValueError when it is no HH:MM."""
    return format_time(time.fromisoformat(value), "short", locale=locale_of(tag)).translate(_SPACES)


@lru_cache(maxsize=FORMATS_CACHED)
def instant(value: datetime, zone_name: str, tag: str) -> str:
    """An instant on the wall clock of a zone: ``Dec 24, 2024, 2:00 PM``. Raises UnknownZoneError."""
    local = value.astimezone(zone(zone_name)).replace(tzinfo=None)
    locale = locale_of(tag)
    pattern: str = locale.datetime_formats["medium"]
    text = pattern.format(
        format_time(local.time(), "short", locale=locale), format_date(local.date(), "medium", locale=locale)
    )
    return text.replace("'", "").translate(_SPACES)


@lru_cache(maxsize=FORMATS_CACHED)
def money(amount: Decimal, currency: str, tag: str) -> str:
    """``$1,234.50``."""
    return format_currency(amount, currency, locale=locale_of(tag)).translate(_SPACES)


@lru_cache(maxsize=FORMATS_CACHED)
def number(value: int | float | Decimal, tag: str) -> str:
    """``1,234.5``."""
    return format_decimal(value, locale=locale_of(tag)).translate(_SPACES)
