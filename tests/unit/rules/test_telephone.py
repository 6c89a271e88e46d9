"""The country that a number tells, which prices its texts."""

from __future__ import annotations

import phonenumbers
import pytest

from streams.rules.telephone import country_of


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("+12125550123", "US"),
        ("+14165550123", "CA"),
        ("+18765550123", "JM"),  # +1 too
        ("+17875550123", "PR"),
        ("+4915112345678", "DE"),
        ("+525512345678", "MX"),
        ("+447400123456", "GB"),
        ("+447781123456", "GG"),  # +44 too
        ("+77012345678", "KZ"),
        ("+79123456789", "RU"),
        ("+15555550123", ""),  # an area code that is not in use
        ("+870773123456", ""),  # a satellite's
        ("+999123456789", ""),
    ],
)
def test_a_number_tells_its_country_or_none(number: str, country: str) -> None:
    assert country_of(number) == country


def test_the_first_digits_tell_what_the_whole_number_tells() -> None:
    """Of every region's mobile numbers: what is remembered by first digits is right for the rest."""
    for region in phonenumbers.SUPPORTED_REGIONS:
        example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        if example is not None:
            number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
            assert country_of(number) == phonenumbers.region_code_for_number(example), region
