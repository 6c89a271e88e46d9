"""The value formats a schema may name in ``"format"``: what fits, and what to send instead."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable
from functools import cache

# RFC 4122 text form, any version.
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
# ITU-T E.164: at most 15 digits, no leading zero; no country's numbers have fewer than 7 with its code.
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
# Not RFC 5322 in full: one @, a dot in the domain, no spaces, no control characters, no header syntax.
_EMAIL = re.compile(
    r"[^\s@<>(),;:\\\"\[\]\x00-\x1f\x7f]{1,64}@(?=.{1,253}\Z)[^\s@<>(),;:\\\"\[\]_\x00-\x1f\x7f]+\.[^\s@<>(),;:\\\"\[\]_.\x00-\x1f\x7f]+"
)
_HH_MM = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
# BCP 47: language, script, region; what our templates can be written for.
_LOCALE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?")


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _is_zone(text: str) -> bool:
    return text in _zones()


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    fullmatch = pattern.fullmatch
    return lambda text: fullmatch(text) is not None


FORMATS: dict[str, Callable[[str], bool]] = {
    "uuid": _matches(_UUID),
    "iana-zone": _is_zone,
    "e164": _matches(_E164),
    "email": _matches(_EMAIL),
    "hh:mm": _matches(_HH_MM),
    "locale": _matches(_LOCALE),
}

MENDS: dict[str, str] = {
    "uuid": "send a UUID, e.g. 123e4567-e89b-42d3-a456-426614174000",
    "iana-zone": "send an IANA time zone, e.g. America/New_York",
    "e164": "send a phone number in E.164, e.g. +15551234567",
    "email": "send one email address, e.g. name@example.com",
    "hh:mm": "send a time of day as HH:MM, 00:00 to 23:59",
    "locale": "send a language tag, e.g. en-US",
}
