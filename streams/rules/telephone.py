"""When a number may be texted by law: countries' telephone hours, as data, and the zone a number says it is in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import phonenumbers
from phonenumbers.timezone import UNKNOWN_TIMEZONE, time_zones_for_number

# Country → when non-essential texts must not come, local time of the called party.
# US: 47 CFR § 64.1200(c)(1), "before the hour of 8 a.m. or after 9 p.m. (local time at the called party's location)";
# Twilio refuses such texts with error 30610. Puerto Rico and the other territories are under the same rule.
TELEPHONE_HOURS: Mapping[str, tuple[str, str]] = dict.fromkeys(("US", "PR", "VI", "GU", "AS", "MP"), ("21:00", "08:00"))

# +1, area code and exchange tell the zone, and as many digits any other number's country (data of the phonenumbers library, from
# Google's libphonenumber).
_TELLING_DIGITS = len("+12125550")
# Area codes across a border of zones have two or three; free-phone numbers have all of a country's and tell nothing.
_ZONES_AT_MOST = 4


def hours_of(number: str) -> tuple[tuple[str, str], tuple[str, ...]] | None:
    """((start, end), zones) for an E.164 number; no zones where the number tells none. None: no rule holds for its country."""
    return _hours_of(number[:_TELLING_DIGITS], len(number)) if number.startswith("+1") else None


def takes_pictures(number: str) -> bool:
    """Whether Twilio carries an MMS to this E.164 number: to the US and Canada; elsewhere it is refused, text and all."""
    return number.startswith("+1") and _region_of(number[:_TELLING_DIGITS], len(number)) in ("US", "CA")


def country_of(number: str) -> str:
    """ISO 3166 country of an E.164 number; empty where it tells none: an area code not in use, a satellite's, one of no country.

    Where countries share a numbering plan, the one that the first digits name; where these do not tell, the larger one.
    """
    return _country_of(number[:_TELLING_DIGITS], len(number))


@lru_cache(maxsize=65_536)
def _country_of(telling: str, length: int) -> str:
    parsed = _parsed(telling, length)
    region = None if parsed is None else phonenumbers.region_code_for_number(parsed)
    return "" if region in (None, phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY) else str(region)


@lru_cache(maxsize=65_536)
def _region_of(telling: str, length: int) -> str:
    parsed = _parsed(telling, length)
    return "" if parsed is None else _region(parsed)


@lru_cache(maxsize=65_536)  # exchanges that one instance meets; some hundred bytes each
def _hours_of(telling: str, length: int) -> tuple[tuple[str, str], tuple[str, ...]] | None:
    parsed = _parsed(telling, length)
    held = None if parsed is None else TELEPHONE_HOURS.get(_region(parsed))
    if parsed is None or held is None:
        return None
    zones = tuple(name for name in time_zones_for_number(parsed) if name != UNKNOWN_TIMEZONE)
    return held, zones if len(zones) <= _ZONES_AT_MOST else ()


def _parsed(telling: str, length: int) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(telling + "0" * (length - len(telling)))
    except phonenumbers.NumberParseException:
        return None


def _region(number: phonenumbers.PhoneNumber) -> str:
    # An area code that is not in use, as 555 is, belongs to no country: held to the rule of the US rather than let off it.
    return phonenumbers.region_code_for_number(number) or "US"
